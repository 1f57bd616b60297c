"""Which maps does a collector's C text make? Map names are the agent's own words on its page: each belongs to one text.

Read as text, before anything is compiled; what a macro of the text's own makes up is found by nobody.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.kernel import programs
from agent.plugins import declarations
from agent.plugins.sources import Source
from bpfleet.api import Collector

MAP = re.compile(r'^\s*BPF_(?:TABLE\w*\("[^"]*",[^,]+,[^,]+,\s*|(?!TABLE)[A-Z_]+\(\s*)(?P<name>\w+)', re.M)
"""BCC's macros: the name comes first, in BPF_TABLE fourth."""

OWNED = {"books_": "channel", "runs_": "function of its probes"}
"""Maps whose names say what they count."""


class Map(NamedTuple):
    """place: `file.bpf.c:7`."""

    name: str
    place: str


def maps(kind: type[Collector]) -> Iterator[Map]:
    """In the collector's own files."""
    for file in (kind.program, *kind.parts):
        yield from _maps(file, Source(kind).path.parent)


def names(program: str) -> list[str]:
    """Of the maps of a program that fragments are put into."""
    return [found.name for found in _maps(program, programs.directory())]


def _maps(file: str, beside: Path) -> Iterator[Map]:
    for directory in (beside, programs.directory()):
        try:
            text = (directory / file).read_text(errors="replace")
        except OSError:
            continue
        for found in MAP.finditer(text):
            yield Map(found["name"], f"{file}:{text.count(chr(10), 0, found.start('name')) + 1}")
        return


def problems(kind: type[Collector]) -> Iterator[str]:
    """Books and runs that are kept for nobody."""
    channels = {f"books_{channel.name}" for channel in kind.channels}
    functions = {f"runs_{function}" for function in declarations.functions(kind)}
    for name, place in maps(kind):
        for prefix, what in OWNED.items():
            if name.startswith(prefix) and name not in channels | functions:
                yield f"{place}: {name} belongs to no declared {what}"
