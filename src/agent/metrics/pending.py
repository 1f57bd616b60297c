"""Samples of cgroups that nobody knows yet: held and merged until their owner is known, or for so long.

A container's first packets come before the Kubernetes API has told whose it is. Under a wrong name they would stay
for ever.
"""

from collections import Counter
from collections.abc import Iterator

from agent.metrics.identities import Place
from bpfleet.metrics import Distribution, Flow, Metric, Observations, Sample, Summed, Value

HELD_SECONDS = 15.0
"""A pod is on the watch within a second or two. After this the API is away, and a count without a full name is worth
more than none."""

MAX_HELD = 4096
"""Rows after merging: about 2 MiB. A pod has some dozens."""

Row = tuple[Metric, tuple[str, ...], Flow | None]


class Pending:
    def __init__(self) -> None:
        self._since: dict[Place, float] = {}
        self._rows: dict[Place, dict[Row, Value]] = {}
        self.size = 0

    def __contains__(self, cgroup_id: Place) -> bool:
        return cgroup_id in self._rows

    def hold(self, sample: Sample, now: float) -> bool:
        """False where there is no room."""
        rows = self._rows.get(sample.cgroup_id, {})
        row = (sample.metric, sample.labels, sample.flow)
        held = rows.get(row)
        if held is None:
            if self.size >= MAX_HELD:
                return False
            self.size += 1
        rows[row] = sample.value if held is None else merged(held, sample.value)
        self._rows[sample.cgroup_id] = rows
        self._since.setdefault(sample.cgroup_id, now)
        return True

    def waiting(self, now: float) -> list[tuple[Place, bool]]:
        """Every cgroup, and whether it has waited long enough."""
        return [(cgroup_id, now - since >= HELD_SECONDS) for cgroup_id, since in self._since.items()]

    def release(self, cgroup_id: Place) -> Iterator[Sample]:
        rows = self._rows.pop(cgroup_id)
        del self._since[cgroup_id]
        self.size -= len(rows)
        for (metric, labels, flow), value in rows.items():
            yield Sample(metric, value, cgroup_id, labels, flow)


def merged(old: Value, new: Value) -> Value:
    """Both growths in one. Raises ValueError where they are of different kinds."""
    if isinstance(old, Distribution) and isinstance(new, Distribution):
        counts = tuple(a + b for a, b in zip(old.counts, new.counts, strict=True))
        return Distribution(counts, old.total + new.total)
    if isinstance(old, Observations) and isinstance(new, Observations):
        return Observations(Counter(old.counts) + Counter(new.counts))
    if isinstance(old, Summed) and isinstance(new, Summed):
        return Summed(old.total + new.total, old.observations + new.observations)
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return old + new
    raise ValueError(f"{old!r} and {new!r} are not of one kind")
