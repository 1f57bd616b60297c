"""What was added to each row of a hash since the last look. Counters in the kernel only rise; rows that stay idle are
removed, and what they got up to that moment still counts."""

import struct
from collections import deque
from collections.abc import Callable, Iterator
from operator import sub
from typing import Protocol

from agent.kernel.maps import WORD
from bpfleet.api import Row

IDLE_WINDOWS = 3
"""Drains without a change before a row is removed: a program that still holds its value has long ended by then."""

IDLE_SECONDS = 60.0
"""Also at least this long: making a row again costs the packet path 200 ns."""


class Kernel(Protocol):
    """The calls that a reader makes: the real ones are KernelMap's; tests bring their own."""

    def read(self) -> tuple[list[bytes], list[bytes]]:
        """All keys and their values, in the same order."""

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
        self._clock = clock
        self._idle_windows = idle_windows
        self._idle_seconds = idle_seconds
        self._known: dict[bytes, bytes] = {}
        self._changed: dict[bytes, int] = {}  # key -> drain in which it changed last
        self._drains: deque[tuple[int, float, list[bytes]]] = deque()
        self._drain = 0

    @property
    def entries(self) -> int:
        """At the last look."""
        return len(self._known)

    def drain(self) -> list[Row]:
        keys, values = self._kernel.read()
        known, self._drain = self._known, self._drain + 1
        fresh = dict(zip(keys, values, strict=True))
        changed = [key for key, value in fresh.items() if known.get(key) != value]
        rows = [(key, self._difference(known.get(key), fresh[key])) for key in changed]
        self._known = fresh
        if len(fresh) < len(self._changed):
            self._changed = {key: drain for key, drain in self._changed.items() if key in fresh}
        self._changed.update(dict.fromkeys(changed, self._drain))
        self._drains.append((self._drain, self._clock(), changed))
        rows += self._remove_idle()
        return [row for row in rows if any(row[1])]

    def _difference(self, old: bytes | None, new: bytes) -> tuple[int, ...]:
        """A value that fell is that of a row that was removed and made again."""
        values = self._sums(new)
        if old is None:
            return values
        added = tuple(map(sub, values, self._sums(old)))
        return added if min(added, default=0) >= 0 else values

    def _sums(self, value: bytes) -> tuple[int, ...]:
        words = struct.unpack(f"={len(value) // WORD}Q", value)
        if len(words) == self._members:
            return words
        return tuple(sum(words[member :: self._members]) for member in range(self._members))

    def _remove_idle(self) -> Iterator[Row]:
        """The rows that changed in an old drain and not since; what they got meanwhile still counts."""
        now = self._clock()
        while self._drains:
            drain, then, keys = self._drains[0]
            if self._drain - drain < self._idle_windows or now - then < self._idle_seconds:
                return
            self._drains.popleft()
            for key in keys:
                if self._changed.get(key) == drain:
                    del self._changed[key]
                    old, last = self._known.pop(key), self._kernel.take(key)
                    if last is not None and last != old:
                        yield key, self._difference(old, last)
