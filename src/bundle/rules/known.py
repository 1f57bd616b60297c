"""Which series there are: the agent's, foreign ones, and those that rules record; their kinds and labels."""

from collections.abc import Mapping
from typing import NamedTuple

from bpfleet import catalogue
from bundle.rules.foreign import FOREIGN, TARGET

COUNTER, GAUGE = "counter", "gauge"


class Series(NamedTuple):
    """labels: all that it may have."""

    kind: str
    labels: frozenset[str]


def series() -> dict[str, Series]:
    """By the name that a selector has."""
    found: dict[str, Series] = {}
    for metric in catalogue.ALL:
        found.update(_of(metric.family, metric.kind, frozenset(metric.label_names) | TARGET))
    for name, foreign in FOREIGN.items():
        found.update(_of(name, foreign.kind, foreign.labels | TARGET))
    return found


def _of(family: str, kind: str, labels: frozenset[str]) -> Mapping[str, Series]:
    if kind == "histogram":
        return {
            f"{family}_bucket": Series(COUNTER, labels | {"le"}),
            f"{family}_sum": Series(COUNTER, labels),
            f"{family}_count": Series(COUNTER, labels),
        }
    if kind == "summary":
        return {f"{family}_sum": Series(COUNTER, labels), f"{family}_count": Series(COUNTER, labels)}
    return {family: Series(COUNTER if kind == COUNTER else GAUGE, labels)}
