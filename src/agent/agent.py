"""The agent's heart: on each drain, what the kernel counted goes through identity into the totals.

    kernel maps -> collectors -> accumulator (identity inside) -> page

A collector that fails is its own problem: the rest count.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from agent.collectors.cgroups import Cgroups
from agent.kernel.door import Loaded
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from bpfleet.api import Collector, Metric, Sample

log = logging.getLogger(__name__)

FIRST_SILENCE_SECONDS = 60.0
"""A collector that keeps failing is logged at once, then after this time, then after twice as long each time."""

LONGEST_SILENCE_SECONDS = 3600.0
OWN_STEPS = ("identity", "totals", "report")
"""Of a drain, besides the collectors."""


class Tree(Protocol):
    """Where names of cgroups go."""

    def made(self, cgroup_id: int, path: str) -> None: ...
    def removed(self, cgroup_id: int) -> None: ...


class Identity(Protocol):
    @property
    def tree(self) -> Tree: ...
    def refresh(self) -> None: ...


class Totals(Protocol):
    """Where samples go."""

    def add(self, samples: Iterable[Sample]) -> None: ...
    def tick(self) -> None: ...


class Throttle:
    """When may a failure that repeats be logged again?"""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silence: dict[str, tuple[float, float]] = {}

    def allows(self, what: str) -> bool:
        until, silence = self._silence.get(what, (float("-inf"), FIRST_SILENCE_SECONDS))
        if self._clock() < until:
            return False
        self._silence[what] = (self._clock() + silence, min(2 * silence, LONGEST_SILENCE_SECONDS))
        return True


class Agent:
    """Drains on one thread, and says after each drain how it went. clock: monotonic seconds. intervals: by collector,
    the seconds between two calls of those that are not asked at each drain.

    The settings of what it works with change between two drains only: `with agent.changing(): ...`, from any thread."""

    def __init__(
        self,
        loaded: Loaded,
        collectors: Sequence[Collector],
        identity: Identity,
        totals: Totals,
        observe: Callable[[Report], None],
        clock: Callable[[], float],
        intervals: Mapping[str, float] | None = None,
    ) -> None:
        self._loaded = loaded
        self._collectors = [each for each in collectors if loaded.outcomes[each.name].up]
        self._identity = identity
        self._totals = totals
        self._observe = observe
        self._clock = clock
        self._intervals = dict(intervals or {})
        self._due: dict[str, float] = {}
        self._throttle = Throttle(clock)
        self._failures: dict[str, str] = {}
        self._failed: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._closed = False

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

    def leave(self, name: str) -> None:
        """A collector with a unit of its own: it is drained for the last time when its programs run no more."""
        with self._lock:
            if self._closed:
                return
            self._loaded.detach(name)
            self.drain()
            self._collectors = [each for each in self._collectors if each.name != name]
            self._loaded.leave(name)

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
            self._isolated(collector.name, lambda each=collector: self._count(each))  # type: ignore[misc]
        self._isolated("totals", self._totals.tick)
        self._isolated("report", lambda: self._observe(self.report()))

    def report(self) -> Report:
        return Report(
            collectors={
                name: CollectorState(outcome.up and name not in self._failures, outcome.hooks, self._reason(name))
                for name, outcome in self._loaded.outcomes.items()
            },
            books=self._books(),
            tables={row.name: Table(row.entries, row.capacity, row.bytes) for row in self._loaded.tables()},
            programs={name: Runs(*row) for name, row in self._loaded.runs().items()},
            failures={step: self._failed[step] for step in (*self._loaded.outcomes, *OWN_STEPS)},
        )

    def _books(self) -> dict[str, Books]:
        rows, runs = self._loaded.books(), self._loaded.runs()
        delivered, failed = self._loaded.delivered(), self._loaded.failed()
        books = {}
        for channel in (channel for each in self._collectors for channel in each.channels):
            if channel.name not in rows:
                continue
            row = rows[channel.name]
            seen, lost = (sum(runs[name][0] for name in channel.seen_by), row) if channel.seen_by else (row[0], row[1:])
            reasons = dict(zip(channel.lost, lost, strict=True))
            reasons["failed"] = failed.get(channel.name, 0)
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
