"""Which collectors and sinks are there? Our own, those of installed packages, and single files; each good, or off with
its reason.

A name, a metric, a channel, a C function belongs to whoever came first: our own, packages by name, files by name.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from agent.collectors import BUILT_IN
from agent.options import PluginOptions, shown
from agent.plugins import declarations, modules, texts
from agent.plugins.modules import PluginError
from agent.plugins.sources import Source
from agent.reading import did_you_mean
from agent.settings import Histograms
from agent.sinks import BUILT_IN as BUILT_IN_SINKS
from bpfleet import catalogue
from bpfleet.api import Collector, Histogram, Metric, Plugin, Sink
from bpfleet.errors import SettingsError

COLLECTORS, SINKS = "bpfleet.collectors", "bpfleet.sinks"
"""Groups of entry points."""

OURS = "built in"
OUR_SINKS = "agent.sinks."
TAKEN_BY_AGENT = frozenset(("owner", "recent"))
"""Names that no sink of others may have: those of the last requests' sink and of the stage before all sinks, beside
which sinks are counted by name."""

HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")
PROCESS = "process_"
"""What the agent says of its own process (prometheus_client)."""


@dataclass(frozen=True)
class Found:
    """name: as it is reported. kind: None where it could not even be imported. reason: why it is off, whatever the
    settings say; empty where it is good. claimed: whether the name is its own, so that settings may use it. problems:
    the reason in its parts. unloaded_sink: one of ours, whose modules are imported where the settings ask for it."""

    name: str
    source: str
    kind: type[Plugin] | None = None
    reason: str = ""
    claimed: bool = True
    problems: tuple[str, ...] = ()
    unloaded_sink: bool = False

    @property
    def is_sink(self) -> bool:
        return self.unloaded_sink or (self.kind is not None and issubclass(self.kind, Sink))


@dataclass
class Claims:
    """What is taken, and by whom. Bounds of histograms are settings, or a plugin's."""

    owners: dict[tuple[str, str], str] = field(default_factory=dict)

    def refusal(self, found: Found) -> str:
        """Why it cannot be beside those before it. Takes what it needs, where there is no reason."""
        wanted = list(_wanted(found.kind)) if found.kind else []
        for thing, place in wanted:
            if thing in self.owners:
                return f"{place}: {thing[0]} {thing[1]} is taken by {self.owners[thing]}"
        self.take(found)
        return ""

    def take(self, found: Found) -> None:
        for thing, _ in _wanted(found.kind) if found.kind else ():
            self.owners[thing] = f"{found.name} ({found.source})"


def _wanted(kind: type[Plugin]) -> Iterator[tuple[tuple[str, str], str]]:
    source = Source(kind)
    if not issubclass(kind, Collector):
        return
    for metric in kind.metrics:
        at = source.place("metrics", metric.name)
        for name in _series(metric):
            yield ("metric", name), at
        if isinstance(metric, Histogram) and metric.buckets:
            yield ("bounds", metric.bounds), at
    for channel in kind.channels:
        yield ("channel", channel.name), source.place("channels", channel.name)
    for name, place in texts.maps(kind):
        yield ("map", name), place
    for function in dict.fromkeys(declarations.functions(kind)):
        yield ("function", function), source.place("probes")


def _series(metric: Metric) -> list[str]:
    """Every name that stands on the page for it."""
    suffixes = HISTOGRAM_SUFFIXES if isinstance(metric, Histogram) else HISTOGRAM_SUFFIXES[1:]
    return [metric.family, *(metric.family + s for s in suffixes if metric.kind in ("histogram", "summary"))]


