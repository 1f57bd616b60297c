"""Where events go, one file a sink, through the same class that a plugin uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

from bpfleet.api import Sink

Options = Mapping[str, str | int | float]
Builder = Callable[[Options], Sink | None]
"""Makes a sink of the options below its name in the settings (`sinks.otlp.*`), or none where they ask for none. Raises
OptionError for files that cannot be used."""


@dataclass(frozen=True)
class BuiltIn:
    """place: the option without which there is no such sink; then its module, and what that needs, is not loaded."""

    module: str
    place: str

    def __call__(self, options: Options) -> Sink | None:
        if not options[self.place]:
            return None
        built: Sink = import_module(self.module).build(options)
        return built


BUILT_IN: Mapping[str, Builder] = {
    "jsonl": BuiltIn("agent.sinks.jsonl", "path"),
    "file": BuiltIn("agent.sinks.file", "path"),
    "otlp": BuiltIn("agent.sinks.otlp", "endpoint"),
    "syslog": BuiltIn("agent.sinks.syslog", "address"),
}
