"""From what was found and what the settings say to collectors and sinks that work, or are off with a reason."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, TypeVar

from agent.collectors import BUILT_IN
from agent.plugins import guarding
from agent.plugins.finding import Plugins
from agent.settings import Settings
from bpfleet.api import Collector, OptionValue, Plugin, Sink
from bpfleet.errors import LoadError

PluginT = TypeVar("PluginT", bound=Plugin)


@dataclass
class Made:
    """collectors, sinks: that work. off: collectors that do not, sinks_off: sinks, each with the reason."""

    collectors: list[Collector] = field(default_factory=list)
    off: dict[str, str] = field(default_factory=dict)
    sinks: list[Sink] = field(default_factory=list)
    sinks_off: dict[str, str] = field(default_factory=dict)


def make(plugins: Plugins, settings: Settings) -> Made:
    """The chosen collectors in their order, and the sinks of others."""
    asked = [name for name in plugins.collectors() if settings.runs(name)]
    made = Made(off=plugins.refused(asked), sinks_off=plugins.refused_sinks())
    kinds, sinks = plugins.kinds(), plugins.sinks()
    for name in asked:
        if name in kinds:
            try:
                made.collectors.append(collector(kinds[name], settings))
            except LoadError as error:
                made.off[name] = str(error)
    for name, kind in sinks.items():
        if not kind.default and name not in settings.plugins.options.values:
            continue
        try:
            made.sinks.append(guarding.Held(sink(kind, settings)))
        except LoadError as error:
            made.sinks_off[name] = str(error)
    return made


def makers(plugins: Plugins, settings: Settings) -> dict[str, Callable[[], Collector]]:
    """By name, for those that are switched on later: also of those that are off, which raise LoadError."""

    def maker(name: str) -> Callable[[], Collector]:
        def make() -> Collector:
            if name not in kinds:
                raise LoadError(reasons.get(name, f"there is no collector {name}"))
            return collector(kinds[name], settings)

        return make

    kinds, reasons = plugins.kinds(), plugins.refused(plugins.collectors())
    return {name: maker(name) for name in plugins.collectors()}


def collector(kind: type[Collector], settings: Settings) -> Collector:
    """Raises LoadError."""
    return _made(kind, options(kind, settings))


def sink(kind: type[Sink], settings: Settings) -> Sink:
    """Raises LoadError."""
    return _made(kind, options(kind, settings))


def options(kind: type[Plugin], settings: Settings) -> Mapping[str, OptionValue]:
    """What it is given: the section of its name for our own, else `plugins.options`."""
    if kind in BUILT_IN:
        section: Any = getattr(settings, kind.name, None)
        return asdict(section) if is_dataclass(section) and not isinstance(section, type) else {}
    return settings.plugins.options.values.get(kind.name, {})


def intervals(kinds: Iterable[type[Collector]], settings: Settings) -> dict[str, float]:
    """By collector, of those that are not asked at each drain: seconds."""
    found = {}
    for kind in kinds:
        if kind.interval:
            defaults = {each.name: each.default for each in kind.options}
            found[kind.name] = float(str((defaults | dict(options(kind, settings)))[kind.interval]))
    return found


def _made(kind: type[PluginT], given: Mapping[str, OptionValue]) -> PluginT:
    declared = {each.name: each for each in kind.options}
    values = {name: declared[name].checked(value) if name in declared else value for name, value in given.items()}
    try:
        return kind(values)
    except (Exception, SystemExit) as error:  # a plugin's failure is its own
        raise LoadError(f"{guarding.place(error, kind)}{type(error).__name__}: {error}") from error
