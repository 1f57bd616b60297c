"""What workloads do now, from one page of metrics to the next: rates, active connections, round-trip times, requests.

Pages in, rows out: no terminal and no clock here. Rates are taken over the last few pages, so that a page that comes
between two drains of the agent does not look like silence.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agent import pages
from agent.pages import Point
from bpfleet import catalogue

WINDOW_SECONDS = 10.0
"""Rates are over this time: two drains of an agent with default settings, short enough to look live."""

HISTOGRAMS = {
    f"{catalogue.TCP_RTT.family}_bucket": "rtt",
    f"{catalogue.HTTP_SERVER_DURATION.family}_bucket": "served",
    f"{catalogue.HTTP_CLIENT_DURATION.family}_bucket": "called",
}
"""Histograms whose quantiles are shown, and what they are here."""

REQUESTS = {
    f"{catalogue.HTTP_SERVER_DURATION.family}_count": "served",
    f"{catalogue.HTTP_CLIENT_DURATION.family}_count": "called",
}
"""Requests by side: as server, as client."""

FAILED = " failed"
"""After a side: those of its requests that are errors, as OpenTelemetry has it (`error_type`)."""

COUNTED = {
    (catalogue.NETWORK_IO.family, "receive"): "received",
    (catalogue.NETWORK_IO.family, "transmit"): "transmitted",
    (catalogue.CONNECTIONS_OPENED.family, ""): "new",
    (catalogue.CONNECTIONS_ACCEPTED.family, ""): "new",
    (catalogue.CONNECTIONS_FAILED.family, ""): "failed",
    (catalogue.TCP_RETRANSMISSIONS.family, ""): "retransmitted",
}
"""Counters by family and direction, and what they are here."""

MOST = 2.0**64
"""No counter of an agent's is above it: what is has no place in a sum."""

RATES = frozenset(COUNTED.values())

WANTED = {
    *(family for family, _ in COUNTED),
    *HISTOGRAMS,
    *REQUESTS,
    *(catalogue.CONNECTIONS_ACTIVE.family, catalogue.COLLECTOR_UP.family, catalogue.COLLECTOR_INFO.family),
}


Series = tuple[str, ...]
"""A series' name and label values."""


class Workload(NamedTuple):
    namespace: str
    name: str
    kind: str


class Quantile(NamedTuple):
    """seconds: interpolated within its bucket. beyond: it lies above the last bound, which is `seconds`."""

    seconds: float
    beyond: bool = False


class Requests(NamedTuple):
    """Of one side over the window. errors: their share of all, 0 to 1."""

    per_second: float
    errors: float
    p50: Quantile | None
    p95: Quantile | None
    p99: Quantile | None


@dataclass(frozen=True)
class Row:
    """One workload; counts but `active` are per second, over the window. served, called: its requests as server and as
    client; None where there were none."""

    workload: Workload
    received: float = 0.0
    transmitted: float = 0.0
    active: int = 0
    new: float = 0.0
    failed: float = 0.0
    retransmitted: float = 0.0
    p50: Quantile | None = None
    p99: Quantile | None = None
    served: Requests | None = None
    called: Requests | None = None


@dataclass
class Growth:
    """What one workload added between two pages. buckets: by histogram and upper bound, observations up to it."""

    counts: dict[str, float] = field(default_factory=dict)
    buckets: dict[tuple[str, float], float] = field(default_factory=dict)

    def count(self, word: str, growth: float) -> None:
        self.counts[word] = self.counts.get(word, 0.0) + growth

    def observe(self, bucket: tuple[str, float], growth: float) -> None:
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + growth

    def add(self, other: "Growth") -> None:
        for word, growth in other.counts.items():
            self.count(word, growth)
        for bucket, growth in other.buckets.items():
            self.observe(bucket, growth)


