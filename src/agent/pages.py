"""A /metrics page as values: the lines of the families asked for, and nothing else.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

_LINE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? ([^ ]+)')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")


class Point(NamedTuple):
    """One series with its value now."""

    name: str
    labels: dict[str, str]
    value: float


def parse(page: str, wanted: Collection[str]) -> Iterator[Point]:
    """Series whose name is wanted. Raises ValueError on a line that is none of the format's."""
    for line in page.split("\n"):
        if not line or line[0] == "#" or line.partition("{")[0].partition(" ")[0] not in wanted:
            continue
        match = _LINE.match(line)
        if match is None:
            raise ValueError(f"not a line of metrics: {ascii(line[:80])}")
        name, labels, value = match.groups()
        yield Point(name, {key: _unescape(text) for key, text in _LABEL.findall(labels or "")}, float(value))


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: "\n" if match[1] == "n" else match[1], text)
