"""How many events a second may somebody tell of? What is beyond costs no more than this question.

By the events' own time, so that it does not matter how often the kernel is drained.
"""

SECOND_NS = 1_000_000_000


class Limit:
    """A bucket that fills with `per_second` events a second and holds `burst`, or those of one second."""

    def __init__(self, per_second: float, burst: int = 0) -> None:
        self._cost_ns = int(SECOND_NS / per_second)
        self._capacity_ns = self._cost_ns * burst or SECOND_NS
        self._room_ns = self._capacity_ns
        self._last_ns = 0

    def admits(self, time_ns: int) -> bool:
        """Events of several CPUs come a little out of order; time does not go back for that."""
        if time_ns > self._last_ns:
            self._room_ns = min(self._capacity_ns, self._room_ns + time_ns - self._last_ns)
            self._last_ns = time_ns
        if self._room_ns < self._cost_ns:
            return False
        self._room_ns -= self._cost_ns
        return True
