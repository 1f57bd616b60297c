"""How many events a second may somebody tell of? What is beyond costs no more than this question.

By the events' own time, so that it does not matter how often the kernel is drained.
"""

from collections import OrderedDict
from collections.abc import Hashable

SECOND_NS = 1_000_000_000

LATE_NS = 20 * SECOND_NS
"""So late an event may be: it waited for its owner (pending.HELD_SECONDS). What is later still was told by a clock that
was set back, and to wait until it is there again would let nothing in."""

PARTS = 100
"""Who tells of less than this part of what all may is quiet: of a limit of 10,000 that is what the kernel tells of one
cgroup at most, unless it is asked for more (`security.per_second`)."""

MAX_KEYS = 4096
"""As many as cgroups that the kernel's maps hold, 1 MiB. Of those beyond, the one that told of nothing for longest is
forgotten: it was quiet."""


class Limit:
    """A bucket that fills with `per_second` events a second and holds `burst`, or those of one second."""

    def __init__(self, per_second: float, burst: int = 0) -> None:
        self._cost_ns = int(SECOND_NS / per_second)
        self._capacity_ns = self._cost_ns * burst or SECOND_NS
        self._room_ns = self._capacity_ns
        self._last_ns = 0

    def admits(self, time_ns: int) -> bool:
        """Events of several CPUs come a little out of order; time does not go back for that."""
        if not -LATE_NS <= time_ns - self._last_ns <= 0:
            self._room_ns = min(self._capacity_ns, self._room_ns + max(0, time_ns - self._last_ns))
            self._last_ns = time_ns
        if self._room_ns < self._cost_ns:
            return False
        self._room_ns -= self._cost_ns
        return True


class Quiet:
    """Has somebody told of no more than `per_second` events, or those of one second at once? Whoever goes on telling of
    more stays loud, also where nothing of it is let in."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._level = 0.0
        self._last_ns = 0

    def is_after(self, time_ns: int) -> bool:
        """One more event."""
        if time_ns > self._last_ns:
            self._level = max(0.0, self._level - (time_ns - self._last_ns) * self._per_second / SECOND_NS)
            self._last_ns = time_ns
        self._level = min(self._level + 1, 2 * self._per_second + 1)
        return self._level <= self._per_second


class Shared:
    """A limit that many share. When the loud have used it up, the quiet are let in out of a reserve as large: a flood
    of one costs only its own share. key: whose an event is."""

    def __init__(self, per_second: int) -> None:
        self._all, self._reserve = Limit(per_second), Limit(per_second)
        self._part = per_second / PARTS
        self._quiet: OrderedDict[Hashable, Quiet] = OrderedDict()

    def admits(self, key: Hashable, time_ns: int) -> bool:
        is_quiet = self._of(key).is_after(time_ns)
        return self._all.admits(time_ns) or (is_quiet and self._reserve.admits(time_ns))

    def _of(self, key: Hashable) -> Quiet:
        found = self._quiet.get(key)
        if found is None:
            if len(self._quiet) >= MAX_KEYS:
                self._quiet.popitem(last=False)
            found = self._quiet[key] = Quiet(self._part)
        self._quiet.move_to_end(key)
        return found
