"""The agent's own health on its own page: which collectors count, whether the books balance, what the programs cost.

The agent's loop hands in a Report after each drain, so a scrape never touches the kernel.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from agent.metrics import labels
from agent.metrics.accumulate import Standing
from bpfleet import catalogue
from bpfleet.metrics import Metric

SERIES_CHANNEL = "series"
"""The accumulator's own books: samples seen, delivered, and lost to the budget (counted as `other`), as invalid or as
late (the end of what was not there any more)."""

Families = CounterMetricFamily | GaugeMetricFamily | InfoMetricFamily


class CollectorState(NamedTuple):
    """hooks: in use; reason: why it is off, or which of its optional hooks are not there."""

    up: bool
    hooks: tuple[str, ...] = ()
    reason: str = ""


class Books(NamedTuple):
    """Of one channel, since the agent's start."""

    seen: int
    delivered: int
    lost: Mapping[str, int]


class Table(NamedTuple):
    """A BPF map: rows at the last drain, rows that it can hold, kernel memory."""

    entries: int
    capacity: int
    size_bytes: int


class Runs(NamedTuple):
    """Of one BPF program, since its load: runs, how many of them were timed, and the time of those."""

    runs: int
    timed_runs: int
    timed_ns: int


@dataclass(frozen=True)
class Report:
    """Each by name: collector, channel, map, program; failures by the drain's step; events by name and outcome; sinks
    by sink, event and outcome; waiting by the stage at which events wait; writes by sink and outcome."""

    collectors: Mapping[str, CollectorState] = field(default_factory=dict)
    books: Mapping[str, Books] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    programs: Mapping[str, Runs] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)
    sinks: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    waiting: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[tuple[str, str], int] = field(default_factory=dict)


class Reloads(NamedTuple):
    """How the last reading of the settings went. success_time: of the last good one, Unix time; waiting: settings that
    wait for a restart."""

    successful: bool
    success_time: float
    waiting: int


class RequestLog(NamedTuple):
    """refused: annotations that are ignored; opened: by what of requests is recorded beyond the default, how many
    namespaces."""

    refused: int
    opened: Mapping[str, int]


class Security(NamedTuple):
    """rules: of the policies in force; successful: they are what the files say."""

    rules: int
    successful: bool


@dataclass
class Build:
    """headers: what the programs were compiled against; empty until they are."""

    version: str
    kernel: str
    headers: str


class RunTime:
    """A counter from samples: the time of what was timed, scaled to all runs in between. Scaling the totals instead
    would let the counter fall whenever their mean does."""

    def __init__(self) -> None:
        self._last = Runs(0, 0, 0)
        self.seconds = 0.0

    def observe(self, now: Runs) -> None:
        timed = now.timed_runs - self._last.timed_runs
        if timed > 0:  # else the runs wait for the next timed one
            mean_ns = (now.timed_ns - self._last.timed_ns) / timed
            self.seconds += max(0.0, mean_ns * (now.runs - self._last.runs) / 1e9)
            self._last = now