class Plugins:
    """All that there is. Use find()."""

    def __init__(self, found: Sequence[Found]) -> None:
        self.found = tuple(found)
        self._by_name = {each.name: each for each in found if each.claimed}

    def collectors(self) -> Mapping[str, bool]:
        """Every name that `collectors` may hold, and whether it is in the default set; also of those that are off."""
        return {
            each.name: each.kind.default if each.kind and not each.reason else True
            for each in self._by_name.values()
            if not each.is_sink
        }

    def kinds(self) -> dict[str, type[Collector]]:
        """The collectors that are good."""
        good = ((each.name, each.kind) for each in self.found if not each.reason)
        return {name: kind for name, kind in good if kind and issubclass(kind, Collector)}

    def sinks(self) -> dict[str, type[Sink]]:
        """The sinks of others that are good; our own have their section in the settings."""
        good = ((each.name, each.kind) for each in self.found if not each.reason and each.source != OURS)
        return {name: kind for name, kind in good if kind and issubclass(kind, Sink)}

    def refused(self, chosen: Iterable[str]) -> dict[str, str]:
        """Those that are off, with their reasons, less those that nobody asked for."""
        names = set(chosen)
        off = (each for each in self.found if each.reason and not each.is_sink)
        return {each.name: each.reason for each in off if each.name in names or not each.claimed}

    def refused_sinks(self) -> dict[str, str]:
        return {each.name: each.reason for each in self.found if each.reason and each.is_sink}

    def bounds(self) -> dict[str, tuple[float, ...]]:
        """Of the histograms that bring their own."""
        metrics = (metric for kind in self.kinds().values() for metric in kind.metrics)
        return {each.bounds: each.buckets for each in metrics if isinstance(each, Histogram) and each.buckets}

    def problems(self, options: PluginOptions) -> Iterator[str]:
        """What is wrong with `plugins.options`; of a plugin that is off nobody knows what it takes."""
        for plugin, values in options.values.items():
            place = options.places.get(plugin, "plugins.options")
            found = self._by_name.get(plugin)
            if found is None or found.source == OURS:
                others = [each.name for each in self.found if each.claimed and each.source != OURS]
                told = f"there are {', '.join(others)}" if others else "there is none"
                yield f"{place}: plugins.options: no plugin {shown(plugin)}{did_you_mean(plugin, others)}; {told}"
            elif found.kind and not found.reason:
                for name, value in values.items():
                    at = options.places.get(f"{plugin}.{name}", place)
                    yield from (f"{at}: plugins.options.{plugin}.{text}" for text in _refused(found.kind, name, value))


def _refused(kind: type[Plugin], name: str, value: object) -> Iterator[str]:
    option = next((each for each in kind.options if each.name == name), None)
    if option is None:
        known = [each.name for each in kind.options]
        yield f"{name} is no option{did_you_mean(name, known)}; there are {', '.join(known) or 'none'}"
        return
    try:
        option.checked(value)
    except ValueError as error:
        yield f"{name}: {error}"


class Finder:
    """Finds once for each directory: a module that was imported stays what it was until a restart. points: the entry
    points of a group. files: single ones besides those of the directory."""

    def __init__(self, points: Callable[[str], Iterable[EntryPoint]] | None = None, files: Sequence[Path] = ()) -> None:
        self._files = files
        self._points = points or (lambda group: entry_points(group=group))
        self._known: dict[str, Plugins] = {}

    def __call__(self, directory: str = "") -> Plugins:
        """Raises SettingsError where the directory cannot be read."""
        if directory not in self._known:
            self._known[directory] = find(directory, self._points, self._files)
        return self._known[directory]


def find(directory: str, points: Callable[[str], Iterable[EntryPoint]], files: Sequence[Path] = ()) -> Plugins:
    """Raises SettingsError where the directory cannot be read."""
    found, claims = ours()
    kinds = {each.kind for each in found if each.kind}  # those of sinks are not loaded
    others = [each for each in _of_packages(points) if each.kind not in kinds]
    paths = [*(_listed(Path(directory)) if directory else ()), *files]
    others += [found for path in dict.fromkeys(paths) for found in of_file(path)]
    for each in others:
        names = {one.name for one in found} | (TAKEN_BY_AGENT if each.is_sink else set())
        found.append(_admitted(each, names, claims))
    return Plugins(found)


def ours() -> tuple[list[Found], Claims]:
    """The built-in ones, and what is taken by them and by the agent."""
    found = [Found(kind.name, OURS, kind) for kind in BUILT_IN]
    found += [Found(name, OURS, unloaded_sink=True) for name in BUILT_IN_SINKS]
    claims = Claims({("metric", name): "the agent" for metric in catalogue.ALL for name in _series(metric)})
    claims.owners.update({("bounds", each.name): "the setting" for each in fields(Histograms)})
    for each in found:
        claims.take(each)
    for base in (kind.base for kind in BUILT_IN if kind.base):
        names = texts.names(base.program)
        claims.owners.update({("map", name): f"{base.program} ({OURS})" for name in names})
    return found, claims


