"""Where settings come from: YAML file < BPFLEET_* environment < flags. Every mistake is told, with its place.

The file is read node by node instead of with yaml.safe_load, because nodes know their line, show a key that stands
twice, and keep the text: YAML 1.1 would make a boolean of `kubernetes: on`.
"""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from agent.options import Leaf, Value, numeral, shown
from agent.settings import Settings, build, clashes, get, leaves
from bpfleet.errors import SettingsError

FILE_VARIABLE = "BPFLEET_CONFIG"
MAX_FILE_BYTES = 1_048_576
"""A settings file has a few hundred lines; a larger one is another file named by mistake."""

SERVICE_LINK = re.compile(r"BPFLEET(_.*)?(_SERVICE_HOST|_SERVICE_PORT(_.*)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
"""Kubernetes gives every pod such variables for the Services beside it; one may be called bpfleet-something."""

KIND = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "names": "a list of names",
    "numbers": "a list of numbers",
}


@dataclass(frozen=True)
class Given:
    """A value and the place it was given at, as messages show it ("agent.yaml:3", "--listen")."""

    value: Value
    place: str


@dataclass(frozen=True)
class Configuration:
    """The settings in force, and for each one that was given the place that decided it."""

    settings: Settings
    places: Mapping[str, str]


@dataclass
class Reading:
    """What was understood so far, and every problem on the way."""

    given: dict[str, Given] = field(default_factory=dict)
    collectors: list[Given] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, leaf: Leaf, place: str, convert: Callable[[], Value]) -> None:
        try:
            value = convert()
            leaf.option.check(value)
        except ValueError as error:
            self.problems.append(f"{place}: {leaf.name} must be {leaf.allowed}: {error}")
            return
        self.given[leaf.name] = Given(value, place)
        if leaf.name == "collectors":
            self.collectors.append(self.given[leaf.name])


def load(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str], collectors: Mapping[str, bool]
) -> Configuration:
    """The settings in force.

    flags: setting name (`limits.flows`) -> text. collectors: every known one -> whether it is in the default set.
    Raises SettingsError with one line for each problem."""
    reading = Reading()
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    if file is not None:
        _read_file(file, reading)
    _read_environment(environment, reading)
    for leaf in leaves():
        if leaf.name in flags:
            _take_text(reading, leaf, f"flag {leaf.flag}", flags[leaf.name])
    chosen = _choose(reading, collectors)
    _stop_on(reading.problems)

    values = {name: given.value for name, given in reading.given.items()} | {"collectors": chosen}
    places = {name: given.place for name, given in reading.given.items()}
    settings = build(values)
    _stop_on([_blame(settings, places, names, problem) for names, problem in clashes(settings)])
    return Configuration(settings, places)


class Parser(argparse.ArgumentParser):
    """An argument parser with `--config` and one flag a setting; their values stay text until load() reads them."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        group = self.add_argument_group("settings")
        group.add_argument("--config", type=Path, metavar="FILE", help=f"settings file (YAML); also {FILE_VARIABLE}")
        for leaf in leaves():
            text = f"{leaf.option.help} ({leaf.allowed})".replace("%", "%%")
            group.add_argument(leaf.flag, dest=leaf.name, metavar="VALUE", help=text)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """Lets `--collectors -tcp` be: argparse would take `-tcp` for another flag."""
        words: list[str] = []
        for word in sys.argv[1:] if args is None else args:
            if words and words[-1] == "--collectors" and word.startswith("-"):
                words[-1] += f"={word}"
            else:
                words.append(word)
        return super().parse_known_args(words, namespace)


def flags_of(arguments: argparse.Namespace) -> dict[str, str]:
    """What a Parser's flags were given, for load()."""
    given = vars(arguments)
    return {leaf.name: given[leaf.name] for leaf in leaves() if given.get(leaf.name) is not None}


def flag_of(name: str) -> str:
    """The flag of a setting: `limits.flows` -> --limits-flows."""
    return _BY_NAME[name].flag


def show(configuration: Configuration) -> str:
    """The settings in force as a settings file; a comment says where a value was given."""
    lines: list[str] = []
    section: tuple[str, ...] = ()
    for leaf in leaves():
        if leaf.path[:-1] != section:
            section = leaf.path[:-1]
            lines.append(f"{section[0]}:")
        place = configuration.places.get(leaf.name)
        comment = f"  # {place}" if place else ""
        indent = "  " * len(section)
        lines.append(f"{indent}{leaf.path[-1]}: {printed(get(configuration.settings, leaf))}{comment}")
    return "\n".join(lines) + "\n"


