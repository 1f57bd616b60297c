import json
from pathlib import Path

import pytest
from tests.support.socket_rows import LISTENING, made, packed

from agent.collectors.sockets import Row
from agent.identity.model import NOBODY, Owner, Peer
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.sockets import INITIAL_PROCESSES, LONGEST_WAIT_SECONDS, answer, main, named, notes, parse, walk
from bpfleet.errors import HostError, SettingsError
from bpfleet.metrics import Flow

WEB, DB = Owner("shop", workload="web"), Peer("service", "shop", "db")


class Identity:
    """Ready after so many looks; before that it names nobody."""

    def __init__(self, looks: float) -> None:
        self.looks = looks
        self.refreshed = 0
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def refresh(self) -> None:
        self.refreshed += 1

    def is_ready(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def owner(self, cgroup_id: int) -> Owner | None:
        return WEB if self.looks < 0 and cgroup_id == 23 else None

    def final_owner(self, cgroup_id: int) -> Owner:
        return NOBODY

    def peer(self, flow: Flow, owner: Owner) -> Peer:
        return DB


def answered(*words: str, rows: tuple[Row, ...] = (made(1), made(2, state=LISTENING))) -> str:
    identity = Identity(0)
    sockets = named(rows, identity, identity.clock, identity.wait)
    return "".join(answer(sockets, parse(words), "node-1", 0))


def test_a_walk_gives_its_rows_and_how_many_were_left_out_and_lets_go() -> None:
    tables = FakeTables(rows={"books_sockets": (5, 3)}, walks={"on_socket": packed(made(1), made(2))})
    assert walk(FakeDoor({"sockets": tables}), KernelSettings()) == ([made(1), made(2)], 3)
    assert tables.closed


def test_what_keeps_the_program_from_running_is_the_message() -> None:
    with pytest.raises(HostError, match="sockets cannot be walked: without the capability PERFMON"):
        walk(FakeDoor(refused={"sockets": "without the capability PERFMON"}), KernelSettings())


def test_names_are_waited_for_as_long_as_the_cluster_has_not_told_them() -> None:
    identity = Identity(5)
    (each,) = named([made(1)], identity, identity.clock, identity.wait)
    assert (each.owner, each.peer) == (WEB, DB)
    assert identity.refreshed == 2
    assert 0 < identity.now < LONGEST_WAIT_SECONDS


def test_after_a_while_the_best_that_is_known_has_to_do() -> None:
    identity = Identity(float("inf"))
    (each,) = named([made(1)], identity, identity.clock, identity.wait)
    assert each.owner is NOBODY
    assert LONGEST_WAIT_SECONDS <= identity.now < LONGEST_WAIT_SECONDS + 1


def test_a_cgroup_that_nobody_knows_is_not_waited_for() -> None:
    identity = Identity(0)
    (each,) = named([made(1, cgroup_id=29)], identity, identity.clock, identity.wait)
    assert each.owner is NOBODY
    assert identity.now == 0


def test_connected_sockets_are_shown_unless_told_otherwise() -> None:
    assert [line.split()[4] for line in answered().splitlines()] == ["STATE", "established"]
    assert [line.split()[4] for line in answered("--listening").splitlines()] == ["STATE", "listening"]


def test_a_limit_says_how_many_are_not_shown() -> None:
    rows = tuple(made(number, rtt_us=number) for number in range(23))
    lines = answered("--limit", "2", "--sort", "rtt", rows=rows).splitlines()
    assert [line.split()[9] for line in lines[1:3]] == ["0.022", "0.021"]
    assert lines[3:] == ["21 more"]
    told = json.loads(answered("--limit", "2", "--json", rows=rows))
    assert (told["matched"], len(told["sockets"])) == (23, 2)


def test_what_the_list_does_not_have_is_noted(tmp_path: Path) -> None:
    everybody = Path("/proc/self/ns/pid")
    whole = everybody.stat().st_ino == INITIAL_PROCESSES
    assert len(notes(0, 100, everybody)) == (not whole)
    assert "7 rows were left out: limits.sockets is 100" in notes(7, 100, everybody)
    assert "a pod needs hostPID" in notes(0, 100, tmp_path)[0]


@pytest.mark.parametrize("words", [("--limit", "0"), ("--limit", "x"), ("--sort", "size"), ("--stat", "x")])
def test_wrong_options_are_refused_in_two_lines(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    usage, complaint = capsys.readouterr().err.splitlines()
    assert usage == "usage: bpfleet sockets [filters] [options]"
    assert complaint.startswith("bpfleet sockets: error: ") and words[0] in complaint


def test_wrong_settings_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(SettingsError, match="limits.sockets"):
        main(["--limits-sockets", "x"])


def test_a_directory_that_is_no_hierarchy_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="is not a cgroup v2 hierarchy"):
        main(["--kernel-cgroup-root", str(tmp_path)])
