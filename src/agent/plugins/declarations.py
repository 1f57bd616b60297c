"""Is what a plugin declares possible? Every problem in one line, with the file and the line where it stands."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from agent.options import MAX_BOUNDS, shown
from agent.plugins.modules import STEM
from agent.plugins.sources import Source
from bpfleet.api import (
    AnyOf,
    Channel,
    Collector,
    Counter,
    Fragment,
    Histogram,
    Metric,
    Option,
    Plugin,
    Probe,
    Sink,
    Summary,
    UpDownCounter,
)
from bpfleet.metrics import UNITS, Scope

MAX_DECLARED = 64
"""Of metrics, channels, probes, event names or options: a plugin answers one question."""

PREFIX = "bpfleet"
CONVENTIONS = (
    *("cicd", "container", "cpython", "db", "dns", "dotnet", "faas", "gen_ai", "go", "http", "hw", "jvm", "k8s"),
    *("messaging", "nfs", "nodejs", "otel", "rpc", "system", "v8js", "vcs"),
)
"""What OpenTelemetry has metrics of (https://opentelemetry.io/docs/specs/semconv/); `process` is the agent's own."""

DOTTED = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
WORD = re.compile(r"[a-z][a-z0-9_]*")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PROGRAM = re.compile(r"[A-Za-z0-9_-]+\.bpf\.c")
UNIT = re.compile(r"\{[a-z_]+\}")
TAKEN_LABELS = ("le", "quantile", "node")
"""Besides those of the scope: histograms', summaries', and the scrape's."""

EXPOSED = (Counter, UpDownCounter, Histogram, Summary)
BUILT_IN = "agent."
"""Modules of our own: the options of these are settings."""

OWN_CHANNELS = ("events", "series")
"""Of the agent itself, and `sink_*`."""

Problem = tuple[str, str]
"""`file.py:7`, and what is wrong there."""


def problems(kind: type[Plugin]) -> Iterator[str]:
    """`file.py:7: ...` for each."""
    source = Source(kind)
    try:
        yield from (f"{place}: {text}" for place, text in _problems(kind, source))
    except Exception as error:  # whatever stands there in place of a declaration
        yield f"{source.place()}: its declarations cannot be read: {type(error).__name__}: {error}"


def _problems(kind: type[Plugin], source: Source) -> Iterator[Problem]:
    name = getattr(kind, "name", None)
    if not isinstance(name, str) or not STEM.fullmatch(name):
        yield source.place("name"), f"name must be a text of a-z, 0-9 and _, at most 40, not {shown(name)}"
    if not isinstance(kind.default, bool):
        yield source.place("default"), "default must be True or False"
    yield from _options(kind, source)
    if issubclass(kind, Collector):
        yield from _collector(kind, source)
    elif issubclass(kind, Sink):
        for method in ("encode", "write"):
            if getattr(kind, method) is getattr(Sink, method):
                yield source.place(), f"a sink needs a method {method}()"


def _options(kind: type[Plugin], source: Source) -> Iterator[Problem]:
    yield from _tuple(kind.options, Option, "options", source)
    seen: set[str] = set()
    for option in _of(kind.options, Option):
        at = source.place("options", option.name)
        if not WORD.fullmatch(option.name) or option.name in seen:
            yield at, f"option {shown(option.name)} is no word of a-z, 0-9 and _, or stands twice"
        seen.add(option.name)
        if not option.help.strip():
            yield at, f"option {option.name} has no help"
        try:
            option.checked(option.default)
        except ValueError as error:
            yield at, f"the default of option {option.name} is {shown(option.default)}: {error}"


def _collector(kind: type[Collector], source: Source) -> Iterator[Problem]:
    program = getattr(kind, "program", None)
    for file in (program, *(kind.parts if isinstance(kind.parts, tuple) else ("",))):
        if not isinstance(file, str) or not PROGRAM.fullmatch(file):
            yield source.place("program"), f"program must be a file name that ends in .bpf.c, not {shown(file)}"
    if kind.base is not None and not isinstance(kind.base, Fragment):
        yield source.place("base"), "base must be a Fragment, or None"
    elif kind.base is not None:
        yield from _tuple(kind.base.probes, (Probe, AnyOf), "probes of base", source, "base")
    yield from _probes(kind, source)
    yield from _tuple(kind.metrics, Metric, "metrics", source)
    for metric in _of(kind.metrics, Metric):
        at = source.place("metrics", metric.name)
        yield from ((at, f"metric {shown(metric.name)[1:-1]}: {text}") for text in _metric(metric))
    yield from _channels(kind, source)
    for field in ("event_names", "enumerations"):
        yield from _tuple(getattr(kind, field), str, field, source)
    for name in _of(kind.event_names, str):
        if not DOTTED.fullmatch(name):
            yield source.place("event_names"), f"event {shown(name)}: names are words joined by dots (`bpfleet.x.y`)"
    if not kind.metrics and not kind.event_names and kind.cgroups is Collector.cgroups:
        yield source.place(), "it declares neither metrics nor event_names, so nobody would see what it does"
    yield from _overridden(kind, source)
    if kind.interval:
        option = next((each for each in _of(kind.options, Option) if each.name == kind.interval), None)
        if option is None and not kind.__module__.startswith(BUILT_IN):
            yield source.place("interval"), f"interval names {shown(kind.interval)}, which is none of its options"
        if option is not None and (isinstance(option.default, bool) or not isinstance(option.default, int | float)):
            yield source.place("interval"), f"interval names the option {kind.interval}, which is no number"


def _overridden(kind: type[Collector], source: Source) -> Iterator[Problem]:
    if kind.metrics and kind.collect is Collector.collect:
        yield source.place("metrics"), "it declares metrics and has no collect()"
    if kind.event_names and kind.events is Collector.events:
        yield source.place("event_names"), "it declares event_names and has no events()"


def _probes(kind: type[Collector], source: Source) -> Iterator[Problem]:
    at = source.place("probes")
    if not kind.probes:
        yield at, "probes is empty: it hooks in nowhere"
    yield from _tuple(kind.probes, (Probe, AnyOf), "probes", source)
    for each in _of(kind.probes, AnyOf):
        yield from _tuple(each.probes, Probe, "probes of AnyOf", source, "probes")
    for function in functions(kind):
        if not IDENTIFIER.fullmatch(function):
            yield at, f"{shown(function)} is no name of a C function"


def functions(kind: type[Collector]) -> list[str]:
    """Of all probes, alternatives too."""
    found: list[str] = []
    for each in _of(kind.probes, (Probe, AnyOf)):
        found += [probe.function for probe in (_of(each.probes, Probe) if isinstance(each, AnyOf) else (each,))]
    return found


def _metric(metric: Metric) -> Iterator[str]:
    if not isinstance(metric, EXPOSED):
        yield f"a collector has {', '.join(each.__name__ for each in EXPOSED)}, not {type(metric).__name__}"
    if metric.scope is Scope.AGENT:
        yield "scope AGENT is for the agent's own health"
    if not DOTTED.fullmatch(metric.name) and not (metric.prefix == PREFIX and WORD.fullmatch(metric.name)):
        yield "names are words of a-z, 0-9 and _, joined by dots (`disk.flushes`)"
    elif metric.prefix != PREFIX and (metric.prefix or metric.name.partition(".")[0] not in CONVENTIONS):
        yield f"{metric.family} begins neither with {PREFIX}_ nor with a namespace of OpenTelemetry's conventions"
    if metric.unit not in UNITS and metric.unit and not UNIT.fullmatch(metric.unit):
        yield f"unit {shown(metric.unit)} is none of {', '.join(UNITS)} (base units) and no {{noun}}"
    if metric.name.endswith((".total", "_total", ".count", ".bucket", ".sum")):
        yield "the suffix comes from the kind and the unit"
    if not metric.help.strip().endswith("."):
        yield "help must be a sentence that ends with a full stop"
    for label in metric.labels:
        if not WORD.fullmatch(label) or label in TAKEN_LABELS or metric.label_names.count(label) > 1:
            yield f"label {shown(label)} is no word of a-z, 0-9 and _, stands twice or is one that every series has"
    if len(metric.values) > len(metric.labels):
        yield "values has more lists than there are labels"
    if isinstance(metric, Histogram):
        yield from _buckets(metric)


def _buckets(metric: Histogram) -> Iterator[str]:
    if not WORD.fullmatch(metric.bounds):
        yield f"bounds must be a name of a-z, 0-9 and _, not {shown(metric.bounds)}"
    if len(metric.buckets) > MAX_BOUNDS:
        yield f"{len(metric.buckets)} buckets; at most {MAX_BOUNDS}"
    if any(low >= high for low, high in pairwise(metric.buckets)) or any(b != b for b in metric.buckets):
        yield "buckets must ascend"


def _channels(kind: type[Collector], source: Source) -> Iterator[Problem]:
    yield from _tuple(kind.channels, Channel, "channels", source)
    for channel in _of(kind.channels, Channel):
        at = source.place("channels", channel.name)
        if not WORD.fullmatch(channel.name) or channel.name.startswith("sink_") or channel.name in OWN_CHANNELS:
            yield at, f"channel {shown(channel.name)} is no word of a-z, 0-9 and _, or one of the agent's own"
        for reason in channel.lost:
            if not WORD.fullmatch(reason):
                yield at, f"channel {channel.name}: {shown(reason)} is no word of a-z, 0-9 and _"


def _tuple(
    value: object, kind: type | tuple[type, ...], name: str, source: Source, attribute: str = ""
) -> Iterator[Problem]:
    """attribute: where it stands, if not under its name."""
    at = source.place(attribute or name)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    wanted = f"{name} must be a tuple of {' or '.join(each.__name__ for each in kinds)}"
    if not isinstance(value, tuple):
        yield at, f"{wanted}, not {type(value).__name__}"
        return
    if len(value) > MAX_DECLARED:
        yield at, f"{name} has {len(value)} elements; at most {MAX_DECLARED}"
    for each in value:
        if not isinstance(each, kinds):
            yield at, f"{wanted}, and one is {type(each).__name__}"


def _of(value: object, kind: Any) -> list[Any]:
    """Those of a declared tuple that are what they should be; the others are told of apart."""
    return [each for each in value if isinstance(each, kind)] if isinstance(value, tuple) else []
