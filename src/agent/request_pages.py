"""An agent's /requests page as values. It comes from another machine perhaps, so nothing in it is taken on trust."""

import json
from collections.abc import Collection, Mapping
from math import isfinite
from typing import NamedTuple, NoReturn, TypeVar

T = TypeVar("T")

MAX_TOLD = 20
"""Characters of what is refused."""

Request = Mapping[str, object]
"""A record of the request log, as docs/events.md has it."""


class Page(NamedTuple):
    """As agent.sinks.recent has a Look."""

    log: str
    agent: str
    next: int
    last: int
    missed: int
    requests: list[Request]


def parse(text: str) -> Page:
    """Raises ValueError for anything else."""
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return Page(
        log=_checked(found, "log", str),
        agent=_checked(found, "agent", str),
        next=_checked(found, "next", int),
        last=_checked(found, "last", int),
        missed=_checked(found, "missed", int),
        requests=[_object(each) for each in _checked(found, "requests", list)],
    )


def off(status: str, collectors: Collection[str]) -> dict[str, str]:
    """Which of these collectors an agent's /status has as off, with the reason. Raises ValueError."""
    try:
        found = json.loads(status)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    states = found.get("collectors") if isinstance(found, dict) else None
    if not isinstance(states, dict):
        raise ValueError("no collectors in it")
    chosen = {name: states[name] for name in collectors if isinstance(states.get(name), dict)}
    return {name: str(state.get("reason")) for name, state in chosen.items() if not state.get("up")}


def _checked(found: Mapping[str, object], name: str, kind: type[T]) -> T:
    value = found.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
        raise ValueError(f"{name} is no {kind.__name__}")
    return value


def _object(each: object) -> Request:
    if not isinstance(each, dict):
        raise ValueError("a request is no object")
    return each


def _finite(digits: str) -> float:
    """1e999 is JSON, and as a float it is none any more."""
    found = float(digits)
    return found if isfinite(found) else _refuse(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant[:MAX_TOLD]} is not a number that JSON can hold")
