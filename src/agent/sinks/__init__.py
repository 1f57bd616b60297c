"""Where events go, one file a sink, through the same class that a plugin uses."""

from agent.sinks.jsonl import Jsonl
from bpfleet.api import Sink

BUILT_IN: tuple[type[Sink], ...] = (Jsonl,)
