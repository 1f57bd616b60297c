"""What a dashboard's JSON must have before anybody looks at it. Each problem names file, line and panel.

It reads the files that Grafana will read, not the boards that they are made from: what somebody edits by hand or
brings along is held to the same.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bpfleet.documents import Document, Keys
from bpfleet.errors import BundleError
from bundle.dashboards import units
from bundle.dashboards.house import DATASOURCE, EMPTY, WIDTH
from bundle.dashboards.reading import PanelReading
from bundle.dashboards.recorded import RECORDED
from bundle.rules import expressions
from bundle.rules.known import Series, series

MAX_UID = 40
"""Grafana's own limit."""

MAX_HEIGHT = 100
"""Lines of the grid: several screens. Each is looked at when overlaps are sought."""

UID = re.compile(r"bpfleet-[a-z0-9-]+")
SOURCE = f"${{{DATASOURCE}}}"
VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
BUILT_IN = {"__rate_interval": "5m", "__interval": "1m", "__range": "1h"}
"""Grafana's, with a value that PromQL can read."""

LEGEND = re.compile(r"\{\{\s*([^}\s]*)\s*\}\}")
VALUES = re.compile(r"label_values\((?:(.+),)?\s*(\w+)\)", re.DOTALL)
ANY = ".*"
"""What stands for a variable's value."""

MANY = ("=~", "!~")
LINKS = ("fieldConfig", "defaults", "links")
LINK = re.compile(r"/d/([^?/]+)")
LINKED = re.compile(r"\$\{__(?:field\.labels|data\.fields)\.(\w+)\}")


class Lines:
    """Of a file that is JSON, and so YAML, whose nodes know their lines."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text

    @cached_property
    def _root(self) -> yaml.Node | None:
        try:
            return yaml.compose(self._text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError:  # JSON that YAML does not take, as with tabs
            return None

    def place(self, keys: Keys) -> str:
        return Document(self._file, None, self._root).place(keys) if self._root else f"{self._file}:1"


def problems(files: Sequence[Path]) -> list[str]:
    """Of all files together, because a uid belongs to one."""
    known = {**series(), **RECORDED}
    found: list[str] = []
    owners: dict[str, Path] = {}
    uids = {file.stem for file in files}
    for file in files:
        try:
            text = file.read_text("utf-8")
            board = json.loads(text)
        except OSError as error:
            raise BundleError(f"{file}: {error.strerror}") from error
        except ValueError as error:  # also bytes that are no UTF-8
            found.append(f"{file}:{getattr(error, 'lineno', 1)}: not JSON: {error}")
            continue
        if not isinstance(board, dict):
            found.append(f"{file}:1: not a dashboard: an object is to be here")
            continue
        said: list[Problem] = []
        try:
            said += Checker(board, known).problems()
            said += _astray(board, uids)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:  # any JSON may be there
            said.append(((), f"not a dashboard as Grafana has it: {type(error).__name__} {error}"))
        uid = str(board.get("uid"))
        if uid in owners:
            said.append((("uid",), f"uid {uid} is taken by {owners[uid].name}"))
        owners.setdefault(uid, file)
        if file.stem != uid:
            said.append((("uid",), f"its uid is {uid}: the file is to be called {uid}.json"))
        lines = Lines(file, text)
        found += [f"{lines.place(keys)}: {problem}" for keys, problem in said]
    return found


Problem = tuple[Keys, str]
"""The way to the place, and what is wrong there."""


def queries(board: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Each panel with each of its expressions, as they stand."""
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield panel, target.get("expr", "")


def panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Without rows, with what they hold."""
    yield from (panel for _, panel in placed(board))


def placed(board: Mapping[str, Any]) -> Iterator[tuple[Keys, Mapping[str, Any]]]:
    """Panels, each with the way to it."""
    for number, panel in enumerate(board.get("panels", [])):
        if panel.get("type") == "row":
            for inner, each in enumerate(panel.get("panels", [])):
                yield ("panels", number, "panels", inner), each
        else:
            yield ("panels", number), panel


def filled(expression: str, values: Mapping[str, str]) -> str:
    """As Grafana would send it. Raises BundleError for a variable that nobody has."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in values:
            raise BundleError(f"no variable ${name}: there are {', '.join(sorted(values))}")
        return values[name]

    return VARIABLE.sub(value, expression)