class Health(Collector):
    """A collector of prometheus_client. standing: of the accumulator; reloads, credentials: of the settings and the
    server, by name whether its files are what is in use; backends: of Services, in the order of the metric's labels;
    request_log, security: None where there is none. All are asked at each scrape."""

    def __init__(
        self,
        standing: Callable[[], Standing],
        build: Build,
        reloads: Callable[[], Reloads],
        credentials: Callable[[], Mapping[str, bool]],
        backends: Callable[[], Iterable[tuple[str, ...]]] = tuple,
        request_log: Callable[[], RequestLog] | None = None,
        security: Callable[[], Security] | None = None,
    ) -> None:
        self._standing, self.build = standing, build
        self._reloads, self._credentials, self._backends = reloads, credentials, backends
        self._request_log, self._security = request_log, security
        self._times: dict[str, RunTime] = {}
        self._shown = (Report(), dict[str, float]())
        self.sinks: Mapping[str, str] = {}
        """Why each is off; empty where it is on."""

    def registry(self) -> CollectorRegistry:
        """With the process's own CPU, memory and descriptors."""
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        return registry

    def observe(self, report: Report) -> None:
        for program, runs in report.programs.items():
            self._times.setdefault(program, RunTime()).observe(runs)
        self._shown = (report, {program: time.seconds for program, time in self._times.items()})

    def collect(self) -> Iterator[Families]:
        report, times = self._shown
        collectors, tables, programs = report.collectors, report.tables, report.programs
        yield _gauge(catalogue.COLLECTOR_UP, {(name,): float(state.up) for name, state in collectors.items()})
        info = _info(catalogue.COLLECTOR_INFO)
        for name, state in collectors.items():
            for hook in dict.fromkeys(state.hooks or ("",)):  # two functions may share a hook
                _add_info(info, catalogue.COLLECTOR_INFO, (name, hook, state.reason))
        yield info
        yield _gauge(catalogue.SINK_UP, {(name,): float(not reason) for name, reason in self.sinks.items()})
        reasons = _info(catalogue.SINK_INFO)
        for name, reason in self.sinks.items():
            _add_info(reasons, catalogue.SINK_INFO, (name, reason))
        yield reasons
        yield from self._books(report)
        yield _counter(catalogue.EVENTS, report.events)
        yield _counter(catalogue.SINK_EVENTS, report.sinks)
        yield _counter(catalogue.SINK_WRITES, report.writes)
        yield _gauge(catalogue.EVENTS_WAITING, {(stage,): count for stage, count in report.waiting.items()})
        yield _counter(catalogue.PROGRAM_RUNS, {(name,): runs.runs for name, runs in programs.items()})
        yield _counter(catalogue.PROGRAM_RUN_TIME, {(name,): seconds for name, seconds in times.items()})
        yield _counter(catalogue.DRAIN_FAILURES, {(step,): count for step, count in report.failures.items()})
        yield _gauge(catalogue.MAP_ENTRIES, {(name,): table.entries for name, table in tables.items()})
        yield _gauge(catalogue.MAP_CAPACITY, {(name,): table.capacity for name, table in tables.items()})
        yield _gauge(catalogue.MAP_BYTES, {(name,): table.size_bytes for name, table in tables.items()})
        yield from self._settings()
        backends = _info(catalogue.SERVICE_BACKEND_INFO)
        for values in self._backends():
            _add_info(backends, catalogue.SERVICE_BACKEND_INFO, values)
        yield backends
        if self._request_log:
            log = self._request_log()
            yield _gauge(catalogue.REQUEST_LOG_REFUSED, {(): log.refused})
            yield _gauge(catalogue.REQUEST_LOG_OPENED, {(what,): count for what, count in log.opened.items()})
        if self._security:
            security = self._security()
            yield _gauge(catalogue.SECURITY_RULES, {(): security.rules})
            yield _gauge(catalogue.SECURITY_POLICIES_RELOAD_SUCCESSFUL, {(): float(security.successful)})
        build = _info(catalogue.BUILD_INFO)
        _add_info(build, catalogue.BUILD_INFO, (self.build.version, self.build.kernel, self.build.headers))
        yield build

    def describe(self) -> Iterator[Families]:
        """Nothing: the registry need not ask for a page just to learn the names."""
        return iter(())

    def _settings(self) -> Iterator[Families]:
        reloads = self._reloads()
        yield _gauge(catalogue.CONFIG_RELOAD_SUCCESSFUL, {(): float(reloads.successful)})
        yield _gauge(catalogue.CONFIG_RELOAD_TIME, {(): reloads.success_time})
        yield _gauge(catalogue.CONFIG_RESTART_REQUIRED, {(): reloads.waiting})
        credentials: dict[tuple[str, ...], float] = {(name,): float(good) for name, good in self._credentials().items()}
        yield _gauge(catalogue.CREDENTIALS_RELOAD_SUCCESSFUL, credentials)

    def _books(self, report: Report) -> Iterator[Families]:
        standing = self._standing()
        own = Books(standing.seen, standing.delivered, standing.lost)
        books = {**report.books, SERIES_CHANNEL: own}
        yield _counter(catalogue.SEEN, {(name,): each.seen for name, each in books.items()})
        yield _counter(catalogue.DELIVERED, {(name,): each.delivered for name, each in books.items()})
        lost: dict[tuple[str, ...], float] = {}
        for name, each in books.items():
            lost.update({(name, reason): count for reason, count in each.lost.items()})
        yield _counter(catalogue.LOST, lost)
        states = {"exposed": standing.exposed, "withheld": standing.withheld, "other": standing.other}
        yield _gauge(catalogue.SERIES, {(state,): count for state, count in states.items()})


def _counter(metric: Metric, values: Mapping[Any, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(metric.family, metric.help, labels=metric.labels)
    for own, value in values.items():
        family.add_metric([labels.clean(each) for each in own], value)
    return family


def _gauge(metric: Metric, values: Mapping[tuple[str, ...], float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.family, metric.help, labels=metric.labels)
    for own, value in values.items():
        family.add_metric([labels.clean(each) for each in own], value)
    return family


def _info(metric: Metric) -> InfoMetricFamily:
    return InfoMetricFamily(metric.family.removesuffix("_info"), metric.help, labels=())


def _add_info(family: InfoMetricFamily, metric: Metric, values: tuple[str, ...]) -> None:
    family.add_metric((), dict(zip(metric.labels, map(labels.clean, values), strict=True)))
