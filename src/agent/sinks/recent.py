"""The last requests of the log, in memory, for whoever asks now: what `bpfleet requests` shows.

Each has a number, so that who asks again gets what came since, and learns how many fell out meanwhile. Most are never
asked for: they are kept in a form that is made in less than half of the time that JSON takes.
"""

import marshal
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from agent.sinks.jsonl import line
from bpfleet.api import Sink
from bpfleet.events import HTTP_REQUEST, Attribute, Record

MAX_KEPT = 2048
"""Two seconds of a busy node, for a person who asks each second; a quiet one's last minutes."""

MAX_KEPT_BYTES = 2 << 20
"""A request takes some 700 bytes; all of them may not have paths of the greatest length."""


class Look(NamedTuple):
    """log: which requests are told (`requests.log`). agent: another one after each start. requests: as lines of JSON.
    next: number of the last of them; last: of the last that is there. missed: those after the one asked for that fell
    out before they were."""

    log: str
    agent: str
    next: int
    last: int
    missed: int
    requests: Sequence[bytes]


class Recent(Sink):
    """log: asked at each look, since a reload may change it. agent: as a Look has it. Requests are numbered from 1 on;
    other events are taken, and not kept."""

    name = "recent"

    def __init__(self, log: Callable[[], str], agent: str) -> None:
        self._log, self._agent = log, agent
        self._lock = threading.Lock()
        self._kept: deque[bytes] = deque()
        self._kept_bytes = self._last = 0

    def encode(self, record: Record) -> bytes:
        """Raises ValueError for a number that JSON does not have."""
        if record.name != HTTP_REQUEST:
            return b""
        if not all(math.isfinite(value) for value in record.attributes.values() if isinstance(value, float)):
            raise ValueError("a number that JSON does not have")
        return marshal.dumps((record.time_ns, dict(record.resource), dict(record.attributes)))

    def write(self, items: Sequence[bytes]) -> int:
        with self._lock:
            for item in filter(None, items):
                self._last += 1
                self._kept.append(item)
                self._kept_bytes += len(item)
                while len(self._kept) > MAX_KEPT or self._kept_bytes > MAX_KEPT_BYTES:
                    self._kept_bytes -= len(self._kept.popleft())
        return len(items)

    def look(self, after: int, limit: int) -> Look:
        """The oldest that have a number above `after`. From any thread."""
        with self._lock:
            gone = self._last - len(self._kept)
            start = min(max(after, gone), self._last)
            found = list(islice(self._kept, start - gone, start - gone + limit))
            last = self._last
        lines = [_line(*marshal.loads(item)) for item in found]
        return Look(self._log(), self._agent, start + len(found), last, max(0, gone - after), lines)


def _line(time_ns: int, resource: dict[str, str], attributes: dict[str, Attribute]) -> bytes:
    return line(Record(HTTP_REQUEST, time_ns, resource, attributes)).rstrip(b"\n")
