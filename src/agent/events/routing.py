"""The way of an event: limit, owner, time of day, then a copy for each sink.

    begin()                      once a drain, before anything is taken
    take(collector, events)      for each collector
    close()                      when nothing more comes

What is told is entered once: as passed to the sinks, or as lost with the reason; until then it waits for its owner, or
with a stage that holds it.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, runtime_checkable

from agent.events import records
from agent.events.clocks import WallClock
from agent.events.delivery import FLUSH_SECONDS, Delivery
from agent.events.ledgers import Account, Ledger
from agent.events.limits import Shared
from agent.events.owners import OwnerT, Resolver
from agent.events.pending import Pending
from bpfleet import names
from bpfleet.events import Event, Record
from bpfleet.metrics import Flow

BATCH = 64
"""Events that are handed on together. Between two batches the sinks' threads may run, so that a burst does not fill
their queues while this thread computes."""

MAX_REMEMBERED = 8192
"""Peers within one drain, as in agent.metrics.subjects."""

PASSED = "passed"
REASONS = ("rate_limit", "no_sink", "invalid")
CHANNEL = "events"
"""The books of this stage; those of a sink are `sink_<name>`."""

OWNER_STAGE, HOLDING_STAGE = "owner", "fold"
NAMELESS = {names.OPENTELEMETRY["namespace"]: names.OTHER, names.OPENTELEMETRY["workload"]: names.OTHER}
"""The owner where identity fails."""
NAMELESS_LABELS = tuple(names.OTHER if label in ("namespace", "workload") else "" for label in names.IDENTITY)


class Stage(Protocol):
    """Decides about the events of one name when their owner is known. reasons: for which it lets one not pass."""

    @property
    def reasons(self) -> Sequence[str]: ...

    def begin(self) -> None:
        """Once a drain."""

    def __call__(self, record: Record, labels: tuple[str, ...], cgroup_id: int) -> Record | str | None:
        """The record as it may leave, or the reason why it does not. labels: the owner's, as names.IDENTITY has them.
        What it raises makes the event `invalid`. None: it is held, by a stage that is Holding."""


class Held(Protocol):
    """An event that waited. make: what it raises makes the event `invalid`."""

    @property
    def event(self) -> str: ...
    @property
    def make(self) -> Callable[[], Record]: ...


@runtime_checkable
class Holding(Protocol):
    """A stage that keeps some events for a while."""

    @property
    def waiting(self) -> int:
        """How many it holds."""

    def due(self, is_end: bool) -> Iterable[Held]:
        """Those that leave now; all of them at the end."""


class Standing(NamedTuple):
    """events: by name and outcome; sinks: by sink, name and outcome; waiting: by stage; accounts: by channel; writes:
    attempts to send, by sink and outcome."""

    events: Mapping[tuple[str, str], int]
    sinks: Mapping[tuple[str, str, str], int]
    waiting: Mapping[str, int]
    accounts: Mapping[str, Account]
    writes: Mapping[tuple[str, str], int] = MappingProxyType({})


class Router(Generic[OwnerT]):
    """Used from one thread. declared: the names of events that may come. clock: monotonic seconds. give_way: lets
    other threads run. stages: by the name of the events that they decide about."""

    def __init__(
        self,
        identity: Resolver[OwnerT],
        deliveries: Sequence[Delivery],
        declared: Iterable[str],
        per_second: int,
        clock: Callable[[], float] = time.monotonic,
        wall: WallClock | None = None,
        give_way: Callable[[], None] = lambda: time.sleep(0),
        stages: Mapping[str, Stage] | None = None,
    ) -> None:
        self._identity, self._deliveries = identity, deliveries
        self._per_second, self._clock, self._give_way = per_second, clock, give_way
        self._wall = wall or WallClock()
        self._stages = dict(stages or {})
        self._all_stages = tuple({id(stage): stage for stage in self._stages.values()}.values())
        self._holding = [stage for stage in self._all_stages if isinstance(stage, Holding)]
        own = {name: stage.reasons for name, stage in self._stages.items()}
        self._ledger = Ledger(PASSED, REASONS, declared, own)
        self._pending = Pending()
        self._limits: dict[str, Shared] = {}
        self._owners: dict[int, tuple[OwnerT, dict[str, str]]] = {}
        self._peers: dict[tuple[int, Flow], dict[str, str]] = {}
        self._batch: list[Record] = []
        self._seen = 0
        self._failure: Exception | None = None

    def declare(self, events: Iterable[str]) -> None:
        """More names of events that may come."""
        declared = list(events)
        self._ledger.declare(declared)
        for delivery in self._deliveries:
            delivery.declare(declared)

    def begin(self) -> None:
        """Raises what identity raised since the last time, when all that waits has been looked at."""
        self._wall.refresh()
        self._owners.clear()
        self._peers.clear()
        for stage in self._all_stages:
            try:
                stage.begin()
            except Exception as error:  # what it decides meanwhile is as before
                self._failure = self._failure or error
        for cgroup_id, enough in self._pending.waiting(self._clock()):
            if enough or self._known(cgroup_id):
                self._release(cgroup_id)
        self._let_go(is_end=False)
        self._flush()
        failure, self._failure = self._failure, None
        if failure:
            raise failure

    def take(self, collector: str, events: Iterable[Event]) -> None:
        """What `events` itself raises is passed on, after what came before is on its way."""
        limit = self._limits.setdefault(collector, Shared(self._per_second))
        now = self._clock()
        try:
            for event in events:
                self._seen += 1
                self._take(event, limit, now)
        finally:
            self._flush()

    def close(self) -> None:
        for cgroup_id, _ in self._pending.waiting(self._clock()):
            self._release(cgroup_id)
        self._let_go(is_end=True)
        self._flush()
        for delivery in self._deliveries:
            delivery.end()
        end = time.monotonic() + FLUSH_SECONDS
        for delivery in self._deliveries:  # all of them have been sending since, so the last one waits no longer
            delivery.close(max(0.0, end - time.monotonic()))

    def standing(self) -> Standing:
        sinks = {each.name: each.standing() for each in self._deliveries}
        return Standing(
            self._ledger.counts(),
            {(name, *key): count for name, sink in sinks.items() for key, count in sink.counts.items()},
            {OWNER_STAGE: self._pending.size}
            | ({HOLDING_STAGE: sum(stage.waiting for stage in self._holding)} if self._holding else {})
            | {name: sink.waiting for name, sink in sinks.items()},
            {CHANNEL: self._ledger.account(self._seen)}
            | {f"sink_{name}": each.account for name, each in sinks.items()},
            {(name, outcome): count for name, sink in sinks.items() for outcome, count in sink.writes.items()},
        )

    def _take(self, event: Event, limit: Shared, now: float) -> None:
        if not limit.admits(event.cgroup_id, event.time_ns):
            self._ledger.enter(event.name, "rate_limit")
        elif not self._deliveries and event.name not in self._stages:  # a stage counts what it sees
            self._ledger.enter(event.name, "no_sink")
        elif self._known(event.cgroup_id):
            self._pass(event)
        elif left_over := self._pending.hold(event, now):
            self._pass(left_over)

    def _release(self, cgroup_id: int) -> None:
        for event in self._pending.release(cgroup_id):
            self._pass(event)

    def _pass(self, event: Event) -> None:
        try:
            record = self._decided(event, self._record(event))
        except Exception as error:  # one event's failure is its own
            self._failure = self._failure or error
            self._ledger.enter(event.name, "invalid")
            return
        if isinstance(record, str):
            self._ledger.enter(event.name, record)
        elif record is not None:
            self._send(record)

    def _let_go(self, is_end: bool) -> None:
        for stage in self._holding:
            try:
                for held in stage.due(is_end):
                    self._send_held(held)
            except Exception as error:  # one stage's failure is its own
                self._failure = self._failure or error

    def _send_held(self, held: Held) -> None:
        try:
            record = held.make()
        except Exception as error:  # as in _pass()
            self._failure = self._failure or error
            self._ledger.enter(held.event, "invalid")
            return
        self._send(record)

    def _send(self, record: Record) -> None:
        self._ledger.enter(record.name, PASSED if self._deliveries else "no_sink")
        self._batch.append(record)
        if len(self._batch) >= BATCH:
            self._flush()
            self._give_way()

    def _flush(self) -> None:
        if self._batch:
            for delivery in self._deliveries:
                delivery.put(self._batch)
            self._batch = []

    def _decided(self, event: Event, record: Record) -> Record | str | None:
        stage = self._stages.get(event.name)
        if stage is None:
            return record
        owner = self._owners.get(event.cgroup_id)
        decided = stage(record, owner[0].labels if owner else NAMELESS_LABELS, event.cgroup_id)
        if isinstance(decided, str) and decided not in stage.reasons:
            raise ValueError(f"{event.name}: {decided!r} is none of the stage's reasons")
        return decided

    # Names

    def _record(self, event: Event) -> Record:
        if not self._known(event.cgroup_id):
            self._remember(event.cgroup_id, self._identity.final_owner)
        owner = self._owners.get(event.cgroup_id)
        peer = self._peer(event.cgroup_id, event.flow, owner[0]) if event.flow and owner else {}
        return records.record(event, self._wall.at(event.time_ns), owner[1] if owner else NAMELESS, peer)

    def _known(self, cgroup_id: int) -> bool:
        return cgroup_id in self._owners or self._remember(cgroup_id, self._identity.owner)

    def _remember(self, cgroup_id: int, ask: Callable[[int], OwnerT | None]) -> bool:
        try:
            owner = ask(cgroup_id)
        except Exception as error:  # identity's failure is no reason not to tell
            self._failure = self._failure or error
            return False
        if owner is not None:
            self._owners[cgroup_id] = (owner, records.resource(owner))
        return owner is not None

    def _peer(self, cgroup_id: int, flow: Flow, owner: OwnerT) -> dict[str, str]:
        key = (cgroup_id, flow)
        if key not in self._peers:
            if len(self._peers) >= MAX_REMEMBERED:
                self._peers.clear()
            try:
                self._peers[key] = records.peer_attributes(self._identity.peer(flow, owner))
            except Exception as error:  # as above
                self._failure = self._failure or error
                return {}
        return self._peers[key]
