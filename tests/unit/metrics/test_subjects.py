from collections.abc import Iterable

import pytest
from tests.unit.metrics.fakes import Bench, FakeOwner, FakePeer, FakeResolver, owner

from agent.metrics.accumulate import BATCH
from agent.metrics.levels import Levels
from agent.metrics.pending import HELD_SECONDS
from agent.metrics.subjects import Subjects
from bpfleet import catalogue
from bpfleet.metrics import Flow, Sample

OPENED = "bpfleet_tcp_connections_opened_total"
FLOW_BYTES = "bpfleet_flow_bytes_total"


class Broken(Exception):
    """What no resolver should raise."""


class FailingResolver(FakeResolver):
    """failing: methods that raise."""

    failing: Iterable[str] = ()

    def owner(self, cgroup_id: int) -> FakeOwner | None:
        self._fail("owner")
        return super().owner(cgroup_id)

    def final_owner(self, cgroup_id: int) -> FakeOwner:
        self._fail("final_owner")
        return super().final_owner(cgroup_id)

    def peer(self, flow: Flow, owner: FakeOwner) -> FakePeer:
        self._fail("peer")
        return super().peer(flow, owner)

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise Broken(method)


def opened(count: int = 1) -> Sample:
    return Sample(catalogue.CONNECTIONS_OPENED, count, 1)


@pytest.fixture
def resolver() -> FailingResolver:
    return FailingResolver(owners={1: owner("web")})


@pytest.fixture
def bench(resolver: FailingResolver) -> Bench:
    return Bench(resolver=resolver)


def workloads(bench: Bench, name: str) -> dict[str, float]:
    return {dict(labels)["workload"]: value for labels, value in bench.values(name, live=True).items()}


def test_where_identity_fails_a_sample_waits_and_counts_once(bench: Bench, resolver: FailingResolver) -> None:
    bench.totals.add([opened()] * 200)
    bench.totals.tick()
    resolver.failing = ("owner",)
    with pytest.raises(Broken):
        bench.totals.add([opened()] * (BATCH + 99))
    with pytest.raises(Broken):
        bench.totals.tick()
    assert workloads(bench, OPENED) == {"web": 200}
    assert bench.totals.standing().held == 1
    resolver.failing = ()
    bench.totals.tick()
    assert workloads(bench, OPENED) == {"web": 200 + BATCH + 99}
    standing = bench.totals.standing()
    assert standing.held == 0
    assert set(standing.lost.values()) == {0}


def test_where_identity_fails_for_long_a_sample_counts_without_a_name(bench: Bench, resolver: FailingResolver) -> None:
    resolver.failing = ("owner", "final_owner")
    flow_bytes = Sample(catalogue.FLOW_BYTES, 7, 1, ("receive",), Flow(bytes(16), 443, "tcp"))
    with pytest.raises(Broken):
        bench.totals.add([opened(23), flow_bytes])
    bench.clock.sleep(HELD_SECONDS)
    with pytest.raises(Broken):
        bench.totals.tick()
    assert workloads(bench, OPENED) == {"_other": 23}
    assert workloads(bench, FLOW_BYTES) == {"_other": 7}


def test_a_peer_that_cannot_be_told_is_unknown(bench: Bench, resolver: FailingResolver) -> None:
    resolver.failing = ("peer",)
    flow_bytes = Sample(catalogue.FLOW_BYTES, 7, 1, ("receive",), Flow(bytes(15) + b"\x01", 443, "tcp"))
    with pytest.raises(Broken):
        bench.totals.add([opened(), flow_bytes, opened()])
    assert workloads(bench, OPENED) == {"web": 2}
    ((labels, value),) = bench.values(FLOW_BYTES, live=True).items()
    assert value == 7
    assert {"workload": "web", "peer_kind": "unknown", "peer_name": ""}.items() <= dict(labels).items()


def test_a_failure_is_told_once(bench: Bench, resolver: FailingResolver) -> None:
    resolver.failing = ("owner",)
    with pytest.raises(Broken):
        bench.totals.add([opened()])
    resolver.failing = ()
    bench.totals.tick()
    bench.totals.add([opened()])


class Watched(FakeOwner):
    """looked_at: how often its labels were read."""

    looked_at = 0

    def __getattribute__(self, name: str) -> object:
        if name == "labels":
            type(self).looked_at += 1
        return super().__getattribute__(name)


def test_those_who_live_on_are_not_looked_at_again_at_each_drain() -> None:
    living = [Watched(("_host", "", "", f"/{number}", "Cgroup"), str(number)) for number in range(23)]
    subjects: Subjects[FakeOwner] = Subjects(FakeResolver(), Levels())
    for _ in range(5):
        met = list(subjects.meet(living))
        assert [each for each, _ in met] == living
    assert Watched.looked_at == 23
    assert len(subjects.workloads) == 24
