"""Which texts there are to compile, and how each is put together: a base program and its fragments, or one file alone.

A base file has two marker lines: `//! fragments`, where the fragments' texts go, and `//! on_packet` (or
`//! on_system_call`), where their functions are called. `#line` directives make compile errors name the real file and
line.
"""

import math
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bpfleet.api import AnyOf, Collector, Fragment, Packet, Probe, SystemCall, TailCall
from bpfleet.errors import KernelError, LoadError
from bpfleet.metrics import Histogram

FRAGMENTS = "//! fragments"
CALLS: Mapping[str, tuple[type[Probe], str]] = {
    "//! on_packet": (Packet, "{}(skb, p);"),
    "//! on_system_call": (SystemCall, "{}(call);"),
}
"""By marker: which functions of fragments are called there, and how."""

NANOSECONDS = 1_000_000_000
_SUFFIX = ".bpf.c"


@cache
def directory() -> Path:
    """Where the C files are: package data of an installed agent, bpf/ in a source tree."""
    installed = Path(__file__).resolve().parents[1] / "bpf"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "bpf"


def include() -> Path:
    return directory() / "include"


@dataclass(frozen=True)
class Unit:
    """Collectors that are compiled together. base: None for a collector with a text of its own."""

    base: Fragment | None
    collectors: tuple[Collector, ...]

    @property
    def files(self) -> tuple[str, ...]:
        base = (self.base.program,) if self.base else ()
        return (*base, *(name for collector in self.collectors for name in collector.files))


def units(collectors: Iterable[Collector]) -> list[Unit]:
    """In the order in which their first collectors come."""
    lone: list[Unit] = []
    shared: dict[Fragment, list[Collector]] = {}
    for collector in collectors:
        if collector.base is None:
            lone.append(Unit(None, (collector,)))
        else:
            shared.setdefault(collector.base, []).append(collector)
    return [*lone, *(Unit(base, tuple(members)) for base, members in shared.items())]


def source(name: str, collectors: Iterable[Collector]) -> str:
    """The text of a C file: beside one of these collectors' Python files (plugins), or among the agent's own.
    Raises KernelError."""
    places = [directory()]
    for collector in collectors:
        module = sys.modules.get(type(collector).__module__)
        if module is not None and module.__file__:
            places.insert(0, Path(module.__file__).parent)
    for place in places:
        try:
            return (place / name).read_text()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise KernelError(f"{place / name}: {error.strerror}") from error
    raise KernelError(f"{name} is neither in {' nor in '.join(map(str, dict.fromkeys(places)))}")


def sources(collectors: Sequence[Collector]) -> list[str]:
    """All texts that a header tree has to serve; what cannot be read is reported when its unit is put together."""
    texts = [path.read_text() for path in sorted(include().glob("*.h"))]
    for unit in units(collectors):
        for name in unit.files:
            try:
                texts.append(source(name, unit.collectors))
            except KernelError:
                continue
    return texts


class Culprit(LoadError):
    """One collector fails, and which one is known."""

    def __init__(self, collector: Collector, reason: str) -> None:
        super().__init__(reason)
        self.collector = collector


def text(
    unit: Unit,
    kept: Sequence[Collector],
    limits: Mapping[str, int],
    bounds: Mapping[str, Sequence[float]],
    idle: Collection[str] = (),
) -> str:
    """The text of a unit with some of its collectors; the base's constants are those of all. idle: functions of
    fragments that are not called. Raises Culprit, or KernelError if the base itself is missing."""
    parts = [prelude(kept, unit.collectors, limits, bounds)]
    if unit.base is None:
        return "".join([*parts, *map(_fragment, kept)])
    base = source(unit.base.program, unit.collectors).splitlines()
    fragments = "".join(map(_fragment, kept))
    for number, line in enumerate(base, 1):
        if line.strip() == FRAGMENTS:
            base[number - 1] = f'{fragments}#line {number + 1} "{unit.base.program}"'
        elif line.strip() in CALLS:
            kind, call = CALLS[line.strip()]
            functions = [each for each in called_functions(kept, kind) if each not in idle]
            base[number - 1] = " ".join(map(call.format, functions))
    return "".join([*parts, _file(unit.base.program, "\n".join(base))])


def _fragment(collector: Collector) -> str:
    try:
        return "".join(_file(name, source(name, (collector,))) for name in collector.files)
    except KernelError as error:
        raise Culprit(collector, str(error)) from error


