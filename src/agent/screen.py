"""Rows of workloads as a person sees them: a table that fits the terminal, or plain aligned text.

Names come from the node and are not trusted: control characters are escaped, and nothing is markup.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import rich.console
from rich.table import Table
from rich.text import Text

from agent.activity import Quantile, Requests, Row
from agent.escapes import clean
from agent.figures import number, rate
from bpfleet.times import span

FRAME_LINES = 6
"""Lines of the screen that are neither rows nor notes: title, header, two of keys and the space between."""

NONE = "-"
"""Where there is nothing to tell of: no round trip, no request."""


class Size(NamedTuple):
    """Of a terminal, in characters."""

    width: int
    height: int


class Column(NamedTuple):
    title: str
    show: Callable[[Row], str]


class Group(NamedTuple):
    """Columns that are shown together, or not at all. key: of the sort that brings them onto a narrow terminal."""

    name: str
    key: str
    columns: tuple[Column, ...]


class Sort(NamedTuple):
    """key: chooses it in the live table. value: the largest comes first. group: whose columns it sorts by."""

    key: str
    value: Callable[[Row], float]
    group: str = "network"


Side = Callable[[Row], Requests | None]
Of = Callable[[Requests], float]


def _seconds(quantile: Quantile | None) -> float:
    return quantile.seconds if quantile else -1.0


def _served(row: Row) -> Requests | None:
    return row.served


def _called(row: Row) -> Requests | None:
    return row.called


def _by(key: str, group: str, side: Side, value: Of) -> Sort:
    """Who has no requests comes after who has them."""
    return Sort(key, lambda row: value(requests) if (requests := side(row)) else -1.0, group)


def _sorts(side: Side, group: str, keys: str, names: Sequence[str]) -> dict[str, Sort]:
    values: tuple[Of, ...] = (
        lambda requests: requests.per_second,
        lambda requests: requests.errors,
        lambda requests: _seconds(requests.p50),
        lambda requests: _seconds(requests.p95),
        lambda requests: _seconds(requests.p99),
    )
    return {name: _by(key, group, side, value) for name, key, value in zip(names, keys, values, strict=True)}


NETWORK_SORTS = {
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
REQUEST_SORTS = {
    **_sorts(_served, "served", "12345", ("requests", "errors", "p50", "p95", "p99")),
    **_sorts(_called, "called", "67890", ("calls", "call-errors", "call-p50", "call-p95", "call-p99")),
}
SORTS = {**NETWORK_SORTS, **REQUEST_SORTS}

NAMES = (
    Column("NAMESPACE", lambda row: clean(row.workload.namespace)),
    Column("WORKLOAD", lambda row: clean(row.workload.name)),
    Column("KIND", lambda row: clean(row.workload.kind)),
)
SHORT_NAMES = (Column("WORKLOAD", lambda row: clean(f"{row.workload.namespace}/{row.workload.name}")),)
NETWORK = (
    Column("IN", lambda row: rate(row.received)),
    Column("OUT", lambda row: rate(row.transmitted)),
    Column("ACTIVE", lambda row: str(row.active)),
    Column("NEW/s", lambda row: number(row.new)),
    Column("FAIL/s", lambda row: number(row.failed)),
    Column("RETX/s", lambda row: number(row.retransmitted)),
    Column("RTT p50", lambda row: duration(row.p50)),
    Column("RTT p99", lambda row: duration(row.p99)),
)


def _cell(side: Side, show: Callable[[Requests], str]) -> Callable[[Row], str]:
    return lambda row: show(requests) if (requests := side(row)) else NONE


def _request_columns(side: Side, *titles: str) -> tuple[Column, ...]:
    shows: tuple[Callable[[Requests], str], ...] = (
        lambda requests: number(requests.per_second),
        lambda requests: percent(requests.errors),
        lambda requests: duration(requests.p50),
        lambda requests: duration(requests.p95),
        lambda requests: duration(requests.p99),
    )
    return tuple(Column(title, _cell(side, show)) for title, show in zip(titles, shows, strict=True))


GROUPS = (
    Group("network", "t", NETWORK),
    Group("served", "1", _request_columns(_served, "REQ/s", "ERR", "p50", "p95", "p99")),
    Group("called", "6", _request_columns(_called, "CALL/s", "CALL ERR", "CALL p50", "CALL p95", "CALL p99")),
)
NUMBERS = tuple(column for group in GROUPS for column in group.columns)
WIDE = 120
"""Columns of a terminal from which names get three columns; below, one."""

NAME_WIDTH, NAMES_WIDTH = 17, 40
"""Characters that names keep, in one column and in three, before another group of columns is shown."""


def duration(quantile: Quantile | None) -> str:
    if quantile is None:
        return NONE
    mark = ">" if quantile.beyond else ""
    return f"{mark}{span(quantile.seconds)}"


def percent(share: float) -> str:
    """0% and 100% are none and all of them, never nearly so."""
    if 0 < share < 0.0001:
        return "<0.01%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{100 * share:.3g}%"


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


def screen(rows: Sequence[Row], sort: str, address: str, notes: Sequence[str], size: Size) -> rich.console.Group:
    """The live table: as many rows and groups of columns as fit, what is off or wrong, and the keys."""
    room = max(1, size.height - FRAME_LINES - len(notes))
    names = NAMES if size.width >= WIDE else SHORT_NAMES
    shown, left_out = fitting(rows[:room], sort, size.width)
    columns = [column for group in shown for column in group.columns]
    table = Table(expand=True, box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for column in names:
        table.add_column(Text(column.title), ratio=2 if column.title == "WORKLOAD" else 1)
    for column in columns:
        table.add_column(Text(column.title), justify="right", no_wrap=True)
    for row in rows[:room]:
        table.add_row(*(Text(column.show(row), overflow="ellipsis", no_wrap=True) for column in (*names, *columns)))
    hidden = f", {len(rows) - room} more below" if len(rows) > room else ""
    narrow = "".join(f", {group.name} by key {group.key}" for group in left_out)
    return rich.console.Group(
        _line(f"bpfleet top  {len(rows)} workloads by {sort}{hidden}{narrow}  {address}", "bold"),
        Text(),
        table,
        Text(),
        *(_line(note, "yellow") for note in notes),
        _line(f"q quit   sort: {_keys(NETWORK_SORTS)}", "dim"),
        _line(f"requests: {_keys(REQUEST_SORTS)}", "dim"),
    )


def fitting(rows: Sequence[Row], sort: str, width: int) -> tuple[list[Group], list[Group]]:
    """Groups of columns that are shown, and those for which there is no room. The one that rows are sorted by always
    is; sides of which no row has requests wait until one has."""
    room = width - (NAMES_WIDTH if width >= WIDE else NAME_WIDTH)
    shown: list[Group] = []
    left_out: list[Group] = []
    for group in sorted(GROUPS, key=lambda group: group.name != SORTS[sort].group):
        is_sorted_by = group.name == SORTS[sort].group
        if not (is_sorted_by or group.name == "network" or _says_something(group, rows)):
            continue
        needed = sum(
            1 + max(len(column.title), *(len(column.show(row)) for row in rows), 0) for column in group.columns
        )
        if needed <= room or is_sorted_by:
            room -= needed
            shown.append(group)
        else:
            left_out.append(group)
    return [group for group in GROUPS if group in shown], left_out


def _says_something(group: Group, rows: Sequence[Row]) -> bool:
    return any(column.show(row) != NONE for row in rows for column in group.columns)


def _keys(sorts: Mapping[str, Sort]) -> str:
    return "  ".join(f"{each.key} {name}" for name, each in sorts.items())


def _line(text: str, style: str) -> Text:
    return Text(text, style=style, overflow="ellipsis", no_wrap=True)
