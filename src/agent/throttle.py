"""When may a failure that repeats be logged again?"""

from collections.abc import Callable

FIRST_SILENCE_SECONDS = 60.0
"""What keeps failing is logged at once, then after this time, then after twice as long each time."""

LONGEST_SILENCE_SECONDS = 3600.0


class Throttle:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._silence: dict[str, tuple[float, float]] = {}

    def allows(self, what: str) -> bool:
        until, silence = self._silence.get(what, (float("-inf"), FIRST_SILENCE_SECONDS))
        if self._clock() < until:
            return False
        self._silence[what] = (self._clock() + silence, min(2 * silence, LONGEST_SILENCE_SECONDS))
        return True