def printed(value: Value) -> str:
    """A value as a settings file has it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(printed(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else numeral(value)


# The file


def _read_file(path: Path, reading: Reading) -> None:
    file = str(path) if str(path).isprintable() else shown(str(path))
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"{file}: larger than {MAX_FILE_BYTES} bytes; is it the right file?")
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{file}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{file}: not valid YAML: {str(error).splitlines()[0]}") from error
    if root is not None:
        _read_section(file, root, (), reading)


def _read_section(file: str, node: yaml.Node, path: tuple[str, ...], reading: Reading) -> None:
    place = _place(file, node)
    name = ".".join(path) or "the file"
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        keys = ", ".join(_keys(path))
        reading.problems.append(f"{place}: {name} must be a mapping with these keys: {keys}")
        return
    first: dict[str, str] = {}
    for key, value in node.value:
        word, at = _word(key), _place(file, key)
        if word in first:
            reading.problems.append(f"{at}: {'.'.join((*path, word))} stands twice; first at {first[word]}")
        elif word not in _keys(path):
            reading.problems.append(f"{at}: {_unknown('.'.join((*path, word)), path)}")
        elif leaf := _LEAVES.get((*path, word)):
            _take_node(reading, leaf, _place(file, value), value)
        else:
            _read_section(file, value, (*path, word), reading)
        first.setdefault(word, at)


def _take_node(reading: Reading, leaf: Leaf, place: str, node: yaml.Node) -> None:
    reading.take(leaf, place, lambda: _from_node(leaf, node))


def _from_node(leaf: Leaf, node: yaml.Node) -> Value:
    if leaf.kind not in ("names", "numbers"):
        return _scalar(leaf.kind, node, bool(leaf.option.choices))
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError(f"it is {_kind(node)}, not {KIND[leaf.kind]}")
    if leaf.kind == "names":
        return tuple(str(_scalar("text", each, False)) for each in node.value)
    return tuple(float(_scalar("number", each, False)) for each in node.value)


def _scalar(kind: str, node: yaml.Node, word: bool) -> str | int | float:
    """A text or number. word: any unquoted word is text (`on` would be a boolean)."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"it is {_kind(node)}, not {KIND[kind]}")
    text: str = node.value
    if kind == "text":
        if node.tag != "tag:yaml.org,2002:str" and not word:
            raise ValueError(f"{shown(text)} is {_kind(node)} in YAML; put it in quotes")
        return text
    if node.style is not None:
        raise ValueError(f"{shown(text)} is text; write it without quotes")
    return _numeral(kind, text)


def _numeral(kind: str, text: str) -> int | float:
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not {KIND[kind]}") from None


def _kind(node: yaml.Node) -> str:
    words = {"map": "a mapping", "seq": "a list", "bool": "a boolean", "null": "nothing", "int": "a number"}
    words |= {"float": "a number", "timestamp": "a date", "str": "text"}
    tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
    return words.get(tag, f"of type {shown(tag)}")


def _word(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else shown(_kind(key))


def _place(file: str, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}"


# Environment and flags


def _read_environment(environment: Mapping[str, str], reading: Reading) -> None:
    known = {leaf.variable: leaf for leaf in leaves()}
    for variable, text in sorted(environment.items()):
        if leaf := known.get(variable):
            _take_text(reading, leaf, f"environment {variable}", text)
        elif variable.startswith("BPFLEET_") and variable != FILE_VARIABLE and not SERVICE_LINK.fullmatch(variable):
            close = difflib.get_close_matches(variable, [*known, FILE_VARIABLE], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; `bpfleet config show` lists the settings"
            reading.problems.append(f"environment {shown(variable)[1:-1]}: no such setting{hint}")


def _take_text(reading: Reading, leaf: Leaf, place: str, text: str) -> None:
    reading.take(leaf, place, lambda: _from_text(leaf, text))


def _from_text(leaf: Leaf, text: str) -> Value:
    if leaf.kind == "text":
        return text
    if leaf.kind in ("integer", "number"):
        return _numeral(leaf.kind, text)
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return tuple(parts) if leaf.kind == "names" else tuple(_numeral("number", part) for part in parts)


# What was given, together


def _choose(reading: Reading, known: Mapping[str, bool]) -> tuple[str, ...]:
    """The collectors that run, in the order in which they are known; a layer names a set or changes the one below."""
    chosen = {name for name, default in known.items() if default}
    for given in reading.collectors:
        words = [str(word) for word in given.value] if isinstance(given.value, tuple) else []
        changes = [word for word in words if word[0] in "+-"]
        for word in words:
            if word.lstrip("+-") not in known:
                reading.problems.append(f"{given.place}: {_unknown_collector(word.lstrip('+-'), known)}")
        if changes and len(changes) < len(words):
            reading.problems.append(f"{given.place}: collectors mixes names (a) and changes (+a, -a); use one of them")
        if not changes:
            chosen = set()
        chosen |= {word.lstrip("+") for word in words if word[0] != "-"}
        chosen -= {word[1:] for word in words if word[0] == "-"}
    if known and not chosen:
        place = f"{reading.collectors[-1].place}: " if reading.collectors else ""
        reading.problems.append(f"{place}collectors leaves none to run; there are {', '.join(known)}")
    return tuple(name for name in known if name in chosen)


def _unknown_collector(word: str, known: Iterable[str]) -> str:
    return f"there is no collector {shown(word)}{_did_you_mean(word, known)}; there are {', '.join(known)}"


def _unknown(name: str, path: tuple[str, ...]) -> str:
    """`limits.flws is not a setting ...`, with the nearest of the section, else the same word elsewhere."""
    word = name.rpartition(".")[2]
    elsewhere = [leaf.name for leaf in leaves() if leaf.path[-1] == word]
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else _did_you_mean(word, _keys(path), path)
    return f"{shown(name)[1:-1]} is not a setting{hint}; allowed here: {', '.join(_keys(path))}"


def _did_you_mean(word: str, known: Iterable[str], path: tuple[str, ...] = ()) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {'.'.join((*path, close[0]))}?" if close else ""


def _keys(path: tuple[str, ...]) -> list[str]:
    """The keys of a section, in order."""
    inside = (leaf.path[len(path)] for leaf in leaves() if leaf.path[: len(path)] == path)
    return list(dict.fromkeys(inside))


def _blame(settings: Settings, places: Mapping[str, str], names: tuple[str, ...], problem: str) -> str:
    values = [get(settings, _BY_NAME[name]) for name in names]
    told = [
        f"{name} ({shown(value) if isinstance(value, str) else value}, {places.get(name, 'the default')})"
        for name, value in zip(names, values, strict=True)
    ]
    return problem.format(*told)


def _stop_on(problems: list[str]) -> None:
    if problems:
        raise SettingsError("\n".join(problems))


_LEAVES = {leaf.path: leaf for leaf in leaves()}
_BY_NAME = {leaf.name: leaf for leaf in leaves()}
