"""Requests as a person reads them, a line each: cut to the terminal's width, or in full where there is none.

Paths, hosts, methods and names are whatever somebody sent: what is not printable is escaped, and nothing is markup.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from agent.escapes import inert
from agent.request_filters import HOST, NAMESPACE, PATH, ROLE, WORKLOAD, duration, method, status, word
from agent.request_pages import Request
from bpfleet.times import span

NONE = "-"
CUT = "..."
WIDE, MIDDLE = 140, 100
"""Columns of a terminal from which there is room for the other side, and for fractions of seconds and the role."""

NARROW = 60
"""Below, there is room for the request alone."""

RED, YELLOW, DIM, PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"
FIRST_WRONG, FIRST_FAILED = 400, 500

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT)(\d\d:\d\d:\d\d)(\.\d{3})\d*Z", re.ASCII)


class Column(NamedTuple):
    """width: in characters; 0 takes what is left. keeps_end: of what is too long."""

    title: str
    show: Callable[[Request], str]
    width: int = 0
    is_number: bool = False
    keeps_end: bool = False


def _clock(request: Request) -> str:
    found = _TIME.fullmatch(word(request, "time"))
    return found[2] if found else NONE


def _clock_ms(request: Request) -> str:
    found = _TIME.fullmatch(word(request, "time"))
    return found[2] + found[3] if found else NONE


def _moment(request: Request) -> str:
    found = _TIME.fullmatch(word(request, "time"))
    return f"{found[1]}{found[2]}{found[3]}Z" if found else NONE


def _workload(request: Request) -> str:
    return _pair(word(request, NAMESPACE), word(request, WORKLOAD))


def _pair(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace and name else name or namespace


def _outcome(request: Request) -> str:
    """The status, or why there is none."""
    number = status(request)
    return word(request, "error.type") if number is None else str(number)


def _took(request: Request) -> str:
    seconds = duration(request)
    return span(seconds) if seconds >= 0 else NONE


def _url(request: Request) -> str:
    query = word(request, "url.query")
    return _with_port(request, HOST, "server.port") + word(request, PATH) + (f"?{query}" if query else "")


def _with_port(request: Request, address: str, port: str) -> str:
    host, number = word(request, address), request.get(port)
    if not host or isinstance(number, bool) or not isinstance(number, int):
        return host
    return f"[{host}]:{number}" if ":" in host and host[0] != "[" else f"{host}:{number}"


def _peer(request: Request) -> str:
    """By name, else by address."""
    name = _pair(word(request, "bpfleet.peer.namespace"), word(request, "bpfleet.peer.name"))
    return name or _with_port(request, "network.peer.address", "network.peer.port")


ROLE_COLUMN = Column("ROLE", lambda request: word(request, ROLE), 6)
REQUEST_COLUMNS = (
    Column("METHOD", method, 7),
    Column("STATUS", _outcome, 7),
    Column("TOOK", _took, 7, is_number=True),
)
URL = Column("URL", _url)
PEER = Column("PEER", _peer, 28, keeps_end=True)
WORKLOAD_COLUMN = Column("WORKLOAD", _workload, 28, keeps_end=True)


def columns(width: int | None) -> tuple[Column, ...]:
    """For a terminal so wide; None: for no terminal."""
    if width is None:
        return (Column("TIME", _moment, 24), ROLE_COLUMN, WORKLOAD_COLUMN, *REQUEST_COLUMNS, PEER, URL)
    if width < NARROW:
        return (*REQUEST_COLUMNS, URL)
    if width < MIDDLE:
        return (Column("TIME", _clock, 8), WORKLOAD_COLUMN._replace(width=18), *REQUEST_COLUMNS, URL)
    peer = (PEER,) if width >= WIDE else ()
    return (Column("TIME", _clock_ms, 12), ROLE_COLUMN, WORKLOAD_COLUMN, *REQUEST_COLUMNS, *peer, URL)


def header(width: int | None) -> str:
    return _line([column.title for column in columns(width)], columns(width), width)


def row(request: Request, width: int | None, has_colours: bool = False) -> str:
    """Without the end of the line."""
    shown = columns(width)
    line = _line([inert(column.show(request)) or NONE for column in shown], shown, width)
    colour = _colour(request)
    return f"{colour}{line}{PLAIN}" if has_colours and colour else line


def _colour(request: Request) -> str:
    number = status(request)
    if number is None:
        return RED if word(request, "error.type") else ""
    return RED if number >= FIRST_FAILED else YELLOW if number >= FIRST_WRONG else ""


def _line(cells: list[str], shown: tuple[Column, ...], width: int | None) -> str:
    """The last cell takes what is left; without a width nothing is cut."""
    line = ""
    for cell, column in zip(cells, shown, strict=True):
        room = column.width or max(1, (width or 0) - len_of(line))
        line += _fitted(cell, room, column, width is not None) + " "
    return line.rstrip()


def _fitted(cell: str, room: int, column: Column, cuts: bool) -> str:
    if cuts:
        cell = cut(cell, room, column.keeps_end)
    padding = " " * max(0, (room if column.width else 0) - len_of(cell))
    return padding + cell if column.is_number else cell + padding


def cut(text: str, room: int, keeps_end: bool = False) -> str:
    """To so many columns of a terminal."""
    if len_of(text) <= room:
        return text
    mark = CUT[:room]
    kept, left = "", room - len(mark)
    for character in reversed(text) if keeps_end else text:
        left -= len_of(character)
        if left < 0:
            break
        kept += character
    return mark + kept[::-1] if keeps_end else kept + mark


def len_of(text: str) -> int:
    """Columns of a terminal: Chinese characters and the like take two (https://www.unicode.org/reports/tr11/)."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
