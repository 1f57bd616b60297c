"""How many series may there be? Counted in lines of the page, as Prometheus' sample_limit does: a histogram is many.

The room for each metric's `other` series is set aside from the start, so the limits hold whatever comes.
"""

from agent.metrics.series import Family

ZERO_SHARE = 0.5
"""Of the room that series may take before anything happened: what happens always finds the other half."""


class Budget:
    def __init__(self, total: int, per_metric: int) -> None:
        self.total, self.per_metric = total, per_metric
        self.used = 0
        self._reserved = 0

    def reserve(self, lines: int) -> None:
        self._reserved += lines

    def admits(self, family: Family, zero: bool = False) -> bool:
        """Is there room for one more series? zero: before its first event."""
        share = ZERO_SHARE if zero else 1.0
        of_metric = (self.per_metric - family.reserve) * share
        in_all = (self.total - self._reserved) * share
        return family.used + family.lines <= of_metric and self.used + family.lines <= in_all

    def take(self, family: Family) -> None:
        family.used += family.lines
        self.used += family.lines

    def give(self, family: Family) -> None:
        family.used -= family.lines
        self.used -= family.lines
