"""Keys of kube-prometheus-stack's values. It has no schema for them: a misspelt one would be ignored in silence."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet.documents import Keys
from bpfleet.errors import BundleError

LISTED = Path(__file__).parent.parent / "schemas" / "kube-prometheus-stack-values.tsv"

CHART = "kube-prometheus-stack"

FREE = (("grafana", "grafana.ini"),)
"""Maps with defaults that are open nevertheless: Grafana's own configuration is written out of whatever is there."""

OPEN = frozenset({"map", "null"})
"""Types of a default below which, or in whose place, anything may stand."""

TYPES: Mapping[str, type] = {"bool": bool, "list": list}
"""Types of a default that a value of another type breaks: "false" is true in a template."""

Way = tuple[str, ...]


@dataclass(frozen=True)
class Wrong:
    """keys: the way to it."""

    keys: Keys
    problem: str


@dataclass(frozen=True)
class Known:
    """version: the chart's. types: of the defaults, by way."""

    version: str
    types: Mapping[Way, str]
    inner: frozenset[Way]

    def wrong(self, values: Any, way: Way = ()) -> Iterator[Wrong]:
        """What the chart would not read, or would read otherwise than it is meant."""
        if not isinstance(values, dict):
            yield Wrong(way, f"{'.'.join(way) or 'values'}: has to be a map")
            return
        for key, value in values.items():
            here = (*way, str(key))
            if here in FREE:
                continue
            kind = self.types.get(here)
            if kind is not None and kind in TYPES and value is not None and not isinstance(value, TYPES[kind]):
                yield Wrong(here, f"{'.'.join(here)}: has to be a {kind}, as its default is")
            elif kind is None and here in self.inner:
                yield from self.wrong(value, here)
            elif kind is None:
                yield Wrong(here, f"{CHART} {self.version} has no value {'.'.join(here)}{self._hint(here)}")
            elif kind not in OPEN and isinstance(value, dict):
                yield Wrong(here, f"{'.'.join(here)}: has to be a {kind}, as its default is, and is a map")

    def _hint(self, way: Way) -> str:
        """A sibling of nearly that name; else the same name elsewhere."""
        siblings = {
            each[len(way) - 1]
            for each in (*self.types, *self.inner)
            if each[: len(way) - 1] == way[:-1] and len(each) >= len(way)
        }
        if close := difflib.get_close_matches(way[-1], siblings, n=1):
            return f"; did you mean {'.'.join((*way[:-1], close[0]))}?"
        elsewhere = sorted(".".join(each) for each in (*self.types, *self.inner) if each[-1] == way[-1])
        return f"; did you mean {elsewhere[0]}?" if elsewhere else ""


def known(file: Path = LISTED) -> Known:
    """Raises BundleError where the list is not what it should be."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    version = re.search(rf"{CHART} (\d\S*):", lines[0]) if lines else None
    if version is None:
        raise BundleError(f"{file}:1: the first line has to name the chart's version")
    types: dict[Way, str] = {}
    for number, line in enumerate(lines[1:], 2):
        key, _, kind = line.partition("\t")
        if not kind:
            raise BundleError(f"{file}:{number}: a key, a tab, and its default's type")
        types[tuple(part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", key))] = kind
    inner = frozenset(way[:length] for way in types for length in range(1, len(way)))
    return Known(version[1], types, inner)
