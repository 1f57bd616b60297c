import time
from collections.abc import Callable, Iterator

from agent.events.clocks import WallClock

WALL_NS, MONOTONIC_NS = 1_700_000_000_123_456_789, 5_000_000_001


def played(*readings: int) -> Callable[[], int]:
    left: Iterator[int] = iter(readings)
    return lambda: next(left)


def test_a_moment_of_the_kernels_clock_is_the_time_of_day_to_the_nanosecond() -> None:
    clock = WallClock(lambda: WALL_NS, lambda: MONOTONIC_NS)
    assert clock.at(MONOTONIC_NS) == WALL_NS
    assert clock.at(MONOTONIC_NS - 7) == WALL_NS - 7


def test_a_step_of_the_wall_clock_shows_after_a_refresh() -> None:
    wall = [WALL_NS]
    clock = WallClock(lambda: wall[0], lambda: MONOTONIC_NS)
    wall[0] += 3600 * 10**9
    assert clock.at(MONOTONIC_NS) == WALL_NS
    clock.refresh()
    assert clock.at(MONOTONIC_NS) == WALL_NS + 3600 * 10**9


def test_the_offset_is_of_the_reading_that_was_not_interrupted() -> None:
    """The thread lost its CPU in the first and the last of three: 10 ms between the readings of one clock."""
    monotonic = played(0, 10_000_000, 20_000_000, 20_000_100, 30_000_000, 40_000_000)
    wall = played(WALL_NS + 9_000_000, WALL_NS + 20_000_050, WALL_NS + 31_000_000)
    assert WallClock(wall, monotonic).at(0) == WALL_NS


def test_by_default_it_is_this_machines_clocks() -> None:
    clock = WallClock()
    before = time.time_ns()
    at = clock.at(time.monotonic_ns())
    assert abs(at - before) < 10**9
