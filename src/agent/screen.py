"""Rows of workloads as a person sees them: a table that fits the terminal, or plain aligned text.

Names come from the node and are not trusted: control characters are escaped, and nothing is markup.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Group
from rich.table import Table
from rich.text import Text

from agent.activity import Quantile, Row
from agent.escapes import clean
from agent.figures import number, rate

FRAME_LINES = 5
"""Lines of the screen that are neither rows nor notes: title, header, keys and the space between."""


class Size(NamedTuple):
    """Of a terminal, in characters."""

    width: int
    height: int


class Column(NamedTuple):
    title: str
    show: Callable[[Row], str]


class Sort(NamedTuple):
    """key: chooses it in the live table. value: the largest comes first."""

    key: str
    value: Callable[[Row], float]


def _seconds(quantile: Quantile | None) -> float:
    return quantile.seconds if quantile else -1.0


SORTS = {
    "traffic": Sort("t", lambda row: row.received + row.transmitted),
    "in": Sort("i", lambda row: row.received),
    "out": Sort("o", lambda row: row.transmitted),
    "active": Sort("a", lambda row: row.active),
    "new": Sort("n", lambda row: row.new),
    "failed": Sort("f", lambda row: row.failed),
    "retransmits": Sort("r", lambda row: row.retransmitted),
    "rtt": Sort("l", lambda row: _seconds(row.p99)),
    "name": Sort("w", lambda row: 0.0),
}

NAMES = (
    Column("NAMESPACE", lambda row: clean(row.workload.namespace)),
    Column("WORKLOAD", lambda row: clean(row.workload.name)),
    Column("KIND", lambda row: clean(row.workload.kind)),
)
SHORT_NAMES = (Column("WORKLOAD", lambda row: clean(f"{row.workload.namespace}/{row.workload.name}")),)
NUMBERS = (
    Column("IN", lambda row: rate(row.received)),
    Column("OUT", lambda row: rate(row.transmitted)),
    Column("ACTIVE", lambda row: str(row.active)),
    Column("NEW/s", lambda row: number(row.new)),
    Column("FAIL/s", lambda row: number(row.failed)),
    Column("RETX/s", lambda row: number(row.retransmitted)),
    Column("RTT p50", lambda row: duration(row.p50)),
    Column("RTT p99", lambda row: duration(row.p99)),
)
WIDE = 120
"""Columns of a terminal from which names get three columns; below, one."""


def duration(quantile: Quantile | None) -> str:
    if quantile is None:
        return "-"
    mark = ">" if quantile.beyond else ""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if quantile.seconds * scale < 999.5:
            return f"{mark}{quantile.seconds * scale:.3g} {unit}"
    return f"{mark}{quantile.seconds:.3g} s"


def ordered(rows: Sequence[Row], sort: str) -> list[Row]:
    """Largest first, names by alphabet where equal."""
    return sorted(rows, key=lambda row: (-SORTS[sort].value(row), row.workload))


def plain(rows: Sequence[Row]) -> str:
    """Aligned text, a line a workload."""
    columns = (*NAMES, *NUMBERS)
    cells = [[column.title for column in columns], *([column.show(row) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    return "\n".join(_align(line, widths) for line in cells) + "\n"


def _align(line: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.ljust(width) if at < len(NAMES) else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def screen(rows: Sequence[Row], sort: str, address: str, notes: Sequence[str], size: Size) -> Group:
    """The live table: as many rows as fit, what is off or wrong, and the keys."""
    room = max(1, size.height - FRAME_LINES - len(notes))
    names = NAMES if size.width >= WIDE else SHORT_NAMES
    table = Table(expand=True, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in names:
        table.add_column(Text(column.title), ratio=2 if column.title == "WORKLOAD" else 1)
    for column in NUMBERS:
        table.add_column(Text(column.title), justify="right", no_wrap=True)
    for row in rows[:room]:
        table.add_row(*(Text(column.show(row), overflow="ellipsis", no_wrap=True) for column in (*names, *NUMBERS)))
    keys = "  ".join(f"{each.key} {name}" for name, each in SORTS.items())
    hidden = f", {len(rows) - room} more below" if len(rows) > room else ""
    return Group(
        Text(f"bpfleet top  {address}  {len(rows)} workloads by {sort}{hidden}", style="bold", overflow="ellipsis"),
        Text(),
        table,
        Text(),
        *(Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in notes),
        Text(f"sort: {keys}   q quit", style="dim", overflow="ellipsis", no_wrap=True),
    )
