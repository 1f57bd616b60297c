"""JSON Lines in a file that is never larger than asked for, with so many older ones beside it: `events.jsonl`, then
`events.jsonl.1` and so on, the highest number the oldest.

A file is renamed between two lines, from the oldest to the newest, so that at whatever point the agent ends no line is
torn and none is overwritten.
"""

import os
import stat
from collections.abc import Sequence
from itertools import accumulate

from agent.sinks import jsonl, options
from agent.sinks.appending import Appending
from bpfleet.api import Sink
from bpfleet.events import Record

TAIL_BYTES = 1 << 20
"""In which the last whole line ends, of a file whose writer ended in the middle of one: more than any line."""


def build(given: options.Options) -> Sink:
    return File(options.text(given, "path"), options.whole(given, "max_bytes"), options.whole(given, "files"))


class File(Sink):
    """path: absolute. files: older ones that are kept."""

    name = "file"

    def __init__(self, path: str, max_bytes: int, files: int) -> None:
        self._path, self._max_bytes, self._files = path, max_bytes, files
        self._output = Appending(path)
        self._mended = False

    def encode(self, record: Record) -> bytes:
        return jsonl.line(record)

    def write(self, items: Sequence[bytes]) -> int:
        if not self._mended:
            cut_torn_line(self._path)
            self._mended = True
        size = self._size()
        if size and size + len(items[0]) > self._max_bytes:
            self._rotate()
            size = 0
        fit = sum(size + end <= self._max_bytes for end in accumulate(map(len, items)))
        return self._output.append(items[: max(1, fit)])

    def close(self) -> None:
        self._output.close()

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        """Raises OSError; a file that was moved away in between is no failure."""
        self._output.close()
        older = [self._path, *(f"{self._path}.{number}" for number in range(1, self._files + 1))]
        for source, target in reversed(list(zip(older, older[1:], strict=False))):
            try:
                os.replace(source, target)
            except FileNotFoundError:
                continue


def cut_torn_line(path: str) -> None:
    """What a machine that lost its power left behind the last line's end."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return
        size = os.fstat(descriptor).st_size
        start = max(0, size - TAIL_BYTES)
        tail = os.pread(descriptor, TAIL_BYTES, start)
        if not tail.endswith(b"\n") and (start == 0 or b"\n" in tail):
            os.ftruncate(descriptor, start + tail.rfind(b"\n") + 1)
    finally:
        os.close(descriptor)
