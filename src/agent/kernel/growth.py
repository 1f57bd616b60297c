"""What was added to each row of a hash since the last look. Counters in the kernel only rise; rows that stay idle are
removed, and what they got up to that moment still counts."""

import struct
from collections import deque
from collections.abc import Callable, Iterable
from itertools import takewhile
from operator import add, sub
from typing import Protocol

from agent.kernel.maps import WORD
from bpfleet.api import Row

IDLE_WINDOWS = 3
"""Drains without a change before a row is removed.

The kernel hands a removed row to the next key at once. A program that looked the row up just before its removal may
still add to it: that count is lost, or goes to the next key. The removal itself is one step, so this takes a packet of
a row that was idle for all this time, in the very 100 ns in which it is removed: rare, and not excluded."""

IDLE_SECONDS = 60.0
"""Also at least this long: each removal is such a moment, and making a row again costs the packet path 200 ns."""


ZERO = b"\0"


class Kernel(Protocol):
    """The calls that a reader makes: the real ones are KernelMap's; tests bring their own."""

    def read(self) -> Iterable[tuple[bytes, bytes]]:
        """All keys with their values."""

    def take(self, key: bytes) -> bytes | None:
        """Remove a row and return its last value; None if it is gone already."""


class Growth:
    """What was added to each row of a hash since the last look; rows that stay idle are removed."""

    def __init__(
        self,
        kernel: Kernel,
        value_size: int,
        clock: Callable[[], float],
        idle_windows: int = IDLE_WINDOWS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._kernel = kernel
        self._members = value_size // WORD
        self._row = struct.Struct(f"={self._members}Q")
        self._clock = clock
        self._idle_windows = idle_windows
        self._idle_seconds = idle_seconds
        # Key -> the drain in which it changed last, and its value without the zeros in front of it: a flow's row begins
        # with a cache line of them, which would be 2 MiB of 32,768 rows. The longest unchanged comes first.
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._drain = 0
        self._times: deque[tuple[int, float]] = deque()
        self._idle_until = 0
        # What was seen and not handed out yet: where a read fails midway, the next drain has it too.
        self._seen: dict[bytes, tuple[int, ...]] = {}

    @property
    def entries(self) -> int:
        """At the last look."""
        return len(self._known)

    def drain(self) -> list[Row]:
        """Each key once. What the kernel's calls raise is passed on, and nothing is lost by it."""
        self._drain += 1
        self._times.append((self._drain, self._clock()))
        known, count = self._known, 0
        for key, value in self._kernel.read():
            count += 1
            before = known.get(key)
            if before is not None and before[1].rjust(len(value), ZERO) == value:
                continue
            self._see(key, self._difference(before, value))
            known.pop(key, None)
            known[key] = (self._drain, value.lstrip(ZERO))
        if count < len(known):  # the kernel or a program has removed some
            for key in known.keys() - {key for key, _ in self._kernel.read()}:
                del known[key]
        self._remove_idle()
        rows, self._seen = self._seen, {}
        return [row for row in rows.items() if any(row[1])]

    def _see(self, key: bytes, added: tuple[int, ...]) -> None:
        seen = self._seen.get(key)
        self._seen[key] = tuple(map(add, seen, added)) if seen else added

    def _difference(self, before: tuple[int, bytes] | None, value: bytes) -> tuple[int, ...]:
        """A value that fell is that of a row that was removed and made again."""
        now = self._sums(value)
        if before is None:
            return now
        added = tuple(map(sub, now, self._sums(before[1].rjust(len(value), ZERO))))
        return added if min(added, default=0) >= 0 else now

    def _sums(self, value: bytes) -> tuple[int, ...]:
        if self._row.size != len(value):  # known with the first value: one row a CPU, or one in all
            self._row = struct.Struct(f"={len(value) // WORD}Q")
        words = self._row.unpack(value)
        if len(words) == self._members:
            return words
        return tuple(sum(words[member :: self._members]) for member in range(self._members))

    def _remove_idle(self) -> None:
        """What the rows that go got since this drain's look still counts."""
        now = self._clock()
        while self._times:
            drain, then = self._times[0]
            if self._drain - drain < self._idle_windows or now - then < self._idle_seconds:
                break
            self._idle_until = drain
            self._times.popleft()
        idle = list(takewhile(lambda row: row[1][0] <= self._idle_until, self._known.items()))
        for key, before in idle:
            last = self._kernel.take(key)
            del self._known[key]
            if last is not None and before[1].rjust(len(last), ZERO) != last:
                self._see(key, self._difference(before, last))
