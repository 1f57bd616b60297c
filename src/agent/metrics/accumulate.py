"""From what happened to what stands on the page: the only place with totals, expiry and the series budget.

Nothing that is added is lost. A sample goes to the series of its workload (and peer); where the budget has no room, to
the metric's `other` series, so sums stay exact; while its owner is not known, it waits.

    resolver.refresh(); for each collector: add(collector.collect(maps)); tick()      once a drain, on one thread
    with view() as page: ...                                                          once a scrape, on any thread
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from threading import Lock
from typing import Generic, NamedTuple

from agent.metrics.budget import Budget
from agent.metrics.containers import Containers
from agent.metrics.hold import Hold
from agent.metrics.identities import OwnerT, Resolver
from agent.metrics.levels import Levels
from agent.metrics.pending import Pending
from agent.metrics.series import Family, Level, Own, Series, Subject, Workload
from agent.metrics.subjects import Subjects
from bpfleet.catalogue import CONTAINER_INFO
from bpfleet.metrics import Histogram, Metric, Sample, Scope

BATCH = 512
"""Samples under one hold of the lock: 1 ms, so a scrape waits no longer, and a collector reads its maps without it."""

MAX_CONTAINERS = 1024
"""Lines of bpfleet_container_info: 250 pods are the most that is run on a node, at four containers each."""


class View(NamedTuple):
    """What a scrape shows. now: series with `until` after it show 0. containers: label texts."""

    families: tuple[Family, ...]
    containers: tuple[Metric, list[str]]
    now: float


class Standing(NamedTuple):
    """Series as lines of the page; and the books of samples: seen = delivered + sum(lost). budget: counted, but as
    `other`; invalid: refused, because it does not fit its metric; late: the end of what was not there any more."""

    exposed: int
    withheld: int
    other: int
    held: int
    seen: int
    delivered: int
    lost: Mapping[str, int]


class Accumulator(Generic[OwnerT]):
    """metrics: what is exposed from the start (others join with their first sample). bounds: by the setting's name.
    series, series_per_metric: the budget in lines. clock: monotonic seconds. keep_seconds: for
    so long a workload that ended waits for the end of what it had open; identity knows its name as long."""

    def __init__(
        self,
        resolver: Resolver[OwnerT],
        metrics: Iterable[Metric],
        bounds: Mapping[str, tuple[float, ...]],
        *,
        series: int = 60_000,
        series_per_metric: int = 20_000,
        scrape_interval: float = 15.0,
        flow_idle_seconds: float = 900.0,
        keep_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resolver, self._bounds, self._clock = resolver, bounds, clock
        self._flow_idle, self._keep = flow_idle_seconds, keep_seconds
        self._lock = Lock()
        self._hold = Hold(scrape_interval, clock())
        self._budget = Budget(series, series_per_metric)
        self._containers = Containers(_containers_of(series), scrape_interval)
        self._budget.reserve(self._containers.limit)
        self._pending = Pending()
        self._families: dict[Metric, Family] = {}
        self._off: dict[Metric, float] = {}
        self._levels = Levels()
        self._subjects = Subjects(resolver, self._levels)
        self._delivered = self._folded = self._invalid = 0
        for metric in metrics:
            if metric.scope is not Scope.AGENT and metric is not CONTAINER_INFO:
                self._family(metric)

    def switch_off(self, metrics: Iterable[Metric]) -> None:
        """Metrics of collectors that do not run are not there at all: a 0 would say that nothing happened. What has
        series goes when every scraper has seen the last values."""
        with self._lock:
            now = self._clock()
            self._off.update(dict.fromkeys(metrics, now))
            self._retire(now)

    def switch_on(self, metrics: Iterable[Metric]) -> None:
        """They are exposed from now on; what is still there goes on."""
        with self._lock:
            for metric in metrics:
                self._off.pop(metric, None)
                if metric not in self._families and metric.scope is not Scope.AGENT:
                    self._family(metric)
            for workload in self._subjects.workloads.values():
                workload.zeroed = False  # the new ones' zeros are missing

    def rename(self) -> None:
        """The resolver may name those who live otherwise from now on: what they had under the old name ends."""
        with self._lock:
            self._subjects.rename()

    def adjust(
        self,
        *,
        series: int,
        series_per_metric: int,
        scrape_interval: float,
        flow_idle_seconds: float,
        keep_seconds: float,
    ) -> None:
        """As when it was made. A smaller budget holds for what is new: series that are there stay until they end."""
        with self._lock:
            self._budget.total, self._budget.per_metric = series, series_per_metric
            self._hold.interval = scrape_interval
            before = self._containers.limit
            self._containers.adjust(_containers_of(series), scrape_interval)
            self._budget.reserve(self._containers.limit - before)
            self._flow_idle, self._keep = flow_idle_seconds, keep_seconds

    def add(self, samples: Iterable[Sample]) -> None:
        """Raises what went wrong first when all is counted: ValueError if a sample did not fit its metric, or what the
        resolver raised. What `samples` itself raises is passed on after counting what came before."""
        batch: list[Sample] = []
        refused: list[Exception] = []
        try:
            for sample in samples:
                batch.append(sample)
                if len(batch) == BATCH:
                    full, batch = batch, []
                    self._take(full, refused)
        finally:
            self._take(batch, refused)
        self._raise_first(refused)

    def tick(self) -> None:
        """The end of a drain. Raises what the resolver raised, when all is done."""
        with self._lock:
            now = self._clock()
            subjects = self._subjects
            subjects.forget()
            for cgroup_id, enough in self._pending.waiting(now):
                if enough or subjects.owner(cgroup_id) is not None:
                    self._count_all(self._pending.release(cgroup_id), now, [], final=True)
            subjects.forget()
            self._levels.settle()
            self._meet_living(now)
            self._expire(subjects.leave(now), now)
            self._retire(now)
        self._raise_first([])

    def _raise_first(self, refused: list[Exception]) -> None:
        failure, self._subjects.failure = self._subjects.failure, None
        if first := refused[0] if refused else failure:
            raise first

    @contextmanager
    def view(self, live: bool = False) -> Iterator[View]:
        """What stands on the page; nothing changes meanwhile. live: true values at once, for a person who watches:
        neither withheld nor taken for a scrape."""
        with self._lock:
            now = self._clock()
            if not live and self._hold.scraped is None:
                self._first_scrape(now)
            containers = (CONTAINER_INFO, self._containers.texts())
            yield View(tuple(self._families.values()), containers, inf if live else now)

    def standing(self) -> Standing:
        with self._lock:
            now = self._clock()
            withheld = 0 if self._hold.is_over(now) else self._withheld(now)
            others = self._subjects.others.values()
            other = sum(own.family.lines for subject in others for own in subject.series)
            exposed = self._budget.used + len(self._containers)
            lost = {"budget": self._folded, "invalid": self._invalid, "late": self._levels.late}
            seen = self._delivered + sum(lost.values())
            return Standing(exposed, withheld, other, self._pending.size, seen, self._delivered, lost)

    def _withheld(self, now: float) -> int:
        families = self._families.values()
        return sum(family.lines for family in families for series in family.series if series.until > now)

    # Counting

    def _take(self, batch: list[Sample], refused: list[Exception]) -> None:
        with self._lock:
            now = self._clock()
            self._count_all(batch, now, refused)

    def _count_all(self, samples: Iterable[Sample], now: float, refused: list[Exception], final: bool = False) -> None:
        for sample in samples:
            try:
                self._count(sample, now, final)
            except (ValueError, TypeError) as error:
                self._invalid += 1
                refused.append(ValueError(f"{sample.metric.family}: {error}"))
            except Exception as error:  # adding is a sample's last step: this one is not counted, the others are
                self._invalid += 1
                refused.append(error)

    def _count(self, sample: Sample, now: float, final: bool) -> None:
        metric, value, cgroup_id, own_labels, flow = sample
        subjects = self._subjects
        subject = subjects.remembered.get((cgroup_id, flow)) or subjects.find(cgroup_id, flow)
        if subject is None:
            if not final and self._pending.hold(sample, now):
                return
            subject = subjects.final(cgroup_id, flow)
        family = self._families.get(metric) or self._family(metric)
        own = family.own.get(own_labels)
        series = subject.series.get(own) if own else None
        if series is None:
            if (flow is None) is (metric.scope is Scope.FLOW):
                raise ValueError("a flow is given where the metric has none, or the other way round")
            series = self._admit(family, subject, own_labels, now)
        if isinstance(series, Level):
            counted = self._levels.add(subject, series, own_labels, value)
        else:
            series.add(value)
            counted = 1
        series.subject.changed = now
        if series.subject is subject:
            self._delivered += counted
        else:
            self._folded += counted

    def _family(self, metric: Metric) -> Family:
        bounds = self._bounds[metric.bounds] if isinstance(metric, Histogram) else ()
        family = self._families[metric] = Family(metric, bounds)
        self._budget.reserve(family.reserve)
        return family

    def _admit(self, family: Family, subject: Subject, values: tuple[str, ...], now: float) -> Series:
        """The series for a subject's new set of labels, or the `other` one."""
        if len(values) != len(family.metric.labels):
            raise ValueError(f"labels {values!r} instead of {family.metric.labels!r}")
        if subject.permanent or not self._budget.admits(family):
            subject, values = self._subjects.others[family.metric.scope], family.folded(values)
            series = subject.series.get(family.own[values]) if values in family.own else None
            return series or self._bear(family, subject, values, now)
        return self._bear(family, subject, values, now)

    def _bear(self, family: Family, subject: Subject, values: tuple[str, ...], now: float) -> Series:
        own = family.own.get(values)
        if own is None:
            own = family.own[values] = Own(family, values)
        own.series += 1
        until = now if family.metric.kind == "gauge" else self._hold.until(now)
        series = subject.series[own] = family.kind(subject, own, until)
        family.series.append(series)
        self._budget.take(family)
        if family.kind is Level and not subject.permanent:
            self._levels.move(subject, series)
        return series

    # Birth and death

    def _meet_living(self, now: float) -> None:
        """Series whose labels are known are there with 0 before their first event."""
        met = self._subjects.meet(self._resolver.living())
        self._containers.refresh(met, now)
        for owner, workload in met:
            if owner.settled and not workload.zeroed:
                workload.zeroed = self._zero(workload.subject, now)
                if not workload.zeroed:  # the next one needs the same room
                    break

    def _zero(self, subject: Subject, now: float) -> bool:
        """False where the budget has no room for all of them."""
        for family in self._families.values():
            if family.metric.scope is Scope.FLOW:
                continue
            for values in family.listed:
                own = family.own.get(values)
                if own is None or own not in subject.series:
                    if not self._budget.admits(family, zero=True):
                        return False
                    self._bear(family, subject, values, now)
        return True

    def _first_scrape(self, now: float) -> None:
        self._hold.scraped = now
        until = self._hold.until(now)
        for family in self._families.values():
            for series in family.series:
                if series.until == inf:
                    series.until = until

    def _expire(self, workloads: Iterable[Workload[OwnerT]], now: float) -> None:
        """Ended workloads, and flows without traffic."""
        removed: list[Subject] = []
        for workload in workloads:
            subjects = [workload.subject, *workload.flows.values()]
            if not workload.owners and not workload.permanent:
                until = workload.ended + self._keep
                if all(self._may_go(each, now, until) for each in subjects):
                    del self._subjects.workloads[workload.labels]
                    removed += subjects
                    continue
            for flow in subjects[1:]:
                if now - flow.changed >= self._flow_idle and self._may_go(flow, now):
                    del workload.flows[flow.tail]
                    removed.append(flow)
        if removed:
            self._remove(removed)

    def _retire(self, now: float) -> None:
        """Metrics that are switched off."""
        for metric in self._off.keys() & self._families.keys():
            family = self._families[metric]
            shown = max((series.until for series in family.series), default=0.0)
            if family.series and now < self._hold.gone(shown, self._off[metric]):
                continue
            self._levels.retire(family)
            for series in family.series:
                del series.subject.series[series.own]
                self._budget.give(family)
            self._budget.reserve(-family.reserve)
            del self._families[metric]

    def _may_go(self, subject: Subject, now: float, until: float = inf) -> bool:
        """until: when it goes even if not all that it had open has ended."""
        if now < until and self._levels.stands(subject):
            return False
        shown = max((series.until for series in subject.series.values()), default=0.0)
        return now >= self._hold.gone(shown, subject.changed)

    def _remove(self, subjects: list[Subject]) -> None:
        touched = set()
        for subject in subjects:
            self._levels.drop(subject)
            for own in subject.series:
                own.series -= 1
                self._budget.give(own.family)
                touched.add(own.family)
                if not own.series:
                    del own.family.own[own.values]
            subject.series.clear()
        gone = set(map(id, subjects))
        for family in touched:
            family.series = [series for series in family.series if id(series.subject) not in gone]


def _containers_of(series: int) -> int:
    """Lines of bpfleet_container_info in a budget."""
    return min(MAX_CONTAINERS, series // 20)
