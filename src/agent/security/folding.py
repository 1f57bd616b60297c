"""The same again and again is told twice: at once, and when some time has passed, with how often it was.

    first            leaves at once
    second           is held
    third, fourth    are folded into it: it leaves when the time is over, as the last of them, with their number

So each event has left, is held or is folded: what was told and what was folded is what was seen.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from agent.events.shares import Shares
from bpfleet.events import Record

REPEATS = "bpfleet.security.repeats"
"""How many events a record stands for, itself among them; it is there from two on."""

MAX_KEYS = 4096
"""Open at once, 8 MiB at the worst: 50 rules of 80 workloads. Beyond that whoever has most has its oldest closed, which
is told before its time; of who has most itself nothing more is folded, and leaves as its limit allows."""


class Held(NamedTuple):
    """See agent.events.routing.Held."""

    event: str
    make: Callable[[], Record]


@dataclass
class _Open:
    owner: Hashable
    until: float
    held: Held | None = None
    count: int = 0


class Folding:
    """seconds: for so long repeats are folded; 0 for not at all. Times are monotonic seconds that never fall."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._open: dict[Hashable, _Open] = {}
        self._keys: dict[Hashable, dict[Hashable, None]] = {}
        self._shares = Shares[Hashable]()
        self._closed: list[_Open] = []
        self.waiting = 0

    def is_open(self, key: Hashable) -> bool:
        """Whether it has been told, and not long ago."""
        return key in self._open

    def begin(self, key: Hashable, now: float, owner: Hashable = None) -> None:
        """It was told. owner: who shares the room with others."""
        if not self.seconds:
            return
        if len(self._open) >= MAX_KEYS:
            greedier = self._shares.greedier(owner)
            if greedier is None:
                return
            oldest = self._close(next(iter(self._keys[greedier])))
            if oldest.held is not None:
                self._closed.append(oldest)
        self._open[key] = _Open(owner, now + self.seconds)
        self._keys.setdefault(owner, {})[key] = None
        self._shares.add(owner)

    def fold(self, key: Hashable, event: str, make: Callable[[], Record]) -> bool:
        """Whether another one is held already, into which this one is folded. The last is the one that is kept. event:
        its name; make: it, when it leaves, for to make each would cost more than to fold it."""
        found = self._open[key]
        is_held = found.held is not None
        found.held, found.count = Held(event, make), found.count + 1
        self.waiting += not is_held
        return is_held

    def due(self, now: float, is_end: bool = False) -> Iterator[Held]:
        """Those whose time is over; at the end all. The first to begin need not be the first to end: `seconds` may
        have changed."""
        over = [key for key, found in self._open.items() if is_end or now >= found.until]
        closed, self._closed = self._closed, []
        for found in (*closed, *map(self._close, over)):
            if found.held is not None:
                self.waiting -= 1
                yield found.held._replace(make=partial(_counted, found.held.make, found.count))

    def _close(self, key: Hashable) -> _Open:
        found = self._open.pop(key)
        keys = self._keys[found.owner]
        del keys[key]
        if not keys:
            del self._keys[found.owner]
        self._shares.add(found.owner, -1)
        return found


def _counted(make: Callable[[], Record], count: int) -> Record:
    record = make()
    return record._replace(attributes={**record.attributes, REPEATS: count}) if count > 1 else record