def problems(each: Found, names: Collection[str], claims: Claims) -> list[str]:
    """Why it cannot run: what is declared must be possible, and nobody else's. Takes what it needs if it can."""
    if each.reason or each.kind is None:
        return [each.reason]
    found = list(declarations.problems(each.kind)) or [*_missing(each.kind)]
    if not found and issubclass(each.kind, Collector):
        found += texts.problems(each.kind)
    if each.name in names:
        found.append(f"{Source(each.kind).place('name')}: the name {each.name} is taken")
    if not found and (refusal := claims.refusal(each)):
        found.append(refusal)
    return found


def _admitted(each: Found, names: Collection[str], claims: Claims) -> Found:
    told = problems(each, names, claims)
    name = f"{each.name} ({Path(each.source).name})" if each.name in names else each.name
    claimed = name == each.name and bool(modules.STEM.fullmatch(name))
    return Found(name, each.source, each.kind, "; ".join(told), claimed, tuple(told))


def _missing(kind: type[Plugin]) -> Iterator[str]:
    """The C files must be where they are read from, and as trustworthy as the Python file."""
    source = Source(kind)
    for file in (kind.program, *kind.parts) if issubclass(kind, Collector) else ():
        path = source.path.with_name(file)
        try:
            if kind.__module__.startswith(modules.PACKAGE):  # who installs packages is trusted with the interpreter
                modules.require_trust(path)
            elif not path.is_file():
                raise PluginError(f"{file}: it is not beside the Python file")
        except PluginError as error:
            yield f"{source.place('program')}: {error}"


def _of_packages(points: Callable[[str], Iterable[EntryPoint]]) -> list[Found]:
    found = []
    for group, base in ((COLLECTORS, Collector), (SINKS, Sink)):
        for point in sorted(points(group), key=lambda point: (_package(point), point.name)):
            if not (group == SINKS and point.name in BUILT_IN_SINKS and point.value.startswith(OUR_SINKS)):
                found.append(_loaded(point, base))
    return found


def _loaded(point: EntryPoint, base: type[Plugin]) -> Found:
    source = f"package {_package(point)}"
    try:
        kind = point.load()
    except (Exception, SystemExit) as error:  # a plugin's failure is its own
        return Found(point.name, source, reason=f"{point.value}: {type(error).__name__}: {error}")
    if not (isinstance(kind, type) and issubclass(kind, base)):
        return Found(point.name, source, reason=f"{point.value} is no class of bpfleet.api.{base.__name__}")
    if getattr(kind, "name", None) != point.name:
        at = Source(kind).place("name")
        return Found(point.name, source, reason=f"{at}: its name is not that of its entry point, {point.name}")
    return Found(point.name, source, kind)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "?"


def _listed(directory: Path) -> list[Path]:
    try:
        return modules.listed(directory)
    except OSError as error:
        raise SettingsError(f"{shown(str(directory))} cannot be read: {error.strerror}") from error
    except PluginError as error:
        raise SettingsError(str(error)) from error


def of_file(path: Path) -> list[Found]:
    """The plugins of one file, not yet compared with others."""
    try:
        module = modules.load(path)
    except PluginError as error:
        return [Found(path.stem if modules.STEM.fullmatch(path.stem) else path.name, str(path), reason=str(error))]
    bases = (Collector, Sink)
    kinds = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, bases) and value.__module__ == module.__name__
    ]
    if not kinds:
        reason = f"{path.name}:1: it defines no class of bpfleet.api.Collector or Sink"
        return [Found(path.stem, str(path), reason=reason)]
    return [Found(_name(kind, path), str(path), kind) for kind in dict.fromkeys(kinds)]


def _name(kind: type[Plugin], path: Path) -> str:
    name = getattr(kind, "name", None)
    return name if isinstance(name, str) and modules.STEM.fullmatch(name) else path.stem
