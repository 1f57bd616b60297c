import subprocess
import sys
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from tests.unit.identity.conftest import Clock

from agent.identity.netns import AUDIT_SECONDS, FIRST_INODE, KERNEL_THREAD, NODE, WALK_SECONDS, Namespaces, own

HOST, POD, OTHER_POD, OWN = 3, 7, 8, 9
KEEP_SECONDS = 300.0


class Process(NamedTuple):
    namespace: int
    cgroup_id: int
    number: int = 4711


KERNEL = Process(HOST, 1, KERNEL_THREAD)


class Machine:
    """Processes of now; counts the walks over them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.processes: list[Process] = [KERNEL]
        self.walks = 0
        self.broken = False
        self.namespaces = Namespaces(clock, KEEP_SECONDS, OWN)
        self.namespaces.follow(self.walk)

    def walk(self) -> Iterable[Process]:
        self.walks += 1
        if self.broken:
            raise OSError("no memory")
        return iter(self.processes)

    def drain(self, *numbers: int, after: float = 5.0) -> list[frozenset[int] | None]:
        """What is said of these namespaces in a drain, so long after the one before."""
        self.clock.pass_by(after)
        self.namespaces.refresh()
        return [self.namespaces.cgroups(number) for number in numbers]


@pytest.fixture
def machine(clock: Clock) -> Machine:
    return Machine(clock)


def test_a_namespace_has_the_cgroups_of_its_processes(machine: Machine) -> None:
    machine.processes += [Process(POD, 23), Process(POD, 23), Process(POD, 29), Process(OTHER_POD, 31)]
    assert machine.drain(POD, OTHER_POD) == [{23, 29}, {31}]


def test_the_hosts_is_the_nodes_whoever_lives_there(machine: Machine) -> None:
    machine.processes += [Process(HOST, 23)]
    assert machine.drain(HOST) == [NODE]


def test_one_without_processes_is_the_nodes(machine: Machine) -> None:
    assert machine.drain(POD) == [NODE]


def test_a_drain_walks_once_and_not_more_often_than_once_a_second(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    for number in range(1000, 2000):
        machine.drain(number, POD, after=WALK_SECONDS / 10)
    assert machine.walks <= 1000 / 10 + 1


def test_without_questions_it_walks_now_and_then(machine: Machine) -> None:
    for _ in range(100):
        machine.drain(after=AUDIT_SECONDS / 10)
    assert 9 <= machine.walks <= 11


def test_who_comes_and_goes_is_known_at_the_next_drain(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    assert machine.drain(POD) == [{23}]
    machine.processes += [Process(POD, 29)]
    assert machine.drain(POD) == [{23, 29}]
    machine.processes.pop()
    assert machine.drain(POD) == [{23}]


def test_one_that_is_younger_than_the_last_walk_is_asked_for_again(machine: Machine) -> None:
    machine.drain(HOST)
    machine.processes += [Process(POD, 23)]
    assert machine.drain(POD, OTHER_POD, after=WALK_SECONDS / 2) == [None, None]
    assert machine.drain(POD, OTHER_POD, after=WALK_SECONDS / 2) == [{23}, NODE]


def test_one_that_ended_keeps_its_owner_for_a_while(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    machine.drain(HOST)
    machine.processes.pop()
    assert machine.drain(POD) == [{23}]
    assert machine.drain(POD, after=KEEP_SECONDS - 5.0) == [{23}]
    assert machine.drain(POD, after=10.0) == [NODE]


def test_one_that_dropped_nothing_until_its_end_is_known_by_the_walks_between(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    machine.drain(after=AUDIT_SECONDS)
    machine.processes.pop()
    assert machine.drain(POD) == [{23}]


def test_new_processes_in_an_old_namespace_are_its_owners(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    machine.drain(POD)
    machine.processes.pop()
    machine.drain(POD)
    machine.processes += [Process(POD, 29)]
    assert machine.drain(POD) == [{29}]


def test_the_number_of_an_inode_is_given_to_others_so_nothing_is_remembered_of_it(machine: Machine) -> None:
    reused = FIRST_INODE + 23
    machine.processes += [Process(reused, 23)]
    assert machine.drain(reused) == [{23}]
    machine.processes.pop()
    assert machine.drain(reused) == [NODE]
    machine.processes += [Process(reused, 29)]
    assert machine.drain(reused) == [{29}]


def test_who_does_not_see_all_processes_knows_of_no_namespace_that_it_has_none(machine: Machine) -> None:
    machine.processes = [Process(POD, 23)]
    assert machine.drain(POD, OTHER_POD, HOST) == [{23}, None, None]
    assert not machine.namespaces.is_whole


def test_without_a_walk_nothing_is_known(machine: Machine) -> None:
    machine.namespaces.follow(None)
    assert machine.drain(POD, HOST) == [None, None]
    assert not machine.namespaces.is_whole


def test_a_walk_that_fails_is_not_repeated_at_once(machine: Machine) -> None:
    machine.processes += [Process(POD, 23)]
    machine.drain(POD)
    walks, machine.broken = machine.walks, True
    with pytest.raises(OSError):
        machine.drain(POD)
    assert machine.drain(POD, after=WALK_SECONDS / 2) == [{23}]
    assert machine.walks == walks + 1


def test_who_sees_some_processes_does_not_know_whether_its_own_namespace_is_the_hosts_too(machine: Machine) -> None:
    machine.processes += [Process(OWN, 23), Process(POD, 29)]
    assert machine.drain(OWN, POD) == [{23}, {29}]
    machine.processes.remove(KERNEL)
    assert machine.drain(OWN, POD) == [None, {29}]


def test_processes_of_one_namespace_agree_on_its_number_and_those_of_another_do_not() -> None:
    def told(*prefix: str) -> int:
        script = "from agent.identity import netns; print(netns.own())"
        return int(subprocess.run([*prefix, sys.executable, "-c", script], check=True, capture_output=True).stdout)

    assert own() == told() > 0
    try:
        other = told("unshare", "--user", "--net")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no further network namespace can be made here: {error}")
    assert other not in (0, own())
