"""`bpfleet collector list` and `check`: which collectors and sinks there are, and what is wrong with one of them."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent import configuration, trials
from agent.kernel import facts
from agent.options import shown
from agent.plugins import finding, guarding
from agent.plugins.finding import Finder, Found, Plugins
from agent.plugins.making import collector, sink
from agent.plugins.sources import Source
from agent.settings import Settings
from agent.trials import Trial
from bpfleet.api import AnyOf, Collector, Packet, Plugin, Record, Sink
from bpfleet.errors import BpfleetError, LoadError, SettingsError

PURPOSE = "List collectors and sinks, plugins among them, or check one."
NO_SAMPLE = Record("bpfleet.check", 0, {"k8s.namespace.name": "shop"}, {"text": "a", "number": 1, "share": 0.5})
"""What a sink is asked to encode."""

HEAD = ("NAME", "KIND", "STATE", "DEFAULT", "SOURCE", "HOOKS", "OPTIONS")

Load = Callable[[Collector], Trial]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where something is wrong with what is checked. Raises SettingsError."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = argparse.ArgumentParser(prog="bpfleet collector", description=PURPOSE, allow_abbrev=False)
    first.add_argument("action", choices=("list", "check"), help="list all, or check the plugin that follows")
    action = first.parse_args(words[:1]).action
    parser = configuration.Parser(f"bpfleet collector {action}", PURPOSE)
    if action == "check":
        parser.add_argument("plugin", help="a plugin's Python file, or the name of a collector or sink")
    parsed = parser.parse_args(words[1:])
    path = _path(parsed.plugin) if action == "check" else None
    find = Finder(files=[path] if path else [])
    settings = configuration.load(parsed.config, os.environ, configuration.flags_of(parsed), find).settings
    plugins = find(settings.plugins.dir)
    if action == "list":
        print("\n".join(table(plugins, settings)))
        return 0
    machine = facts.gather()
    may_load = "BPF" in machine.capabilities or "SYS_ADMIN" in machine.capabilities
    return check(wanted(parsed.plugin, path, plugins), settings, trials.load if may_load else None)


def table(plugins: Plugins, settings: Settings) -> list[str]:
    rows = [HEAD, *(row(each, settings) for each in plugins.found)]
    widths = [max(len(cells[column]) for cells in rows) for column in range(len(HEAD))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows]


def row(found: Found, settings: Settings) -> tuple[str, ...]:
    kind = found.kind
    if found.unloaded_sink:
        return (found.name, "sink", _state(found, settings), "", _line(found.source), "", "")
    if kind is None:
        return (found.name, "?", f"off: {_line(found.reason)}", "?", _line(found.source), "", "")
    default = "yes" if kind.default is True else "no"
    options = ", ".join(f"{each.name}={each.default!r}" for each in kind.options) if not found.reason else ""
    state = f"off: {_line(found.reason)}" if found.reason else _state(found, settings)
    return (
        found.name,
        "sink" if found.is_sink else "collector",
        state,
        default,
        _line(found.source),
        _hooks(kind) if not found.reason else "",
        options,
    )


def _state(found: Found, settings: Settings) -> str:
    if not found.is_sink:
        return "on" if found.name in settings.collectors else "not asked for"
    if found.source == finding.OURS:
        return "by sinks." + found.name
    asked = found.name in settings.plugins.options.values or (found.kind is not None and found.kind.default)
    return "on" if asked else "not asked for"


def _hooks(kind: type[Plugin]) -> str:
    if not issubclass(kind, Collector) or not isinstance(kind.probes, tuple):
        return ""
    probes = [*(kind.base.probes if kind.base else ()), *kind.probes]
    hooks = []
    for probe in probes:
        choices = probe.probes if isinstance(probe, AnyOf) else (probe,)
        hooks += [each.hook for each in choices if hasattr(each, "hook") and not isinstance(each, Packet)]
    return ", ".join(dict.fromkeys(hooks))


def _path(word: str) -> Path | None:
    """Of a plugin's file; None where the word is a name. Raises SettingsError."""
    if "/" not in word and not word.endswith(".py"):
        return None
    path = Path(word).absolute()
    if not path.is_file():
        raise SettingsError(f"{shown(word)} is no file")
    return path


def wanted(word: str, path: Path | None, plugins: Plugins) -> list[Found]:
    """Raises SettingsError."""
    found = [each for each in plugins.found if (each.source == str(path) if path else each.name == word)]
    if not found:
        raise SettingsError(f"there is no {shown(word)}; there are {', '.join(each.name for each in plugins.found)}")
    return found


