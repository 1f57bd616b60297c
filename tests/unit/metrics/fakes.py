"""Identity and time as the tests want them, and an accumulator between them."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.metrics import exposition
from agent.metrics.accumulate import Accumulator
from agent.metrics.exposition import Form
from bpfleet.catalogue import ALL
from bpfleet.metrics import Flow

BOUNDS = {
    "rtt_seconds": (0.001, 0.01, 0.1),
    "connect_seconds": (0.001, 0.01, 0.1, 1.0),
    "lifetime_seconds": (1.0, 60.0),
    "request_seconds": (0.005, 0.5, 5.0),
    "congestion_window_segments": (1.0, 10.0, 100.0),
    "body_bytes": (0.0, 256.0, 1024.0),
    "receive_window_bytes": (0.0, 4096.0, 65536.0),
    "send_window_bytes": (0.0, 4096.0, 65536.0),
}
INTERVAL = 15.0
EVER_AFTER = 10_000.0
"""Seconds after which every hold is over."""


class Clock:
    """Seconds, moved by hand; begins well above 0, as a machine's does."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass(frozen=True)
class FakeOwner:
    labels: tuple[str, ...]
    key: str
    node: str = "node-1"
    image: str = "registry/app:1"
    zone: str = "zone-a"
    settled: bool = True


class FakePeer(NamedTuple):
    kind: str = "external"
    namespace: str = ""
    name: str = ""
    zone: str = ""


def owner(name: str, key: str = "", **facts: Any) -> FakeOwner:
    return FakeOwner(("shop", f"{name}-7d9f8b6c5d-x2x4z", "main", name, "Deployment"), key or name, **facts)


@dataclass
class FakeResolver:
    """owners: by cgroup id; what is not there is not known. final: the answer when it never will be."""

    owners: dict[int, FakeOwner] = field(default_factory=dict)
    peers: dict[bytes, FakePeer] = field(default_factory=dict)
    running: list[FakeOwner] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    renamed: set[FakeOwner] = field(default_factory=set)
    final: FakeOwner = FakeOwner(("_unknown", "", "", "_unknown", ""), "_unknown", settled=False)

    def owner(self, cgroup_id: int) -> FakeOwner | None:
        return self.owners.get(cgroup_id)

    def final_owner(self, cgroup_id: int) -> FakeOwner:
        return self.owners.get(cgroup_id, self.final)

    def peer(self, flow: Flow, owner: FakeOwner) -> FakePeer:
        return self.peers.get(flow.address, FakePeer())

    def living(self) -> Collection[FakeOwner]:
        return self.running

    def ended(self, owner: FakeOwner) -> bool:
        return owner.key in self.gone or owner in self.renamed


class Bench:
    """An accumulator of all metrics with what it depends on."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.resolver: FakeResolver = options.pop("resolver", None) or FakeResolver({1: owner("web"), 2: owner("db")})
        metrics = options.pop("metrics", ALL)
        options = {"scrape_interval": INTERVAL, **options}
        self.totals = Accumulator(self.resolver, metrics, BOUNDS, clock=self.clock, **options)

    def text(self, form: Form = Form.TEXT, live: bool = False) -> str:
        with self.totals.view(live) as view:
            return "".join(exposition.lines(view, form))

    def values(self, name: str, live: bool = False) -> dict[tuple[tuple[str, str], ...], float]:
        """Value by sorted labels of all samples of that name, as a Prometheus would read them."""
        return values(self.text(live=live), name)

    def total(self, name: str) -> float:
        return sum(self.values(name, live=True).values())


def families(text: str) -> list[Metric]:
    return list(parse_text(text))


def openmetrics(text: str) -> list[Metric]:
    return list(parse_openmetrics(text))


def values(text: str, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    found = {}
    for family in families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = tuple(sorted(sample.labels.items()))
                assert labels not in found, "one set of labels stands on the page twice"
                found[labels] = sample.value
    return found
