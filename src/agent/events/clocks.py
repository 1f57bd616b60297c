"""The kernel's clock and the wall's: events carry monotonic time, records the time of day."""

import time
from collections.abc import Callable

SAMPLES = 3
"""The offset is taken from the quickest of them: the thread may lose its CPU between the two readings."""


class WallClock:
    """wall, monotonic: nanoseconds, the latter by the clock of bpf_ktime_get_ns (CLOCK_MONOTONIC)."""

    def __init__(
        self, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._offset = 0
        self.refresh()

    def refresh(self) -> None:
        """Once a drain, so that a step of the wall's clock shows in the events of the next one."""
        self._offset = min(self._sample() for _ in range(SAMPLES))[1]

    def at(self, time_ns: int) -> int:
        """Nanoseconds since 1970 of a moment by the monotonic clock."""
        return time_ns + self._offset

    def _sample(self) -> tuple[int, int]:
        """How long it took, and how far apart the clocks are."""
        before, wall, after = self._monotonic(), self._wall(), self._monotonic()
        return after - before, wall - (before + after) // 2
