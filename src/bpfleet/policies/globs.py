"""Patterns that people write and strangers are measured against: `*`, `?` and, in paths, `**`.

No engine that goes back and tries again: between two stars stands a fixed piece, and the first place where it fits is
as good as any later one. So a pattern costs at most its own length times the text's, whatever both of them hold.
"""

import posixpath
import re

MAX_PATTERN = 512
"""Characters. A path that somebody has in mind is shorter, and what is longer makes each event dearer."""

ANY, DEEP = "*", "**"

LEFT_OUT = "..."
"""In the place of components that the kernel's programs had no room to tell."""


class Piece:
    """Fixed length: characters, and `?` for any one."""

    def __init__(self, text: str) -> None:
        self.length = len(text)
        self._text = text
        self._search = re.compile("".join("." if c == "?" else re.escape(c) for c in text), re.DOTALL)
        self._is_literal = "?" not in text

    def fits(self, text: str, start: int) -> bool:
        if self._is_literal:
            return text.startswith(self._text, start)
        return self._search.match(text, start) is not None

    def find(self, text: str, start: int, end: int) -> int:
        """The first place from `start` on at which it fits and ends before `end`; -1 for none."""
        if self._is_literal:
            return text.find(self._text, start, end)
        found = self._search.search(text, start, end)
        return found.start() if found else -1


class TextGlob:
    """`*` is any text, `?` any one character; nothing else means anything. Raises ValueError."""

    def __init__(self, pattern: str) -> None:
        self.pattern = checked(pattern)
        while DEEP in pattern:
            pattern = pattern.replace(DEEP, ANY)
        self.is_literal = not any(each in pattern for each in "*?")
        self.is_any = pattern == ANY
        self._first, *rest = (Piece(text) for text in pattern.split(ANY))
        self._middle, self._last = rest[:-1], rest[-1] if rest else None

    def matches(self, text: str) -> bool:
        if self._last is None:
            return len(text) == self._first.length and self._first.fits(text, 0)
        start, end = self._first.length, len(text) - self._last.length
        if end < start or not self._first.fits(text, 0) or not self._last.fits(text, end):
            return False
        for piece in self._middle:
            found = piece.find(text, start, end)
            if found < 0:
                return False
            start = found + piece.length
        return True


class PathGlob:
    """`*` and `?` stay within a component; `**` is a component of its own: any number of them, at the end at least one.
    A pattern without a slash is about the last component. Raises ValueError."""

    def __init__(self, pattern: str) -> None:
        self.pattern = checked(pattern)
        self.anchor = b""
        if "/" not in pattern:
            self._runs: list[list[TextGlob]] = [[], [TextGlob(pattern)]]
            self._is_name = True
        else:
            if not pattern.startswith("/"):
                raise ValueError(f"{pattern!r} is neither an absolute path nor a name without a slash")
            components = pattern[1:].split("/")
            if any(each in ("", ".", "..") for each in components):
                raise ValueError(f"{pattern!r} has a component that is empty, . or ..")
            if any(DEEP in each and each != DEEP for each in components):
                raise ValueError(f"{pattern!r}: ** is a component of its own, as in /tmp/**")
            if components[-1] == DEEP:
                components.append(ANY)
            self._runs = _runs(components)
            self._is_name = False
        literal = [glob.pattern for run in self._runs for glob in run if glob.is_literal]
        if literal:
            self.anchor = literal[-1].encode("utf-8", "backslashreplace")
            """The last component without a wildcard: no path without it matches. Empty where there is none."""

    def matches(self, path: str) -> bool:
        """path: as the kernel resolved it, or as a process gave it; a relative one is known by its name only."""
        plain = posixpath.normpath(path)
        parts = plain.lstrip("/").split("/")
        if self._is_name:
            return self._runs[-1][0].matches(parts[-1])
        if not plain.startswith("/"):
            return False
        head, *rest = self._runs
        if not rest:
            return len(parts) == len(head) and _fits(head, parts, 0)
        tail, start, end = rest[-1], len(head), len(parts) - len(rest[-1])
        if end < start or not _fits(head, parts, 0) or not _fits(tail, parts, end):
            return False
        for run in rest[:-1]:
            while start + len(run) <= end and not _fits(run, parts, start):
                start += 1
            start += len(run)
            if start > end:
                return False
        return True

    def may_match(self, path: str) -> bool:
        """Of a path with components left out: whether those that are told are no reason against it."""
        parts = path.lstrip("/").split("/")
        if LEFT_OUT not in parts:
            return False
        if self._is_name:
            return parts[-1] == LEFT_OUT
        first, last = parts.index(LEFT_OUT), len(parts) - 1 - parts[::-1].index(LEFT_OUT)
        before, after = parts[:first], parts[last + 1 :]
        head, tail = self._runs[0][: len(before)], self._runs[-1][-len(after) :] if after else []
        return _fits(head, before, 0) and _fits(tail, after, len(after) - len(tail))


def checked(pattern: str) -> str:
    """Raises ValueError for what can never match, or would cost too much."""
    if not pattern:
        raise ValueError("an empty pattern matches nothing")
    if len(pattern) > MAX_PATTERN:
        raise ValueError(f"a pattern of {len(pattern)} characters; {MAX_PATTERN} are allowed")
    if not pattern.isprintable():
        raise ValueError(f"{ascii(pattern)} has characters that cannot be seen")
    return pattern


def _runs(components: list[str]) -> list[list[TextGlob]]:
    """Components between `**`."""
    runs: list[list[TextGlob]] = [[]]
    for each in components:
        if each == DEEP:
            runs.append([])
        else:
            runs[-1].append(TextGlob(each))
    return runs


def _fits(run: list[TextGlob], parts: list[str], start: int) -> bool:
    return all(glob.matches(part) for glob, part in zip(run, parts[start : start + len(run)], strict=True))