def check(plugins: Sequence[Found], settings: Settings, load: Load | None) -> int:
    """Prints a line for each problem, or what is good. load: None where this process may not."""
    failed = False
    for found in plugins:
        problems = list(found.problems)
        if not problems and found.kind is not None:
            problems = [*examine(found.kind, settings, load)]
        for problem in problems:
            print(_line(problem))
        failed = failed or bool(problems)
        if not problems:
            print(f"{found.name}: ok")
    return 1 if failed else 0


def examine(kind: type[Plugin], settings: Settings, load: Load | None) -> Iterator[str]:
    """What is wrong with a class whose declarations are possible."""
    source = Source(kind)
    yield from _undocumented(kind, source)
    try:
        if issubclass(kind, Sink):
            yield from _sink(sink(kind, settings), source)
        elif issubclass(kind, Collector):
            yield from _collector(collector(kind, settings), source, load)
    except LoadError as error:
        text = str(error)
        yield text if re.match(r"[^\s:]+:\d+: ", text) else f"{source.place()}: {text}"


def _undocumented(kind: type[Plugin], source: Source) -> Iterator[str]:
    """A README beside the plugin has to name what it exposes."""
    readme = source.path.with_name("README.md")
    if not issubclass(kind, Collector) or not readme.is_file():
        return
    text = readme.read_text(errors="replace")
    for metric in kind.metrics:
        if metric.family not in text:
            yield f"{source.place('metrics', metric.name)}: {metric.family} is not in README.md"
    for name in kind.event_names:
        if name not in text:
            yield f"{source.place('event_names')}: {name} is not in README.md"


def _sink(sink: Sink, source: Source) -> Iterator[str]:
    """Raises LoadError."""
    held = guarding.Held(sink)
    asked: tuple[tuple[str, Callable[[], object]], ...] = (
        ("encode", lambda: held.encode(NO_SAMPLE)),
        ("close", held.close),
    )
    for name, ask in asked:
        try:
            ask()
        except Exception as error:  # whatever it does
            place = guarding.place(error, type(sink)) or f"{source.place(name)}: "
            yield f"{place}{name}(): {type(error).__name__}: {error}"


def _collector(collector: Collector, source: Source, load: Load | None) -> Iterator[str]:
    if load is None:
        yield f"{source.place('program')}: C and verifier not checked: that takes root, or the capability BPF"
        return
    try:
        trial = load(collector)
    except BpfleetError as error:
        yield _refusal(collector, source, str(error))
        return
    try:
        yield from _books(collector, source, trial)
        for name, ask in (("collect", guarding.samples), ("events", guarding.events)):
            try:
                for _ in ask(collector, trial.maps, guarding.MAX_YIELDED):
                    pass
            except Exception as error:  # whatever it does
                place = guarding.place(error, type(collector)) or f"{source.place(name)}: "
                yield f"{place}{name}(): {type(error).__name__}: {error}"
    finally:
        trial.close()


def _refusal(collector: Collector, source: Source, reason: str) -> str:
    """With the place in the C file: the compiler gives it, the verifier names the function."""
    if re.match(r"[^\s:]+:\d+: ", reason):
        return reason
    for function in (word.rstrip(":") for word in reason.split()):
        for file in collector.files:
            line = _line_of(source.path.with_name(file), rf"^(static )?(inline )?int {re.escape(function)}\(")
            if line:
                return f"{file}:{line}: {reason}"
    return f"{source.place('program')}: {reason}"


def _books(collector: Collector, source: Source, trial: Trial) -> Iterator[str]:
    """Each channel has its row in C, each such row its channel."""
    there = {name.removeprefix("books_") for name in trial.names() if name.startswith("books_")}
    declared = {channel.name for channel in collector.channels}
    for name in sorted(there - declared):
        place = _c_place(collector, source, f"books_{name}")
        yield f"{place}: books_{name} belongs to no declared channel: Channel({name!r}, lost=(...))"
    for name in sorted(declared - there):
        yield f"{source.place('channels', name)}: channel {name} has no BPF_PERCPU_ARRAY(books_{name}, ..., 1) in C"
    if not there ^ declared:
        try:
            trial.books()
        except (ValueError, IndexError, KeyError):
            yield f"{source.place('channels')}: its books in C have other members than seen and the reasons of lost"
    if not collector.channels:
        yield f"{source.place('channels')}: no channel: what does not fit into its maps is lost without a count"


def _c_place(collector: Collector, source: Source, word: str) -> str:
    for file in collector.files:
        line = _line_of(source.path.with_name(file), rf"\b{re.escape(word)}\b")
        if line:
            return f"{file}:{line}"
    return source.place("program")


def _line_of(path: Path, pattern: str) -> int:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return next((number for number, line in enumerate(lines, 1) if re.search(pattern, line)), 0)


def _line(text: str) -> str:
    """Inert, in one line: names and messages come from files."""
    return "".join(c if c.isprintable() else " " if c == "\n" else ascii(c)[1:-1] for c in text)
