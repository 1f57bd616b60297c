"""A measured row: what, how much, how sure, and against which goal."""

import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

RESAMPLES = 2000
SEED = 23


@dataclass(frozen=True)
class Row:
    """unit "1" is a ratio. low, high: 95 % bootstrap bounds of the median. limit: what the goal allows; at_least: the
    limit is a floor, and `low` must reach it; else `high` must not exceed it (`median`, where only one value is known).
    """

    goal: str
    name: str
    unit: str
    median: float
    q1: float
    q3: float
    n: int
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    at_least: bool = False
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """None where there is no limit."""
        if self.limit is None:
            return None
        if self.at_least:
            return (self.median if self.low is None else self.low) >= self.limit
        return (self.median if self.high is None else self.high) <= self.limit

    def as_json(self) -> str:
        return json.dumps({**asdict(self), "met": self.met})


def of(
    goal: str,
    name: str,
    unit: str,
    values: Sequence[float],
    limit: float | None = None,
    at_least: bool = False,
    **facts: object,
) -> Row:
    """A row of paired or repeated measurements, with bounds of their median if there are enough."""
    q1, median, q3 = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
    low, high = bounds(values) if len(values) >= 10 else (None, None)
    return Row(goal, name, unit, median, q1, q3, len(values), low, high, limit, at_least, facts)


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """95 % of the medians of resampled values lie between them (percentile bootstrap)."""
    dice = random.Random(SEED)
    medians = sorted(statistics.median(dice.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]


def table(rows: Sequence[Row]) -> str:
    """For people: one line a row, goals that are not met are marked."""
    lines = [f"{'goal':5} {'what':58} {'median':>10} {'95 % bounds':>21} {'unit':5} {'n':>4} {'goal is':>10}"]
    for row in rows:
        sure = "" if row.low is None or row.high is None else f"{row.low:,.4g} .. {row.high:,.4g}"
        limit = "" if row.limit is None else f"{'>=' if row.at_least else '<='} {row.limit:,.4g}"
        mark = {None: "", True: "  met", False: "  NOT MET"}[row.met]
        lines.append(
            f"{row.goal:5} {row.name[:58]:58} {row.median:>10,.4g} {sure:>21} {row.unit:5} {row.n:>4} {limit:>10}{mark}"
        )
    return "\n".join(lines)
