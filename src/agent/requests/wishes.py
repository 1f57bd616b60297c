"""What may be asked for about a namespace's requests, in the settings and by annotations: texts to wishes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from agent.options import shown
from agent.protocols import routes

MODES = ("off", "errors", "sampled", "all")

MAX_DAYS = 7
"""A week: long enough to find a fault that comes once in it, too short to be forgotten for good. Whoever needs longer
says so anew."""

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""

MAX_ONE_IN = 1_000_000
MAX_SLOW_SECONDS = 86_400.0


@dataclass(frozen=True)
class Wish:
    """What is asked for; None: nothing about that. queries_until, paths_until: in UTC."""

    mode: str | None = None
    one_in: int | None = None
    slow_seconds: float | None = None
    queries_until: datetime | None = None
    paths_until: datetime | None = None

    def over(self, below: "Wish") -> "Wish":
        """This one's answers, and those of `below` where it has none."""
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(below, **mine)


class Settings(Protocol):
    """agent.settings.Requests."""

    @property
    def log(self) -> str: ...
    @property
    def one_in(self) -> int: ...
    @property
    def slow_seconds(self) -> float: ...
    @property
    def namespaces(self) -> tuple[str, ...]: ...
    @property
    def queries(self) -> tuple[str, ...]: ...
    @property
    def paths(self) -> tuple[str, ...]: ...
    @property
    def patterns(self) -> tuple[str, ...]: ...
    @property
    def routes_per_workload(self) -> int: ...


def of(settings: Settings) -> dict[str, Wish]:
    """Of the settings, by namespace. Raises ValueError, naming the entry."""
    found: dict[str, Wish] = {}
    for text in settings.namespaces:
        namespace, _, value = text.partition("=")
        word, _, number = value.partition("/")
        if number and word != "sampled":
            raise ValueError(f"{text}: only `sampled` takes a number")
        found[namespace] = Wish(mode(word), one_in(number) if number else None).over(found.get(namespace, Wish()))
    for texts, field in ((settings.queries, "queries_until"), (settings.paths, "paths_until")):
        for text in texts:
            namespace, _, until = text.partition("=")
            wish = Wish(**{field: moment(until)})  # type: ignore[arg-type]
            found[namespace] = wish.over(found.get(namespace, Wish()))
    return found


def patterns(texts: Sequence[str]) -> dict[str, list[str]]:
    """`shop=/users/{user}`, by namespace. Raises ValueError, naming the entry."""
    found: dict[str, list[str]] = {}
    for text in texts:
        namespace, _, path = text.partition("=")
        try:
            routes.pattern(path)
        except ValueError as error:
            raise ValueError(f"{text}: {error}") from None
        found.setdefault(namespace, []).append(path)
    return found


def mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(f"{shown(text)} is none of {', '.join(MODES)}")
    return text


def one_in(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and 1 <= int(text) <= MAX_ONE_IN):
        raise ValueError(f"{shown(text)} is no whole number from 1 to {MAX_ONE_IN}")
    return int(text)


def slow_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 < seconds <= MAX_SLOW_SECONDS:
        raise ValueError(f"{shown(text)} is no number of seconds above 0, up to {MAX_SLOW_SECONDS:.0f}")
    return seconds


def moment(text: str) -> datetime:
    """RFC 3339, with its offset: 2026-11-28T17:00:00Z."""
    found = None
    if _MOMENT.fullmatch(text):
        try:
            found = datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            found = None
    if found is None:
        raise ValueError(f"{shown(text)} is no moment like 2026-11-28T17:00:00Z")
    return found


def is_open(until: datetime | None, now: datetime) -> bool:
    return until is not None and now < until <= now + timedelta(days=MAX_DAYS)
