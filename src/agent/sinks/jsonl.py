"""Events as JSON Lines: one object a line, in ASCII only, so that no byte of a name can do anything to a terminal.

Keys are OpenTelemetry's names as they are, without nesting: `jq 'select(."k8s.namespace.name" == "shop")'`.
"""

import json
from collections.abc import Sequence

from agent.sinks import options
from agent.sinks.appending import Appending
from bpfleet.api import Sink
from bpfleet.events import Record
from bpfleet.times import rfc3339

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def build(given: options.Options) -> Sink:
    return Jsonl(options.text(given, "path"))


def line(record: Record) -> bytes:
    """Raises ValueError for a number that JSON does not have."""
    told = {"time": rfc3339(record.time_ns), "event.name": record.name}
    encoded = _encode({**record.attributes, **record.resource, **told})
    return encoded.replace("\x7f", "\\u007f").encode("ascii") + b"\n"  # DEL is ASCII, and a control character


class Jsonl(Sink):
    name = "jsonl"

    def __init__(self, path: str) -> None:
        """path: of a file or a named pipe, or `-` for standard output."""
        self._output = Appending(path)

    def encode(self, record: Record) -> bytes:
        return line(record)

    def write(self, items: Sequence[bytes]) -> int:
        return self._output.append(items)

    def close(self) -> None:
        self._output.close()
