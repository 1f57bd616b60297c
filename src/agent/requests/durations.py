"""How long do servers take to answer, by route? From what the request log tells, for the kernel knows no path.

So it counts what the log sees: of the namespaces that record all requests, less what was lost on the way, which the
log's books tell.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from bpfleet.catalogue import HTTP_ROUTE_DURATION
from bpfleet.metrics import Distribution, Sample

MAX_ROWS = 8192
"""Of one drain: workload, method, status and route; 4 MiB. What finds no room goes to its route `other`."""

OTHER = "other"

Key = tuple[int, str, str, str]


class RouteDurations:
    """bounds: of the buckets, in seconds. Used from one thread."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._rows: dict[Key, list[float]] = {}

    def take(self, cgroup_id: int, method: str, status: str, route: str, seconds: float) -> None:
        key = (cgroup_id, method, status, route)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MAX_ROWS:
                key = (cgroup_id, method, status, OTHER)
            row = self._rows.setdefault(key, [0.0] * (len(self._bounds) + 2))
        row[bisect_left(self._bounds, seconds)] += 1
        row[-1] += seconds

    def samples(self) -> Iterator[Sample]:
        """What was taken since the last time."""
        rows, self._rows = self._rows, {}
        for (cgroup_id, *labels), row in rows.items():
            counts = tuple(int(count) for count in row[:-1])
            yield Sample(HTTP_ROUTE_DURATION, Distribution(counts, row[-1]), cgroup_id, tuple(map(str, labels)))
