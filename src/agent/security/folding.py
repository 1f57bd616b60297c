"""The same again and again is told twice: at once, and when some time has passed, with how often it was.

    first            leaves at once
    second           is held
    third, fourth    are folded into it: it leaves when the time is over, as the last of them, with their number

So each event has left, is held or is folded: what was told and what was folded is what was seen.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from bpfleet.events import Record

REPEATS = "bpfleet.security.repeats"
"""How many events a record stands for, itself among them; it is there from two on."""

MAX_KEYS = 4096
"""Held at once, 8 MiB at the worst: 50 rules of 80 workloads. What is beyond leaves unfolded, as its limit allows."""


@dataclass
class _Open:
    until: float
    held: Callable[[], Record] | None = None
    count: int = 0


class Folding:
    """seconds: for so long repeats are folded; 0 for not at all. Times are monotonic seconds that never fall."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Hashable, _Open] = {}
        self.waiting = 0

    def is_open(self, key: Hashable) -> bool:
        """Whether it has been told, and not long ago."""
        return key in self._open

    def begin(self, key: Hashable, now: float) -> None:
        """It was told."""
        if self.seconds and len(self._open) < MAX_KEYS:
            self._open[key] = _Open(now + self.seconds)

    def fold(self, key: Hashable, make: Callable[[], Record]) -> bool:
        """Whether another one is held already, into which this one is folded. The last is the one that is kept. make:
        it, when it leaves, for to make each would cost more than to fold it."""
        found = self._open[key]
        is_held = found.held is not None
        found.held, found.count = make, found.count + 1
        self.waiting += not is_held
        return is_held

    def due(self, now: float, is_end: bool = False) -> Iterator[Record]:
        """Those whose time is over; at the end all. The first to begin need not be the first to end: `seconds` may
        have changed."""
        over = [key for key, found in self._open.items() if is_end or now >= found.until]
        for key in over:
            found = self._open.pop(key)
            if found.held is not None:
                self.waiting -= 1
                record = found.held()
                more = {REPEATS: found.count} if found.count > 1 else {}
                yield record._replace(attributes={**record.attributes, **more})
