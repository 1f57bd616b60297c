import struct
from collections.abc import Iterator
from errno import ENOMEM

import pytest

from agent.kernel.growth import Growth

A, B, C = b"aaaa", b"bbbb", b"cccc"


def row(*members: int) -> bytes:
    return struct.pack(f"={len(members)}Q", *members)


class Kernel:
    """A hash whose rows a test writes. late: what a row gets after it was read and before it is taken.
    readable: rows before a read fails; takeable: whether rows can be taken."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.late: dict[bytes, bytes] = {}
        self.readable: int | None = None
        self.takeable = True

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        yield from list(self.rows.items())[: self.readable]
        if self.readable is not None:
            raise OSError(ENOMEM, "")

    def take(self, key: bytes) -> bytes | None:
        if not self.takeable:
            raise OSError(ENOMEM, "")
        self.rows.update(self.late)
        return self.rows.pop(key, None)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def growth(kernel: Kernel, clock: Clock) -> Growth:
    """Rows of two members; idle after 2 drains and 10 seconds."""
    return Growth(kernel, 16, clock, idle_windows=2, idle_seconds=10.0)


def test_the_first_look_sees_everything_and_the_next_only_what_was_added(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(5, 500), B: row(1, 60)}
    assert growth.drain() == [(A, (5, 500)), (B, (1, 60))]
    assert growth.drain() == []
    kernel.rows[A] = row(6, 501)
    assert growth.drain() == [(A, (1, 1))]
    assert growth.entries == 2


def test_a_row_that_has_counted_nothing_yet_is_no_growth(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(0, 0)}
    assert growth.drain() == []
    kernel.rows = {A: row(0, 3)}
    assert growth.drain() == [(A, (0, 3))]


def test_a_row_that_was_removed_and_made_again_starts_from_nothing(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(5, 500), B: row(9, 9)}
    growth.drain()
    kernel.rows = {A: row(2, 700)}
    assert growth.drain() == [(A, (2, 700))]
    kernel.rows[B] = row(11, 11)
    assert growth.drain() == [(B, (11, 11))]


def test_the_values_of_all_cpus_are_summed(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(1, 10, 2, 20, 4, 40)}
    assert growth.drain() == [(A, (7, 70))]
    kernel.rows = {A: row(1, 10, 3, 20, 4, 40)}
    assert growth.drain() == [(A, (1, 0))]


def test_a_row_goes_when_it_has_been_idle_for_drains_and_seconds(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    kernel.rows = {A: row(1, 1), B: row(2, 2)}
    growth.drain()
    for _ in range(5):
        growth.drain()
    assert kernel.rows.keys() == {A, B}, "five drains, but no time has passed"
    clock.now += 9.0
    kernel.rows[B] = row(3, 3)
    growth.drain()
    clock.now += 1.0
    assert growth.drain() == []
    assert kernel.rows.keys() == {B}
    clock.now += 60.0
    growth.drain()
    assert kernel.rows == {}
    assert growth.entries == 0


def test_time_alone_does_not_remove_a_row(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    kernel.rows = {A: row(1, 1)}
    growth.drain()
    clock.now += 3600.0
    growth.drain()
    assert kernel.rows.keys() == {A}


def test_what_comes_between_the_last_look_and_the_removal_still_counts(
    kernel: Kernel, clock: Clock, growth: Growth
) -> None:
    kernel.rows = {A: row(1, 10)}
    growth.drain()
    growth.drain()
    clock.now += 10.0
    kernel.late = {A: row(4, 40)}
    assert growth.drain() == [(A, (3, 30))]
    assert kernel.rows == {}


def test_a_row_that_returns_after_its_removal_counts_from_nothing(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    kernel.rows = {A: row(1, 10)}
    growth.drain()
    growth.drain()
    clock.now += 10.0
    growth.drain()
    kernel.rows = {A: row(1, 10)}
    assert growth.drain() == [(A, (1, 10))]


def test_a_row_that_somebody_else_removed_first_is_no_loss(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    kernel.rows = {A: row(1, 10), B: row(1, 10)}
    growth.drain()
    growth.drain()
    clock.now += 10.0
    kernel.rows = {B: row(1, 10), C: row(7, 7)}
    assert growth.drain() == [(C, (7, 7))]
    assert kernel.rows.keys() == {C}


def test_a_read_that_fails_midway_loses_nothing(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(5, 500), B: row(1, 60)}
    for added in (0, 2):
        kernel.rows[A] = row(5 + added, 500)
        kernel.readable = 1
        with pytest.raises(OSError):
            growth.drain()
    kernel.readable = None
    kernel.rows[C] = row(3, 3)
    assert growth.drain() == [(A, (7, 500)), (B, (1, 60)), (C, (3, 3))]
    assert growth.drain() == []


def test_a_second_look_that_fails_loses_nothing(kernel: Kernel, growth: Growth) -> None:
    """It is taken where rows are missing."""
    kernel.rows = {A: row(5, 500), B: row(1, 60)}
    growth.drain()
    kernel.rows = {A: row(6, 600)}
    whole, reads = kernel.read, 0

    def read() -> Iterator[tuple[bytes, bytes]]:
        nonlocal reads
        reads += 1
        kernel.readable = 0 if reads == 2 else None
        return whole()

    kernel.read = read  # type: ignore[method-assign]
    with pytest.raises(OSError):
        growth.drain()
    assert growth.drain() == [(A, (1, 100))]


def test_a_row_that_cannot_be_taken_is_not_counted_again(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    kernel.rows = {A: row(5, 500)}
    growth.drain()
    growth.drain()
    clock.now += 10.0
    kernel.takeable = False
    kernel.rows[B] = row(1, 1)
    with pytest.raises(OSError):
        growth.drain()
    kernel.takeable = True
    assert growth.drain() == [(B, (1, 1))]
    assert kernel.rows.keys() == {B}


def test_sums_are_exact_whatever_goes_and_comes(kernel: Kernel, clock: Clock, growth: Growth) -> None:
    """997 drains of 7 rows that count at their own pace, with long pauses; every eleventh read fails midway."""
    counted = seen = 0
    keys = [bytes([number] * 4) for number in range(7)]
    for drain in range(997):
        for number, key in enumerate(keys):
            if drain // 20 % 7 != number and drain % (number + 1) == 0:
                value = struct.unpack("=2Q", kernel.rows.get(key, row(0, 0)))[0]
                kernel.rows[key] = row(value + 23, 0)
                counted += 23
        clock.now += 3.0
        kernel.readable = drain % 5 if drain % 11 == 0 else None
        try:
            seen += sum(added[0] for _, added in growth.drain())
        except OSError:
            assert kernel.readable is not None
    assert seen == counted


def test_zeros_in_front_are_kept_without_their_bytes_and_still_count_from_there(kernel: Kernel, growth: Growth) -> None:
    kernel.rows = {A: row(0, 256), B: row(0, 0)}
    assert growth.drain() == [(A, (0, 256))]
    kernel.rows = {A: row(23, 256), B: row(0, 7)}
    assert sorted(growth.drain()) == [(A, (23, 0)), (B, (0, 7))]
    kernel.rows = {A: row(256, 256), B: row(0, 7)}
    assert growth.drain() == [(A, (233, 0))]