def may_be_empty(panel: Mapping[str, Any]) -> bool:
    """Whether its description's last line says so, with a reason."""
    last = str(panel.get("description", "")).splitlines()[-1:]
    return bool(last) and last[0].startswith(EMPTY) and last[0] != EMPTY


class Checker:
    """One dashboard."""

    def __init__(self, board: Mapping[str, Any], known: Mapping[str, Series]) -> None:
        self._board, self._known = board, known
        self._variables = {each["name"]: each for each in board.get("templating", {}).get("list", [])}
        self._values = {**BUILT_IN, **dict.fromkeys(self._variables, ANY)}

    def problems(self) -> Iterator[Problem]:
        uid = str(self._board.get("uid"))
        if not UID.fullmatch(uid) or len(uid) > MAX_UID:
            allowed = f"it begins with bpfleet- and has at most {MAX_UID} small letters, digits and hyphens"
            yield ("uid",), f"uid {uid}: {allowed}"
        if not self._board.get("title") or not self._board.get("description"):
            yield (), "a dashboard has a title and a description"
        if self._variables.get(DATASOURCE, {}).get("type") != "datasource":
            message = f"no variable {DATASOURCE} of type datasource: whoever looks could not choose"
            yield ("templating", "list"), message
        for number, (name, variable) in enumerate(self._variables.items()):
            if variable.get("type") == "query":
                for problem in self._of_variable(variable):
                    yield ("templating", "list", number), f"variable {name}: {problem}"
        yield from self._of_layout()
        for way, panel in placed(self._board):
            for keys, problem in self._of_panel(panel):
                yield (*way, *keys), f"{_called(panel)}: {problem}"

    def _of_variable(self, variable: Mapping[str, Any]) -> Iterator[str]:
        yield from _source(variable)
        match = VALUES.fullmatch(str(variable.get("query", "")))
        if not match or not match[1]:
            yield "its query is to be label_values(SERIES, LABEL)"
            return
        try:
            node = expressions.parse(filled(match[1], self._values))
        except BundleError as error:
            yield str(error)
            return
        reading = PanelReading(self._known)
        labels = reading.labels(node, "count")  # no value is read
        yield from reading.problems
        yield from self._of_matchers(match[1])
        if match[2] not in labels:
            yield f"{match[1]} has no label {match[2]}; there are {', '.join(sorted(labels))}"

    def _of_layout(self) -> Iterator[Problem]:
        seen: dict[int, str] = {}
        taken: dict[tuple[int, int], str] = {}
        rows = [
            (("panels", number), each)
            for number, each in enumerate(self._board.get("panels", []))
            if each.get("type") == "row"
        ]
        for way, panel in (*rows, *placed(self._board)):
            number, name = panel.get("id"), _called(panel)
            if not isinstance(number, int) or number < 1:
                yield way, f"{name}: it has no id"
            elif number in seen:
                yield (*way, "id"), f"{name}: its id {number} is that of {seen[number]}, too"
            else:
                seen[number] = name
            place = panel.get("gridPos") or {}
            x, y, width, height = (int(place.get(key, 0)) for key in "xywh")
            if width < 1 or not 0 < height <= MAX_HEIGHT or x < 0 or x + width > WIDTH:
                message = f"{name}: it does not lie within {WIDTH} columns, or is higher than {MAX_HEIGHT} lines"
                yield (*way, "gridPos"), message
                continue
            cells = [(column, line) for column in range(x, x + width) for line in range(y, y + height)]
            for other in dict.fromkeys(taken[cell] for cell in cells if cell in taken):
                yield (*way, "gridPos"), f"{name}: it overlaps {other}"
            taken.update(dict.fromkeys(cells, name))

    def _of_panel(self, panel: Mapping[str, Any]) -> Iterator[Problem]:
        said = str(panel.get("description", "")).splitlines()
        if not panel.get("title"):
            yield (), "it has no title"
        if not said or said[0].startswith(EMPTY):
            yield (), "it has no description"
        if EMPTY in said:
            yield ("description",), f"{EMPTY} is to be followed by the reason"
        yield from ((("datasource",), problem) for problem in _source(panel))
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit")
        if not unit:
            yield (), "it has no unit"
        if not panel.get("targets"):
            yield (), "it has no query"
        own = _own_units(panel)
        for url in _links(panel):
            yield from ((LINKS, problem) for problem in self._of_link(panel, url))
        for number, target in enumerate(panel.get("targets", [])):
            legend = target.get("legendFormat", "")
            for problem in self._of_target(panel, target, own.get(legend, unit or "")):
                yield ("targets", number, "expr"), f"query {target.get('refId', '?')}: {problem}"

    def _of_link(self, panel: Mapping[str, Any], url: str) -> Iterator[str]:
        """What each series or row has is what at least one of its queries leaves."""
        labels: set[str] = set()
        for target in panel.get("targets", []):
            try:
                node = expressions.parse(filled(str(target.get("expr", "")), self._values))
            except BundleError:
                return  # told where queries are
            labels |= PanelReading(self._known).labels(node)
        for label in LINKED.findall(url):
            if label not in labels:
                yield f"its link takes {label}, and of its labels there are left: {', '.join(sorted(labels)) or 'none'}"

    def _of_target(self, panel: Mapping[str, Any], target: Mapping[str, Any], unit: str) -> Iterator[str]:
        yield from _source(target)
        legend = str(target.get("legendFormat") or "")
        if not legend:
            yield "it has no legend"
        try:
            node = expressions.parse(filled(str(target.get("expr", "")), self._values))
        except BundleError as error:
            yield str(error)
            return
        reading = PanelReading(self._known)
        labels = reading.labels(node)
        yield from reading.problems
        yield from self._of_matchers(str(target["expr"]))
        if reading.problems:
            return
        for label in LEGEND.findall(legend):
            if label not in labels:
                survive = ", ".join(sorted(labels)) or "none"
                yield f"its legend names {label}, and of its labels there are left: {survive}"
        dimension = units.dimension(node)
        allowed = units.UNITS.get(dimension, ())
        if unit and unit not in allowed:
            yield f"its result is {dimension}, not {unit}: {', '.join(allowed) or 'nothing'} would do"

    def _of_matchers(self, expression: str) -> Iterator[str]:
        """A variable of several values is a regular expression, one of one value a text."""
        for operator, name in re.findall(r'(!?=~?|!~)"\$\{?(\w+)\}?"', expression):
            variable = self._variables.get(name, {})
            many = bool(variable.get("multi"))
            if variable.get("type") == "query" and many != (operator in MANY):
                kind, right = ("several values", MANY[0]) if many else ("one value", "=")
                yield f'{operator}"${name}": a variable of {kind} is matched by {right}'