def called_functions(collectors: Iterable[Collector], kind: type[Probe]) -> list[str]:
    """That the base's programs call. Those that may leave by a tail call come last: behind it nothing runs."""
    ordered = sorted(collectors, key=lambda each: any(isinstance(probe, TailCall) for probe in each.probes))
    probes = (probe for each in ordered for probe in alternatives(each.probes))
    return [probe.function for probe in probes if isinstance(probe, kind)]


def alternatives(probes: Iterable[Probe | AnyOf]) -> list[Probe]:
    """All of them, one by one."""
    return [each for probe in probes for each in (probe.probes if isinstance(probe, AnyOf) else (probe,))]


def _file(name: str, body: str) -> str:
    return f'#line 1 "{name}"\n{body.rstrip()}\n'


def prelude(
    kept: Sequence[Collector],
    declared: Iterable[Collector],
    limits: Mapping[str, int],
    bounds: Mapping[str, Sequence[float]],
) -> str:
    """Constants from the settings, and a function for each histogram that the kernel counts: it finds a value's bucket.
    kept: the collectors whose texts follow; declared: all that could, in whose constants the base's may be. A
    text can ask for another one (`#ifdef WITH_HTTP`). Raises Culprit."""
    defines: dict[str, str] = {}
    buckets: dict[str, tuple[Sequence[float], int]] = {}
    for collector in kept:
        for name, value in _defines(collector, limits).items():
            if defines.setdefault(name, value) != value:
                raise Culprit(collector, f"defines {name} as {value}, another collector as {defines[name]}")
        for metric in collector.metrics:
            if isinstance(metric, Histogram) and metric.in_kernel:
                if metric.bounds not in bounds:
                    raise Culprit(collector, f"there is no setting histograms.{metric.bounds}")
                buckets[metric.bounds] = bounds[metric.bounds], NANOSECONDS if metric.unit == "s" else 1
    for collector in declared:
        if collector not in kept:
            with suppress(Culprit):  # it is left out for that already
                defines = {**_defines(collector, limits), **defines}
    switches = [f"#define WITH_{collector.name.upper()}" for collector in kept]
    lines = ['#line 1 "settings"', *switches, *(f"#define {name} {value}" for name, value in defines.items())]
    for name, (limits_of_buckets, scale) in buckets.items():
        lines += _bucket(name, limits_of_buckets, scale)
    return "\n".join([*lines, ""])


def _defines(collector: Collector, limits: Mapping[str, int]) -> dict[str, str]:
    """Raises Culprit: what a plugin makes up here becomes part of everybody's text."""
    try:
        found = dict(collector.defines(limits))
    except Exception as error:  # one collector's failure is its own
        raise Culprit(collector, f"defines(): {type(error).__name__}: {error}") from error
    for name, value in found.items():
        if not all((isinstance(name, str), isinstance(value, str))) or not (
            _NAME.fullmatch(name) and _ONE_LINE.fullmatch(value)
        ):
            raise Culprit(collector, f"defines() says {name!r}: {value!r}; it must be a name and a text of one line")
    return found


def _bucket(name: str, limits: Sequence[float], scale: int) -> list[str]:
    """A value is in the first bucket whose bound is not below it, as in Prometheus (`le`). scale: the kernel's units in
    one of the metric's; it has times in nanoseconds, and whole numbers of everything else."""
    word, whole = ("ns", round) if scale == NANOSECONDS else ("value", math.floor)
    compares = [
        f"\tif ({word} <= {whole(bound * scale)}ULL)\n\t\treturn {number};" for number, bound in enumerate(limits)
    ]
    return [
        f"#define {name.upper()}_BUCKETS {len(limits) + 1}",
        f"static inline u32 {name}_bucket(u64 {word})",
        "{",
        *compares,
        f"\treturn {len(limits)};",
        "}",
    ]


_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONE_LINE = re.compile(r"[^\x00-\x1f\\]*")
_ERROR = re.compile(r"^(?P<file>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$", re.M)


@dataclass(frozen=True)
class CompilerError:
    """The first error of a compiler's output."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def first_error(messages: str) -> CompilerError | None:
    found = _ERROR.search(messages)
    return CompilerError(Path(found["file"]).name, int(found["line"]), found["text"]) if found else None


def verifier_reason(log: str) -> str:
    """The sentence with which the verifier refuses: the last line before its statistics."""
    noise = ("processed ", "verification time", "stack depth", "max_states")
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.strip().startswith(noise)]
    return lines[-1] if lines else ""
