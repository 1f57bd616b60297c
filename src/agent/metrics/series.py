"""What a series is in memory, in as few bytes as it can be.

There may be 100,000 of them, so label text is held once per workload, per peer and per set of own labels, and a line is
put together when it is scraped: half the memory of a cached line, and as fast (bench/scrape.py).
"""

from bisect import bisect_left
from itertools import product
from math import inf, isfinite
from typing import Generic

from agent.metrics import labels
from agent.metrics.identities import OwnerT
from bpfleet import names
from bpfleet.metrics import (
    Counter,
    Distribution,
    Histogram,
    Metric,
    Observations,
    Scope,
    Summary,
    Summed,
    UpDownCounter,
    Value,
)


class Subject:
    """What series are about: a workload (tail empty), or its traffic with one peer on one port.

    head, tail: label text before and after the metric's own. changed: when one of its series last grew."""

    __slots__ = ("changed", "head", "permanent", "series", "tail")

    def __init__(self, head: str, tail: str = "", permanent: bool = False) -> None:
        self.head, self.tail, self.permanent = head, tail, permanent
        self.series: dict[Own, Series] = {}
        self.changed = 0.0


class Workload(Generic[OwnerT]):
    """All owners (by their key) that have the same identity labels, and what is counted for them: in all, and with
    each peer (by the tail of its labels, which needs no memory of its own). ended: when its last owner did."""

    __slots__ = ("ended", "flows", "labels", "owners", "permanent", "subject", "zeroed")

    def __init__(self, identity: tuple[str, ...], permanent: bool = False) -> None:
        self.labels, self.permanent, self.zeroed = identity, permanent, False
        self.ended = inf
        self.owners: dict[str, OwnerT] = {}
        self.subject = Subject(labels.pairs(names.IDENTITY, identity), permanent=permanent)
        self.flows: dict[str, Subject] = {}


class Own:
    """One set of a metric's own labels. series: how many use it."""

    __slots__ = ("family", "series", "text", "values")

    def __init__(self, family: "Family", values: tuple[str, ...]) -> None:
        self.family, self.values, self.series = family, values, 0
        self.text = "," + labels.pairs(family.metric.labels, map(labels.clean, values)) if values else ""


class Series:
    """until: it shows 0 before that moment (hold.py)."""

    __slots__ = ("own", "subject", "until")

    def __init__(self, subject: Subject, own: Own, until: float) -> None:
        self.subject, self.own, self.until = subject, own, until

    def add(self, value: Value) -> None:
        """Raises ValueError for a value that does not fit the metric."""
        raise NotImplementedError


class Number(Series):
    __slots__ = ("value",)

    def __init__(self, subject: Subject, own: Own, until: float) -> None:
        super().__init__(subject, own, until)
        self.value: int | float = 0


class Count(Number):
    __slots__ = ()

    def add(self, value: Value) -> None:
        if not isinstance(value, (int, float)) or not value >= 0:
            raise ValueError(f"a counter cannot grow by {value!r}")
        self.value += value


class Level(Number):
    """How many are there now, so never below 0. owed: how many more ended than began (levels.py)."""

    __slots__ = ("owed",)

    def __init__(self, subject: Subject, own: Own, until: float) -> None:
        super().__init__(subject, own, until)
        self.owed: int | float = 0

    def add(self, value: Value) -> None:
        if not isinstance(value, (int, float)) or not isfinite(value):
            raise ValueError(f"{value!r} is not a number")
        level = self.value - self.owed + value
        self.value, self.owed = (level, 0) if level >= 0 else (0, -level)


class Sum(Series):
    """Of a summary without quantiles."""

    __slots__ = ("observations", "total")

    def __init__(self, subject: Subject, own: Own, until: float) -> None:
        super().__init__(subject, own, until)
        self.total, self.observations = 0.0, 0

    def add(self, value: Value) -> None:
        if not isinstance(value, Summed) or value.observations < 0 or not value.total >= 0:
            raise ValueError(f"a summary cannot grow by {value!r}")
        self.total += value.total
        self.observations += value.observations


class Buckets(Series):
    """counts: per bucket, not cumulative; None while all are 0, as in most series that are there from the start."""

    __slots__ = ("counts", "total")

    def __init__(self, subject: Subject, own: Own, until: float) -> None:
        super().__init__(subject, own, until)
        self.total = 0.0
        self.counts: list[int] | None = None

    def add(self, value: Value) -> None:
        if isinstance(value, Observations):
            value = self._sorted(value)
        if not isinstance(value, Distribution) or min(value.counts, default=-1) < 0 or not value.total >= 0:
            raise ValueError(f"a histogram cannot grow by {value!r}")
        if len(value.counts) != len(self.own.family.bounds) + 1:
            raise ValueError(f"{len(value.counts)} buckets instead of {len(self.own.family.bounds) + 1}")
        self.total += value.total
        if self.counts is None:
            self.counts = list(value.counts)
        else:
            self.counts = [old + new for old, new in zip(self.counts, value.counts, strict=True)]

    def _sorted(self, observed: Observations) -> Distribution:
        """A value is in the first bucket whose bound is not below it."""
        counts = [0] * (len(self.own.family.bounds) + 1)
        for value, count in observed.counts.items():
            counts[bisect_left(self.own.family.bounds, value)] += count
        return Distribution(tuple(counts), sum(value * count for value, count in observed.counts.items()))


KINDS: dict[type[Metric], type[Series]] = {Counter: Count, UpDownCounter: Level, Histogram: Buckets, Summary: Sum}


class Family:
    """A metric and its series, in the order of their birth.

    lines: what a series takes on the page. used: lines of all its series. reserve: lines of all its `other` series."""

    __slots__ = ("bounds", "kind", "lines", "listed", "metric", "own", "reserve", "series", "used")

    def __init__(self, metric: Metric, bounds: tuple[float, ...] = ()) -> None:
        """Raises ValueError for a metric of a kind that is not accumulated."""
        if type(metric) not in KINDS or metric.scope is Scope.AGENT:
            raise ValueError(f"{metric.family} is not a metric of workloads")
        self.metric, self.bounds, self.kind = metric, bounds, KINDS[type(metric)]
        self.lines = {Buckets: len(bounds) + 3, Sum: 2}.get(self.kind, 1)
        self.own: dict[tuple[str, ...], Own] = {}
        self.series: list[Series] = []
        self.used = 0
        complete = len(metric.values) == len(metric.labels) and all(metric.values)
        self.listed = tuple(product(*metric.values)) if complete else ()
        self.reserve = self.lines * (len(self.listed) + bool(metric.labels))

    def folded(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Own labels of the `other` series: the values if they are listed, so that these series stay few."""
        return values if values in self.listed else ("",) * len(values)