def _source(of: Mapping[str, Any]) -> Iterator[str]:
    if (of.get("datasource") or {}).get("uid") != SOURCE:
        yield f"its data source is to be {SOURCE}, so that whoever looks can choose"


def _links(panel: Mapping[str, Any]) -> list[str]:
    return [str(each.get("url")) for each in panel.get("fieldConfig", {}).get("defaults", {}).get("links", [])]


def _astray(board: Mapping[str, Any], uids: set[str]) -> Iterator[Problem]:
    """Links to boards that are not there."""
    for way, panel in placed(board):
        for uid in (match[1] for url in _links(panel) for match in [LINK.match(url)] if match):
            if uid not in uids:
                yield (*way, *LINKS), f"{_called(panel)}: its link leads to {uid}, and no such dashboard is here"


def _own_units(panel: Mapping[str, Any]) -> dict[str, str]:
    """Of a table's columns, by name."""
    return {
        each["matcher"]["options"]: said["value"]
        for each in panel.get("fieldConfig", {}).get("overrides", [])
        for said in each.get("properties", [])
        if each.get("matcher", {}).get("id") == "byName" and said.get("id") == "unit"
    }


def _called(panel: Mapping[str, Any]) -> str:
    return f"panel {panel.get('id', '?')} ({panel.get('title') or 'without a title'})"
