"""The agent's heart: on each drain, what the kernel counted goes through identity into the totals.

    kernel maps -> collectors -> accumulator (identity inside) -> page
    ring buffers -> collectors -> events (identity inside) -> sinks
    settings, policies -> steering -> collectors -> kernel maps

What a collector watches may be steered: whoever decides it (the request log, the security policies) is asked once a
drain, after identity and before anything is read, and tells the collectors that it names.

A collector that fails is its own problem: the rest count.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from agent.events.routing import Standing
from agent.kernel.door import Loaded, Outcome
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from agent.plugins import guarding
from agent.throttle import Throttle
from bpfleet.api import AnyOf, Collector, Event, Maps, Metric, Process, Sample, Walk

log = logging.getLogger(__name__)

OWN_STEPS = ("identity", "orders", "totals", "events", "report")
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


class Steering(Protocol):
    """Who tells collectors what they are to watch. collectors: which, by name. left_out: a sentence with a %d for the
    log, for rows that found no room."""

    @property
    def collectors(self) -> Collection[str]: ...
    @property
    def left_out(self) -> str: ...
    def begin(self) -> None:
        """Once a drain, when owners are known."""

    def steer(self, collector: Collector, maps: Maps) -> int:
        """Tells one of them. Returns how many rows found no room."""


class Agent:
    """Drains on one thread, and says after each drain how it went. clock: monotonic seconds. intervals: by collector,
    the seconds between two calls of those that are not asked at each drain. most: samples or events of one collector in
    one drain; whoever yields more is off for good. steering: asked at each drain. told: what is counted of events.

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
        most: int = guarding.MAX_YIELDED,
        steering: Sequence[Steering] = (),
        told: Callable[[], Iterable[Sample]] = tuple,
    ) -> None:
        self._loaded = loaded
        self._steering = tuple(steering)
        self._collectors = [each for each in collectors if loaded.outcomes[each.name].up]
        self._identity = identity
        self._totals = totals
        self._events = events
        self._observe = observe
        self._clock = clock
        self._intervals = dict(intervals or {})
        self._told = told
        self._most = most
        self._endless: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._throttle = Throttle(clock)
        self._failures: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._closed = False
        self._introduce()

    def _introduce(self) -> None:
        """Whoever runs now, to each other and to who follows their processes."""
        for each in self._collectors:
            try:
                each.meet(tuple(self._collectors))
            except Exception:  # one collector's failure is its own
                log.exception("collector %s cannot meet the others", each.name)
        self._identity.namespaces.follow(self._walk())

    def _walk(self) -> Callable[[], Iterable[Process]] | None:
        """Over all processes, where a collector that runs can."""
        for each in self._collectors:
            try:
                walk = each.processes(self._loaded.maps(each.name), self._loaded.outcomes[each.name].hooks)
            except Exception:  # one collector's failure is its own
                log.exception("collector %s cannot say whether it lists processes", each.name)
                continue
            if walk is not None:
                return walk
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
            self._introduce()

    def leave(self, collector: Collector) -> None:
        """One with a unit of its own: it is drained for the last time when its programs run no more."""
        with self._lock:
            if self._closed:
                return
            self._loaded.detach(collector.name, walks(collector))
            self.drain()
            self._collectors = [each for each in self._collectors if each.name != collector.name]
            self._endless.pop(collector.name, None)
            self._introduce()
            self._loaded.leave(collector.name)

    def note(self, outcomes: Mapping[str, Outcome]) -> None:
        """Collectors that could not even be made: their reasons are reported like those of the others."""
        with self._lock:
            self._loaded.outcomes.update(outcomes)

    def forget(self, name: str) -> None:
        """One that was noted is not asked for any more."""
        with self._lock:
            self._loaded.outcomes.pop(name, None)

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
        for collector in self._collectors:  # before anything is counted, so that a cgroup that is gone has a name
            self._asked(collector, self._meet_cgroups)
        self._isolated("identity", self._identity.refresh)
        for steering in self._steering:
            self._isolated("orders", steering.begin)
        for collector in self._collectors:
            self._asked(collector, self._steer)
        for collector in self._collectors:
            self._asked(collector, self._count)
        self._isolated("totals", self._totals.tick)
        self._isolated("events", self._events.begin)
        for collector in self._collectors:
            self._asked(collector, self._tell)
        self._isolated("events", lambda: self._totals.add(self._told()))
        self._isolated("report", lambda: self._observe(self.report()))

    def report(self) -> Report:
        told = self._events.standing()
        return Report(
            collectors={
                name: CollectorState(outcome.up and not self._failure(name), outcome.hooks, self._reason(name))
                for name, outcome in self._loaded.outcomes.items()
            },
            books=self._books() | {name: Books(*account) for name, account in told.accounts.items()},
            tables={row.name: Table(row.entries, row.capacity, row.bytes) for row in self._loaded.tables()},
            programs={name: Runs(*row) for name, row in self._loaded.runs().items()},
            failures={step: self._failed[step] for step in (*self._loaded.outcomes, *OWN_STEPS)},
            events=told.events,
            sinks=told.sinks,
            waiting=told.waiting,
            writes=told.writes,
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

    def _failure(self, name: str) -> str:
        return self._endless.get(name) or self._failures.get(name, "")

    def _reason(self, name: str) -> str:
        return self._failure(name) or self._loaded.outcomes[name].reason

    def _asked(self, collector: Collector, step: Callable[[Collector], None]) -> None:
        """Unless it has lost its turn for good."""
        if collector.name not in self._endless:
            self._isolated(collector.name, lambda: step(collector), collector)

    def _isolated(self, what: str, step: Callable[[], None], collector: Collector | None = None) -> None:
        try:
            step()
        except Exception as error:  # one step's failure is its own
            place = guarding.place(error, type(collector)) if collector else ""
            self._failures[what] = f"{place}{type(error).__name__}: {error}"
            self._failed[what] += 1
            if isinstance(error, guarding.Endless):
                self._endless[what] = self._failures[what]
                if collector and collector.base is None:  # nobody reads what it would go on writing
                    self._loaded.detach(what)
            if self._throttle.allows(what):
                log.exception("%s failed, the rest goes on", what)

    def _meet_cgroups(self, collector: Collector) -> None:
        for change in guarding.changes(collector, self._loaded.maps(collector.name), self._most):
            if change.removed:
                self._identity.tree.removed(change.cgroup_id)
            elif change.path is not None:
                self._identity.tree.made(change.cgroup_id, change.path)

    def _steer(self, collector: Collector) -> None:
        for steering in self._steering:
            if collector.name in steering.collectors:
                left_out = steering.steer(collector, self._loaded.maps(collector.name))
                if left_out and self._throttle.allows(f"{collector.name} rows"):
                    log.warning(steering.left_out, left_out)

    def _count(self, collector: Collector) -> None:
        if self._is_due(collector.name):
            self._totals.add(guarding.samples(collector, self._loaded.maps(collector.name), self._most))

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
        events = guarding.events(collector, self._loaded.maps(collector.name), self._most)
        self._events.take(collector.name, events)


def walks(collector: Collector) -> set[str]:
    """Functions that run when they are asked and at no other time."""
    probes = (probe for each in collector.probes for probe in (each.probes if isinstance(each, AnyOf) else (each,)))
    return {probe.function for probe in probes if isinstance(probe, Walk)}
