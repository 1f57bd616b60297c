"""What a dashboard of ours is: panels that say what they show, in which unit, and what it means when they are empty.

Thinner than Grafana's own model: data source, layout and looks are decided once (render.py), and a board is the list of
its questions.
"""

from dataclasses import dataclass
from enum import Enum

DATASOURCE = "datasource"
"""Name of the variable: which Prometheus, chosen by who looks. Without a choice, Grafana's default one."""

EMPTY = "Empty when healthy:"
"""Begins a description's last line where a panel's query may find nothing; the reason follows."""

WIDTH = 24
"""Columns of Grafana's grid."""


class Kind(Enum):
    LINES = "timeseries"
    NUMBER = "stat"
    NAME = "stat by name"
    TABLE = "table"


@dataclass(frozen=True)
class Query:
    """legend: a text with {{label}}s; in a table the column's name. unit: where it is not its panel's (tables)."""

    expression: str
    legend: str
    unit: str = ""


@dataclass(frozen=True)
class Link:
    """To another board, from one series or row. of: its labels that choose there; kept: variables that both boards have
    and the series does not tell."""

    title: str
    uid: str
    of: tuple[str, ...]
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """id: stays with it for ever, because links name it. unit: Grafana's. empty: why it may show nothing
    although all is well; "" where that would be a fault. stacked: parts of a whole. A number is red from `bad` on and
    below `least`."""

    id: int
    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    width: int = 8
    height: int = 8
    empty: str = ""
    stacked: bool = False
    bad: float | None = None
    least: float | None = None
    link: Link | None = None

    @property
    def text(self) -> str:
        return f"{self.description}\n\n{EMPTY} {self.empty}" if self.empty else self.description


@dataclass(frozen=True)
class Row:
    id: int
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """Values of a label. metric: a selector whose series have it. many: several, or all of them."""

    name: str
    label: str
    metric: str
    description: str
    many: bool = True


@dataclass(frozen=True)
class Board:
    """uid: stable, at most 40 characters: alerts and people link to it."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    span: str = "now-3h"
