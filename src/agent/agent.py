"""The agent's heart: on each drain, what the kernel counted goes through identity into the totals.

    kernel maps -> collectors -> accumulator (identity inside) -> page
    ring buffers -> collectors -> events (identity inside) -> sinks

A collector that fails is its own problem: the rest count.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from agent.collectors.cgroups import Cgroups
from agent.collectors.drops import Drops, Process
from agent.collectors.http_log import HttpLog, Mode
from agent.events.routing import Standing
from agent.kernel.door import Loaded
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from agent.throttle import Throttle
from bpfleet.api import AnyOf, Collector, Event, Metric, Sample, Walk

log = logging.getLogger(__name__)

OWN_STEPS = ("identity", "totals", "events", "report")
"""Of a drain, besides the collectors."""


class Tree(Protocol):
    """Where names of cgroups go."""

    def made(self, cgroup_id: int, path: str) -> None: ...
    def removed(self, cgroup_id: int) -> None: ...


class Namespaces(Protocol):
    """What wants to know which process lives where."""

    def follow(self, walk: Callable[[], Iterable[Process]] | None) -> None: ...


class Identity(Protocol):
    @property
    def tree(self) -> Tree: ...
    @property
    def namespaces(self) -> Namespaces: ...
    def refresh(self) -> None: ...


class Totals(Protocol):
    """Where samples go."""

    def add(self, samples: Iterable[Sample]) -> None: ...
    def tick(self) -> None: ...


class Events(Protocol):
    """Where events go."""

    def declare(self, names: Iterable[str]) -> None: ...
    def begin(self) -> None: ...
    def take(self, collector: str, events: Iterable[Event]) -> None: ...
    def standing(self) -> Standing: ...


Modes = Callable[[], tuple[Mode, Mapping[int, Mode]]]
"""Which requests are to be logged: in general, and by cgroup where that is another."""


class Agent:
    """Drains on one thread, and says after each drain how it went. clock: monotonic seconds. intervals: by collector,
    the seconds between two calls of those that are not asked at each drain. modes: asked at each drain, where requests
    are logged. told: what is counted of events.

    The settings of what it works with change between two drains only: `with agent.changing(): ...`, from any thread."""

    def __init__(
        self,
        loaded: Loaded,
        collectors: Sequence[Collector],
        identity: Identity,
        totals: Totals,
        events: Events,
        observe: Callable[[Report], None],
        clock: Callable[[], float],
        intervals: Mapping[str, float] | None = None,
        modes: Modes | None = None,
        told: Callable[[], Iterable[Sample]] = tuple,
    ) -> None:
        self._loaded = loaded
        self._modes = modes
        self._collectors = [each for each in collectors if loaded.outcomes[each.name].up]
        self._identity = identity
        self._totals = totals
        self._events = events
        self._observe = observe
        self._clock = clock
        self._intervals = dict(intervals or {})
        self._told = told
        self._due: dict[str, float] = {}
        self._throttle = Throttle(clock)
        self._failures: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._closed = False
        identity.namespaces.follow(self._walk())

    def _walk(self) -> Callable[[], Iterable[Process]] | None:
        """Over all processes, where a collector that runs can."""
        for each in self._collectors:
            if isinstance(each, Drops):
                return each.walk(self._loaded.maps(each.name), self._loaded.outcomes[each.name].hooks)
        return None

    def run(self, stop: threading.Event, interval: Callable[[], float], beat: Callable[[float], None]) -> None:
        """Until `stop` is set; then once more, so that nothing that was counted stays in the kernel. interval: asked
        before each wait, in seconds; beat: told how long it will be."""
        while True:
            seconds = interval()
            beat(seconds)
            stopped = stop.wait(seconds)
            self.drain()
            if stopped:
                return

    def pace(self, intervals: Mapping[str, float]) -> None:
        """As when it was made. Who has another pace now is asked at the next drain."""
        with self._lock:
            for name in [name for name in self._due if intervals.get(name) != self._intervals.get(name)]:
                del self._due[name]
            self._intervals = dict(intervals)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nothing is drained meanwhile."""
        with self._lock:
            yield

    def join(self, loaded: Loaded, collectors: Sequence[Collector]) -> None:
        """Collectors that were loaded later, with units of their own. What they counted so far comes with the next
        drain."""
        with self._lock:
            if self._closed:
                loaded.close()
                return
            self._collectors += [each for each in collectors if loaded.outcomes[each.name].up]
            self._loaded.join(loaded)
            self._events.declare(name for each in collectors for name in each.event_names)
            self._identity.namespaces.follow(self._walk())

    def leave(self, collector: Collector) -> None:
        """One with a unit of its own: it is drained for the last time when its programs run no more."""
        with self._lock:
            if self._closed:
                return
            self._loaded.detach(collector.name, walks(collector))
            self.drain()
            self._collectors = [each for each in self._collectors if each.name != collector.name]
            self._identity.namespaces.follow(self._walk())
            self._loaded.leave(collector.name)

    def metrics(self) -> list[Metric]:
        """Of the collectors that run."""
        return [metric for each in self._collectors for metric in each.metrics]

    def close(self) -> None:
        """Let go of everything in the kernel."""
        with self._lock:
            self._closed = True
            self._loaded.close()

    def drain(self) -> None:
        """Read every map once."""
        with self._lock:
            self._drain()

    def _drain(self) -> None:
        self._loaded.begin_drain()
        self._failures.clear()
        for collector in self._collectors:
            if isinstance(collector, Cgroups):  # before anything is counted, so that a cgroup that is gone has a name
                self._isolated(collector.name, lambda each=collector: self._meet_cgroups(each))  # type: ignore[misc]
        self._isolated("identity", self._identity.refresh)
        for collector in self._collectors:
            if isinstance(collector, HttpLog) and self._modes:
                self._isolated(collector.name, lambda each=collector: self._steer(each))  # type: ignore[misc]
        for collector in self._collectors:
            self._isolated(collector.name, lambda each=collector: self._count(each))  # type: ignore[misc]
        self._isolated("totals", self._totals.tick)
        self._isolated("events", self._events.begin)
        for collector in self._collectors:
            self._isolated(collector.name, lambda each=collector: self._tell(each))  # type: ignore[misc]
        self._isolated("events", lambda: self._totals.add(self._told()))
        self._isolated("report", lambda: self._observe(self.report()))

    def report(self) -> Report:
        told = self._events.standing()
        return Report(
            collectors={
                name: CollectorState(outcome.up and name not in self._failures, outcome.hooks, self._reason(name))
                for name, outcome in self._loaded.outcomes.items()
            },
            books=self._books() | {name: Books(*account) for name, account in told.accounts.items()},
            tables={row.name: Table(row.entries, row.capacity, row.bytes) for row in self._loaded.tables()},
            programs={name: Runs(*row) for name, row in self._loaded.runs().items()},
            failures={step: self._failed[step] for step in (*self._loaded.outcomes, *OWN_STEPS)},
            events=told.events,
            sinks=told.sinks,
            waiting=told.waiting,
        )

    def _books(self) -> dict[str, Books]:
        rows, runs = self._loaded.books(), self._loaded.runs()
        delivered, failed = self._loaded.delivered(), self._loaded.failed()
        left_out = self._loaded.left_out()
        books = {}
        for channel in (channel for each in self._collectors for channel in each.channels):
            if channel.name not in rows:
                continue
            row = rows[channel.name]
            seen, lost = (sum(runs[name][0] for name in channel.seen_by), row) if channel.seen_by else (row[0], row[1:])
            reasons = dict(zip(channel.lost, lost, strict=True))
            reasons["failed"] = failed.get(channel.name, 0)
            if channel.runs:
                reasons["left_out"] = sum(left_out.get(name, 0) for name in channel.runs)
                seen += reasons["left_out"]
            books[channel.name] = Books(seen, delivered.get(channel.name, 0), reasons)
        return books

    def _reason(self, name: str) -> str:
        return self._failures.get(name) or self._loaded.outcomes[name].reason

    def _isolated(self, what: str, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # one step's failure is its own
            self._failures[what] = f"{type(error).__name__}: {error}"
            self._failed[what] += 1
            if self._throttle.allows(what):
                log.exception("%s failed, the rest goes on", what)

    def _meet_cgroups(self, collector: Cgroups) -> None:
        for event in collector.changes(self._loaded.maps(collector.name)):
            if event.removed:
                self._identity.tree.removed(event.cgroup_id)
            elif event.path is not None:
                self._identity.tree.made(event.cgroup_id, event.path)

    def _steer(self, collector: HttpLog) -> None:
        assert self._modes
        left_out = collector.steer(self._loaded.maps(collector.name), *self._modes())
        if left_out and self._throttle.allows("modes"):
            log.warning("requests of %d cgroups are logged as those of all others: limits.cgroups is used up", left_out)

    def _count(self, collector: Collector) -> None:
        if self._is_due(collector.name):
            self._totals.add(collector.collect(self._loaded.maps(collector.name)))

    def _is_due(self, name: str) -> bool:
        """By a schedule of its own, so that drains that come late do not make every later one late."""
        interval, now = self._intervals.get(name), self._clock()
        if interval is None:
            return True
        due = self._due.setdefault(name, now)
        if now < due:
            return False
        self._due[name] = due + interval if now < due + interval else now + interval
        return True

    def _tell(self, collector: Collector) -> None:
        self._events.take(collector.name, collector.events(self._loaded.maps(collector.name)))


def walks(collector: Collector) -> set[str]:
    """Functions that run when they are asked and at no other time."""
    probes = (probe for each in collector.probes for probe in (each.probes if isinstance(each, AnyOf) else (each,)))
    return {probe.function for probe in probes if isinstance(probe, Walk)}
