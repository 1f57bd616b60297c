"""Which route does a path belong to: `/users/23/orders/42` -> `/users/{id}/orders/{id}`?

Patterns that somebody wrote down come first (`/users/{user}/orders/{order}`), then the kinds of segments.py. What comes
out is ASCII without anything that could act, of bounded length, and of a bounded number for each workload.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.protocols import secrets, segments

OTHER = "other"
"""The route of what exceeds the bound. No path: those begin with a slash."""

CUT = "..."
"""Stands for the rest of a path that is longer than is looked at, or whose end was not seen."""

EVERYWHERE = "*"
"""The namespace of patterns that hold for all."""

MAX_PATH = 1024
"""Characters of a path that are looked at, as many as an event's text may have."""

MAX_SEGMENTS = 16
"""Deeper paths are files, not routes."""

MAX_ROUTE = 256
"""Characters of a route, as long as a label should be at most."""

MAX_WORKLOADS = 4096
"""Whose routes are remembered: as many as cgroups on a node (limits.cgroups). The one unheard of for longest goes."""

MAX_ROUTES = 16_384
"""Of all workloads together: 6 MiB."""

MAX_PATTERN = 200
"""Characters of a pattern."""

ACTIONS = frozenset(
    "reset forgot forgotten change refresh new verify validate revoke login logout introspect create update delete "
    "edit list strength policy confirm status info keys rotate issue exchange callback authorize settings".split()
)
"""What may follow a word like `password` or `token` and is not its value."""


class Pattern(NamedTuple):
    """text: the route. parts: each a word, or empty for any one segment. has_rest: `/*` at its end is any rest."""

    text: str
    parts: tuple[str, ...]
    has_rest: bool


def pattern(text: str) -> Pattern:
    """`/users/{user}/*`. Raises ValueError."""
    if not text.startswith("/") or len(text) > MAX_PATTERN or not (text.isascii() and text.isprintable()):
        raise ValueError(f"a route is a path from / on, of at most {MAX_PATTERN} ASCII characters")
    parts = text.rstrip("/").split("/")[1:]
    has_rest = bool(parts) and parts[-1] == "*"
    if has_rest:
        parts.pop()
    for part in parts:
        is_any = len(part) > 2 and part[0] == "{" and part[-1] == "}"
        if not part or any(mark in (part[1:-1] if is_any else part) for mark in "{}*?# "):
            raise ValueError("each part of a route is a word or a name in braces, {user}; the last one may be *")
    return Pattern(text, tuple("" if part[0] == "{" else part for part in parts), has_rest)


def template(path: str, is_cut: bool = False) -> str:
    """The path with the kinds of its segments. is_cut: its end is missing, so its last segment is not whole."""
    is_cut = is_cut or len(path) > MAX_PATH
    parts = path[:MAX_PATH].split("/", MAX_SEGMENTS + 1)
    if len(parts) > MAX_SEGMENTS + 1:
        is_cut = True
    found: list[str] = []
    length, before = 0, ""
    for number, part in enumerate(parts):
        if is_cut and number == len(parts) - 1:
            each = CUT
        elif before and part and secrets.announces(before) and part.lower() not in ACTIONS:
            each = "{token}"
        elif number > 1 and not parts[number - 1] and secrets.spans("//" + part):  # //user@host
            each = "{token}"
        else:
            each = segments.kind(part)
        length += len(each) + 1
        if length > MAX_ROUTE - len(CUT):
            return "/".join([*found, CUT])
        found.append(each)
        before = before if part in secrets.NOTHING else part
    return "/".join(found)


class Routes:
    """patterns: by namespace, `*` for all. per_workload: how many routes each may have; the others are `other`.
    Raises ValueError for a pattern that is none."""

    def __init__(self, patterns: Mapping[str, Sequence[str]], per_workload: int) -> None:
        self._patterns: dict[str, tuple[Pattern, ...]] = {}
        self._per_workload = 0
        self._seen: OrderedDict[tuple[str, str], set[str]] = OrderedDict()
        self._size = 0
        self.adjust(patterns, per_workload)

    def adjust(self, patterns: Mapping[str, Sequence[str]], per_workload: int) -> None:
        """As when it was made. Routes that are known stay."""
        self._patterns = {namespace: tuple(map(pattern, texts)) for namespace, texts in patterns.items()}
        self._per_workload = per_workload

    def template(self, namespace: str, path: str, is_cut: bool = False) -> str:
        """Without a bound on their number: for what is not kept."""
        if not is_cut and len(path) <= MAX_PATH and self._patterns:
            parts = path.split("/")[1:]
            if parts and not parts[-1]:
                parts.pop()
            for each in (*self._patterns.get(namespace, ()), *self._patterns.get(EVERYWHERE, ())):
                if _matches(each, parts):
                    return each.text
        return template(path, is_cut)

    def route(self, namespace: str, workload: str, path: str, is_cut: bool = False) -> str:
        return self.bounded(namespace, workload, self.template(namespace, path, is_cut))

    def bounded(self, namespace: str, workload: str, route: str) -> str:
        """The route, or `other` where the workload has as many as it may."""
        key = (namespace, workload)
        seen = self._seen.get(key)
        if seen is None:
            seen = self._seen[key] = set()
            if len(self._seen) > MAX_WORKLOADS:
                self._forget()
        else:
            self._seen.move_to_end(key)
        if route in seen:
            return route
        if len(seen) >= self._per_workload:
            return OTHER
        while self._size >= MAX_ROUTES and len(self._seen) > 1:
            self._forget()
        if self._size >= MAX_ROUTES:
            return OTHER
        seen.add(route)
        self._size += 1
        return route

    def __len__(self) -> int:
        """Routes that are remembered."""
        return self._size

    def _forget(self) -> None:
        _, routes = self._seen.popitem(last=False)
        self._size -= len(routes)


def _matches(each: Pattern, parts: Sequence[str]) -> bool:
    if len(parts) < len(each.parts) or (len(parts) > len(each.parts) and not each.has_rest):
        return False
    return all(part and (not word or word == part) for word, part in zip(each.parts, parts, strict=False))
