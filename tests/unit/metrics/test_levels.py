"""Numbers of things that are there now, through the accumulator: as a scrape sees them."""

from random import Random

import pytest
from tests.unit.metrics.fakes import EVER_AFTER, INTERVAL, Bench, FakePeer, owner

from bpfleet import catalogue
from bpfleet.metrics import Flow, Sample, Scope, UpDownCounter

ACTIVE = "bpfleet_tcp_connections_active"
KEEP = 300.0
DRAIN = 5.0


def active(by: float, cgroup_id: int = 1) -> Sample:
    return Sample(catalogue.CONNECTIONS_ACTIVE, by, cgroup_id)


def shown(bench: Bench) -> dict[str, float]:
    """By workload."""
    return {dict(labels)["workload"]: value for labels, value in bench.values(ACTIVE).items()}


def drain(bench: Bench, *samples: Sample) -> None:
    bench.clock.sleep(DRAIN)
    bench.totals.add(samples)
    bench.totals.tick()


def balanced(bench: Bench) -> int:
    """Samples that came late."""
    standing = bench.totals.standing()
    assert standing.seen == standing.delivered + sum(standing.lost.values())
    return standing.lost["late"]


@pytest.fixture
def bench() -> Bench:
    return Bench(keep_seconds=KEEP)


def test_a_pod_that_left_a_socket_open_stays_until_that_is_closed(bench: Bench) -> None:
    drain(bench, active(1))
    bench.resolver.gone.add("web")
    for _ in range(50):
        drain(bench)
        assert shown(bench) == {"web": 1}
    drain(bench, active(-1))
    assert shown(bench) == {"web": 0}
    bench.clock.sleep(2.2 * INTERVAL)
    drain(bench)
    assert shown(bench) == {}
    assert balanced(bench) == 0


def test_a_socket_that_is_never_closed_keeps_its_pod_for_a_limited_time(bench: Bench) -> None:
    drain(bench, active(1))
    bench.resolver.gone.add("web")
    drain(bench)
    bench.clock.sleep(KEEP)
    drain(bench)
    assert shown(bench) == {}
    drain(bench, active(-1))
    assert shown(bench) == {"web": 0}, "an end that comes later still finds nothing to take away"
    drain(bench)
    assert balanced(bench) == 1
    drain(bench, active(1))
    assert shown(bench) == {"web": 1}, "and nothing of it is left for those who come then"


def test_an_end_may_be_told_one_drain_before_its_beginning(bench: Bench) -> None:
    drain(bench, active(-1))
    assert shown(bench) == {"web": 0}
    drain(bench, active(3))
    drain(bench)
    drain(bench)
    assert shown(bench) == {"web": 2}
    assert balanced(bench) == 0


def full(room: int) -> tuple[Bench, list[int]]:
    """Of the active connections as many workloads as there is room for have one each, then web has five more.
    Returns the cgroups of the former too."""
    bench = Bench(metrics=[catalogue.CONNECTIONS_ACTIVE], series_per_metric=room + 1)
    early = list(range(10, 10 + room))
    bench.resolver.owners |= {number: owner(f"early-{number}") for number in early}
    drain(bench, *(active(1, number) for number in early), active(5))
    assert shown(bench) == {**{f"early-{number}": 1 for number in early}, "_other": 5}
    return bench, early


def leave(bench: Bench, early: list[int]) -> None:
    drain(bench, *(active(-1, number) for number in early))
    bench.resolver.gone |= {f"early-{number}" for number in early}
    bench.clock.sleep(EVER_AFTER)
    drain(bench)


def test_what_was_counted_as_other_moves_to_its_own_series_when_there_is_room() -> None:
    bench, early = full(room=2)
    leave(bench, early)
    assert shown(bench) == {"_other": 5}
    drain(bench, active(-2))
    assert shown(bench) == {"web": 3, "_other": 0}
    drain(bench, active(-3))
    assert shown(bench) == {"web": 0, "_other": 0}
    assert balanced(bench) == 0


def test_zeros_that_find_room_take_over_what_was_counted_as_other() -> None:
    bench, early = full(room=4)
    leave(bench, early)
    bench.resolver.running = [owner("web")]
    drain(bench)
    assert shown(bench) == {"web": 5, "_other": 0}
    drain(bench, active(-5))
    assert shown(bench) == {"web": 0, "_other": 0}
    assert balanced(bench) == 0


def test_the_part_of_an_ended_workload_leaves_the_other_series_too() -> None:
    bench = Bench(metrics=[catalogue.CONNECTIONS_ACTIVE], series_per_metric=0, keep_seconds=KEEP)
    drain(bench, active(2), active(7, cgroup_id=2))
    bench.resolver.gone.add("web")
    drain(bench)
    assert shown(bench) == {"_other": 9}
    bench.clock.sleep(KEEP)
    drain(bench)
    assert shown(bench) == {"_other": 7}
    drain(bench, active(-2))
    drain(bench)
    assert shown(bench) == {"_other": 7}, "what web closes late is not taken from db's part"
    assert balanced(bench) == 1


def test_a_peer_that_is_quiet_but_connected_stays() -> None:
    open_flows = UpDownCounter("test.open", "Open by peer.", scope=Scope.FLOW)
    bench = Bench(metrics=[open_flows], flow_idle_seconds=900)
    bench.resolver.peers = {bytes(16): FakePeer("external", "", "quiet")}
    sample = Sample(open_flows, 1, 1, (), Flow(bytes(16), 443, "tcp"))
    drain(bench, sample)
    bench.clock.sleep(EVER_AFTER)
    drain(bench)
    assert list(bench.values("bpfleet_test_open").values()) == [1]
    drain(bench, sample._replace(value=-1))
    bench.clock.sleep(EVER_AFTER)
    drain(bench)
    assert bench.values("bpfleet_test_open") == {}


def test_the_sum_is_what_is_open_whoever_comes_and_goes() -> None:
    """A thousand drains of 23 workloads, of which six have room, while others end and return."""
    random = Random(23)
    bench = Bench(metrics=[catalogue.CONNECTIONS_ACTIVE], series_per_metric=8, keep_seconds=EVER_AFTER)
    bench.resolver.owners = {number: owner(f"web-{number}") for number in range(1, 24)}
    is_open = dict.fromkeys(range(1, 24), 0)
    for _ in range(1000):
        samples = []
        for number in random.sample(range(1, 24), 5):
            by = random.choice((-is_open[number], 1, 2, -min(1, is_open[number])))
            is_open[number] += by
            samples.append(active(by, number))
        bench.resolver.gone = {f"web-{number}" for number in random.sample(range(1, 24), 11)}
        drain(bench, *samples)
        bench.clock.sleep(INTERVAL)
        found = shown(bench)
        assert sum(found.values()) == sum(is_open.values())
        assert min(found.values(), default=0) >= 0
        assert all(value == is_open[int(name[4:])] for name, value in found.items() if name != "_other")
    assert balanced(bench) == 0
