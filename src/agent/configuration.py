"""Where settings come from: YAML file < BPFLEET_* environment < flags. Every mistake is told, with its place."""

import argparse
import difflib
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent import plugin_options, settings_file
from agent.options import Leaf, PluginOptions, Value, numeral, shown
from agent.reading import Reading, did_you_mean, number
from agent.settings import Settings, build, clashes, get, leaves
from bpfleet.errors import SettingsError

FILE_VARIABLE = "BPFLEET_CONFIG"
SERVICE_LINK = re.compile(r"BPFLEET(_.*)?(_SERVICE_HOST|_SERVICE_PORT(_.*)?|_PORT|_PORT_\d+_(TCP|UDP|SCTP)(_.*)?)")
"""Kubernetes gives every pod such variables for the Services beside it; one may be called bpfleet-something."""


class Known(Protocol):
    """The plugins that there are."""

    def collectors(self) -> Mapping[str, bool]:
        """Every collector's name, and whether it is in the default set."""

    def problems(self, options: PluginOptions) -> Iterable[str]:
        """What is wrong with what plugins were given, each with its place."""


@dataclass(frozen=True)
class Configuration:
    """The settings in force, and for each one that was given the place that decided it."""

    settings: Settings
    places: Mapping[str, str]

    def place(self, name: str) -> str:
        return self.places.get(name, "the default")

    @contextmanager
    def blaming(self, name: str) -> Iterator[None]:
        """A SettingsError of what a setting names says where the setting was given."""
        try:
            yield
        except SettingsError as error:
            raise SettingsError(f"{self.place(name)}: {name}: {error}") from error


def load(
    file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, str],
    collectors: Mapping[str, bool] | Callable[[str], Known],
) -> Configuration:
    """The settings in force.

    flags: setting name (`limits.flows`) -> text. collectors: every known one -> whether it is in the default set; or
    what finds them, given `plugins.dir`. Raises SettingsError with one line for each problem."""
    reading = Reading()
    if file is None and environment.get(FILE_VARIABLE):
        file = Path(environment[FILE_VARIABLE])
    if file is not None:
        settings_file.read(file, reading)
    _read_environment(environment, reading)
    for leaf in leaves():
        if leaf.name in flags:
            _take_text(reading, leaf, f"flag {leaf.flag}", flags[leaf.name])
    if callable(collectors):
        collectors = _found(reading, collectors)
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
            told, section = section, leaf.path[:-1]
            lines += [
                f"{'  ' * depth}{name}:"
                for depth, name in enumerate(section)
                if told[: depth + 1] != section[: depth + 1]
            ]
        place = configuration.places.get(leaf.name)
        comment = f"  # {place}" if place else ""
        indent = "  " * len(section)
        lines.append(f"{indent}{leaf.path[-1]}: {printed(get(configuration.settings, leaf))}{comment}")
    return "\n".join(lines) + "\n"


def printed(value: Value) -> str:
    """A value as a settings file has it."""
    if isinstance(value, PluginOptions):
        return plugin_options.printed(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(printed(each) for each in value) + "]"
    return json.dumps(value) if isinstance(value, str) else numeral(value)


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
    if leaf.kind == "options":
        reading.take(leaf, place, lambda: plugin_options.from_text(text, place, reading.problems))
    else:
        reading.take(leaf, place, lambda: _from_text(leaf, text))


def _from_text(leaf: Leaf, text: str) -> Value:
    if leaf.kind == "text":
        return text
    if leaf.kind in ("integer", "number"):
        return number(leaf.kind, text)
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return tuple(parts) if leaf.kind == "names" else tuple(number("number", part) for part in parts)


# What was given, together


def _found(reading: Reading, find: Callable[[str], Known]) -> Mapping[str, bool]:
    directory, options = reading.given.get("plugins.dir"), reading.given.get("plugins.options")
    try:
        known = find(str(directory.value) if directory else "")
    except SettingsError as error:
        reading.problems.append(f"{directory.place if directory else 'the default'}: plugins.dir: {error}")
        _stop_on(reading.problems)
        raise
    if options and isinstance(options.value, PluginOptions):
        reading.problems += known.problems(options.value)
    return known.collectors()


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
    return f"there is no collector {shown(word)}{did_you_mean(word, known)}; there are {', '.join(known)}"


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


_BY_NAME = {leaf.name: leaf for leaf in leaves()}
