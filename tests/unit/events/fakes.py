"""Identity, time and sinks as the tests want them, and a router between them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.events.clocks import WallClock
from agent.events.delivery import Delivery
from agent.events.routing import Router, Stage
from bpfleet.api import Sink
from bpfleet.events import Event, Record
from bpfleet.metrics import Flow

EVENT = "test.happened"
PATIENCE_SECONDS = 30.0
"""How long a thread of a test may take at most on a starved machine."""


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Nanoseconds:
    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class FakeOwner(NamedTuple):
    labels: tuple[str, ...] = ("shop", "web-7d9f8b6c5d-x2x4z", "main", "web", "Deployment")
    node: str = "node-1"


class FakePeer(NamedTuple):
    kind: str = "external"
    namespace: str = ""
    name: str = ""
    zone: str = ""


NOBODY = FakeOwner(("_unknown", "", "", "_unknown", ""))


@dataclass
class FakeResolver:
    """owners: by cgroup id. broken: what every answer raises."""

    owners: dict[int, FakeOwner] = field(default_factory=lambda: {1: FakeOwner()})
    peers: dict[bytes, FakePeer] = field(default_factory=dict)
    broken: Exception | None = None

    def owner(self, cgroup_id: int) -> FakeOwner | None:
        self._raise()
        return self.owners.get(cgroup_id)

    def final_owner(self, cgroup_id: int) -> FakeOwner:
        self._raise()
        return self.owners.get(cgroup_id, NOBODY)

    def peer(self, flow: Flow, owner: FakeOwner) -> FakePeer:
        self._raise()
        return self.peers.get(flow.address, FakePeer())

    def _raise(self) -> None:
        if self.broken:
            raise self.broken


class ListSink(Sink):
    """Keeps what it is given. script: what the next writes do, before they take everything; may_write: until it is set
    they wait."""

    name = "list"

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.records: list[Record] = []
        self.script: list[int | Exception] = []
        self.batches: list[int] = []
        self.closed = False
        self.writing = threading.Event()
        self.may_write = threading.Event()
        self.may_write.set()

    def encode(self, record: Record) -> bytes:
        if record.attributes.get("strange"):
            raise ValueError("a strange record")
        self.records.append(record)
        return str(record.attributes.get("data", "")).encode()

    def write(self, items: Sequence[bytes]) -> int:
        self.writing.set()
        assert self.may_write.wait(PATIENCE_SECONDS)
        self.batches.append(len(items))
        answer = self.script.pop(0) if self.script else len(items)
        if isinstance(answer, Exception):
            raise answer
        self.items += items[:answer]
        return answer

    def close(self) -> None:
        self.closed = True


class FakeStage:
    """answers: in turn; an exception is raised, None lets the record pass, changed. asked: with what it was."""

    reasons = ("policy", "other")

    def __init__(self, *answers: str | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[tuple[str, ...], int]] = []
        self.begun = 0
        self.broken: Exception | None = None

    def begin(self) -> None:
        self.begun += 1
        if self.broken:
            raise self.broken

    def __call__(self, record: Record, labels: tuple[str, ...], cgroup_id: int) -> Record | str:
        self.asked.append((labels, cgroup_id))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return record._replace(attributes={"data": "staged"}) if answer is None else answer


class Bench:
    """A router with one sink, and what it depends on."""

    def __init__(
        self,
        per_second: int = 1_000_000,
        sinks: Sequence[Sink] | None = None,
        stages: Mapping[str, Stage] | None = None,
    ) -> None:
        self.clock, self.identity, self.sink = Clock(), FakeResolver(), ListSink()
        self.wall, self.monotonic = Nanoseconds(1_700_000_000_000_000_000), Nanoseconds(5_000_000_000)
        chosen = [self.sink] if sinks is None else sinks
        self.deliveries = [Delivery(sink, [EVENT], self.clock) for sink in chosen]
        self.gave_way = 0
        self.router = Router(
            self.identity,
            self.deliveries,
            [EVENT],
            per_second,
            self.clock,
            WallClock(self.wall, self.monotonic),
            self._give_way,
            stages,
        )

    def _give_way(self) -> None:
        self.gave_way += 1

    def drain(self, *events: Event, collector: str = "test") -> None:
        self.router.begin()
        self.router.take(collector, events)

    def ended(self) -> list[Record]:
        self.router.close()
        return self.sink.records


def event(
    cgroup_id: int = 1, time_ns: int = 0, flow: Flow | None = None, name: str = EVENT, **attributes: str
) -> Event:
    return Event(name, time_ns, cgroup_id, attributes, flow)


def record(data: str = "", **attributes: bool) -> Record:
    return Record(EVENT, 0, {}, {"data": data, **attributes})


def wait_until(true: Callable[[], bool]) -> None:
    """For what another thread does. Raises AssertionError."""
    tick = threading.Event()
    for _ in range(int(PATIENCE_SECONDS * 1000)):
        if true():
            return
        tick.wait(0.001)
    raise AssertionError("it does not come true")