class Activity:
    """Feed it pages; ask for rows."""

    def __init__(self, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._previous: Mapping[Series, float] | None = None
        self._now = 0.0
        self._steps: deque[tuple[float, dict[Workload, Growth]]] = deque()
        self._active: Counter[Workload] = Counter()
        self._bounds: dict[str, list[float]] = {}
        self.off: dict[str, str] = {}

    def add(self, page: str, now: float) -> None:
        """A page as it was at `now` (monotonic seconds). Raises ValueError if it is none."""
        points = [point for point in pages.parse(page, WANTED) if _is_taken(point)]
        current = {_series(point): point.value for point in points if _words(point) or point.name in HISTOGRAMS}
        self._follow(_bounds(points))
        if self._previous is not None:
            self._steps.append((now - self._now, self._growth(points, self._previous)))
            while len(self._steps) > 1 and sum(took for took, _ in self._steps) > self._window_seconds:
                self._steps.popleft()
        self._previous, self._now = current, now
        self._active = Counter()
        for point in points:
            if point.name == catalogue.CONNECTIONS_ACTIVE.family:
                self._active[_workload(point)] += int(point.value)
        self.off = _off(points)

    def _follow(self, bounds: Mapping[str, list[float]]) -> None:
        """Buckets of an agent with other bounds cannot be added to those from before."""
        if any(self._bounds.get(histogram, new) != new for histogram, new in bounds.items()):
            self._steps.clear()
        self._bounds.update(bounds)

    def _growth(self, points: Iterable[Point], previous: Mapping[Series, float]) -> dict[Workload, Growth]:
        """By workload. A new series began at 0, and so did one that fell: another agent answers now."""
        grown: dict[Workload, Growth] = {}
        for point in points:
            histogram, words = HISTOGRAMS.get(point.name), _words(point)
            before = previous.get(_series(point), 0.0) if histogram or words else point.value
            growth = point.value - (before if before <= point.value else 0.0)
            if not growth:
                continue
            into = grown.setdefault(_workload(point), Growth())
            if histogram:
                into.observe((histogram, float(point.labels["le"])), growth)
            for word in words:
                into.count(word, growth)
        return grown

    def rows(self) -> list[Row]:
        """Every workload that did something in the window or has connections."""
        seconds = sum(took for took, _ in self._steps)
        sums: dict[Workload, Growth] = {}
        for _, grown in self._steps:
            for workload, growth in grown.items():
                sums.setdefault(workload, Growth()).add(growth)
        workloads = {*sums, *(workload for workload, active in self._active.items() if active)}
        return [self._row(workload, sums.get(workload, Growth()), seconds) for workload in sorted(workloads)]

    def _row(self, workload: Workload, growth: Growth, seconds: float) -> Row:
        rates = {word: count / seconds for word, count in growth.counts.items() if word in RATES}
        rtt = self._buckets(growth, "rtt")
        return Row(
            workload,
            active=self._active[workload],
            p50=quantile(rtt, 0.5),
            p99=quantile(rtt, 0.99),
            served=self._requests(growth, "served", seconds),
            called=self._requests(growth, "called", seconds),
            **rates,
        )

    def _requests(self, growth: Growth, side: str, seconds: float) -> Requests | None:
        count = growth.counts.get(side, 0.0)
        if not count:
            return None
        buckets = self._buckets(growth, side)
        quantiles = (quantile(buckets, share) for share in (0.5, 0.95, 0.99))
        return Requests(count / seconds, growth.counts.get(side + FAILED, 0.0) / count, *quantiles)

    def _buckets(self, growth: Growth, histogram: str) -> list[tuple[float, float]]:
        return [(bound, growth.buckets.get((histogram, bound), 0.0)) for bound in self._bounds.get(histogram, ())]


def quantile(buckets: Sequence[tuple[float, float]], share: float) -> Quantile | None:
    """buckets: (upper bound, observations at or below it), ascending. None without observations.
    Within a bucket observations are taken to be spread evenly, as histogram_quantile() of Prometheus does."""
    if not buckets or buckets[-1][1] <= 0:
        return None
    rank = share * buckets[-1][1]
    low, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            if math.isinf(bound):
                return Quantile(low, beyond=True)
            return Quantile(low + (bound - low) * ((rank - below) / (count - below)))
        low, below = bound, count
    return None


def _is_taken(point: Point) -> bool:
    return 0 <= point.value <= MOST and (point.name not in HISTOGRAMS or "le" in point.labels)


def _workload(point: Point) -> Workload:
    labels = point.labels
    return Workload(labels.get("namespace", ""), labels.get("workload", ""), labels.get("workload_kind", ""))


def _series(point: Point) -> Series:
    return (point.name, *point.labels.values())


def _words(point: Point) -> tuple[str, ...]:
    """What a counter is here; none for what is not counted."""
    side = REQUESTS.get(point.name)
    if side:
        return (side, side + FAILED) if point.labels.get("error_type") else (side,)
    word = COUNTED.get((point.name, point.labels.get("direction", "")))
    return (word,) if word else ()


def _bounds(points: Iterable[Point]) -> dict[str, list[float]]:
    """Of each histogram that is on the page."""
    found: dict[str, set[str]] = {}
    for point in points:
        if point.name in HISTOGRAMS:
            found.setdefault(HISTOGRAMS[point.name], set()).add(point.labels["le"])
    return {histogram: sorted(map(float, bounds)) for histogram, bounds in found.items()}


def _off(points: Iterable[Point]) -> dict[str, str]:
    """Collectors that are off, with the reason."""
    seen = list(points)
    down = {
        point.labels.get("collector", "")
        for point in seen
        if point.name == catalogue.COLLECTOR_UP.family and not point.value
    }
    reasons = {
        point.labels.get("collector", ""): point.labels.get("reason", "")
        for point in seen
        if point.name == catalogue.COLLECTOR_INFO.family
    }
    return {collector: reasons.get(collector, "") for collector in sorted(down)}
