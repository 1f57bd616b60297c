"""Map readers against a kernel of a few lines that knows the bpf() calls they make."""

import ctypes
import struct
from errno import EAGAIN, EINVAL, ENOENT, ENOSPC, EPERM
from pathlib import Path

import pytest

from agent.kernel import maps, syscalls
from agent.kernel.maps import KernelMap, MapInfo, Totals

ENOTSUPP = 524


class FakeCalls(syscalls.Attributes):
    """A hash of 4-byte keys. lacks: commands that this kernel does not have. bucket: rows that a batch returns at
    most, and at least has room for."""

    def __init__(self, rows: dict[bytes, bytes], lacks: tuple[int, ...] = (), bucket: int = 2) -> None:
        self.buffer = bytearray(syscalls.ATTRIBUTES_SIZE)
        self.rows = rows
        self.lacks = lacks
        self.bucket = bucket
        self.log: list[int] = []

    def call(self, command: int, layout: str, *values: int | bytes) -> int:
        numbers = [value for value in values if isinstance(value, int)]
        self.log.append(command)
        if command in self.lacks:
            raise OSError(ENOTSUPP, "")
        if command == syscalls.MAP_LOOKUP_BATCH:
            return self._batch(*numbers)
        _, _, key_at, value_at, _ = numbers
        if command == syscalls.MAP_NEXT_KEY:
            return self._next_key(key_at, value_at)
        key = ctypes.string_at(key_at, 4)
        if key not in self.rows:
            raise OSError(ENOENT, "")
        if command != syscalls.MAP_DELETE:
            ctypes.memmove(value_at, self.rows[key], len(self.rows[key]))
        if command != syscalls.MAP_LOOKUP:
            del self.rows[key]
        return 0

    def _batch(self, start_at: int, next_at: int, keys_at: int, values_at: int, count: int, *_: int) -> int:
        struct.pack_into("=I", self.buffer, maps.COUNT_OFFSET, 0)
        if count < self.bucket:
            raise OSError(ENOSPC, "")
        (start,) = struct.unpack("=I", ctypes.string_at(start_at, 4)) if start_at else (0,)
        some = list(self.rows.items())[start : start + self.bucket]
        for number, (key, value) in enumerate(some):
            ctypes.memmove(keys_at + number * len(key), key, len(key))
            ctypes.memmove(values_at + number * len(value), value, len(value))
        ctypes.memmove(next_at, struct.pack("=I", start + len(some)), 4)
        struct.pack_into("=I", self.buffer, maps.COUNT_OFFSET, len(some))
        if start + len(some) >= len(self.rows):
            raise OSError(ENOENT, "")
        return 0

    def _next_key(self, key_at: int, next_at: int) -> int:
        keys = list(self.rows)
        following = keys.index(ctypes.string_at(key_at, 4)) + 1 if key_at else 0
        if following == len(keys):
            raise OSError(ENOENT, "")
        ctypes.memmove(next_at, keys[following], 4)
        return 0


def info(kind: int = maps.HASH, value_size: int = 16, max_entries: int = 64) -> MapInfo:
    return MapInfo("rows", kind, 4, value_size, max_entries, 3)


def rows(count: int) -> dict[bytes, bytes]:
    return {struct.pack("=I", number): struct.pack("=QQ", number, 23) for number in range(1, count + 1)}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 23])
def test_all_rows_are_read_whatever_the_kernel_gives_at_once(count: int) -> None:
    assert list(KernelMap(info(), 2, FakeCalls(rows(count))).read()) == list(rows(count).items())


def test_a_bucket_that_does_not_fit_gets_more_room() -> None:
    calls = FakeCalls(rows(23), bucket=8)
    assert dict(KernelMap(info(max_entries=3), 2, calls).read()) == rows(23)
    assert calls.log == [syscalls.MAP_LOOKUP_BATCH] * 5, "3 and 6 rows were too few, then three times 8"


def test_a_kernel_without_batches_is_read_row_by_row() -> None:
    calls = FakeCalls(rows(5), lacks=(syscalls.MAP_LOOKUP_BATCH,))
    reader = KernelMap(info(), 2, calls)
    for _ in range(2):
        assert list(reader.read()) == list(rows(5).items())
    assert calls.log.count(syscalls.MAP_LOOKUP_BATCH) == 1


def test_a_walk_that_starts_over_because_rows_went_gives_no_row_twice() -> None:
    class Shrinking(FakeCalls):
        def _next_key(self, key_at: int, next_at: int) -> int:
            if key_at and ctypes.string_at(key_at, 4) == struct.pack("=I", 3):
                if self.rows.pop(struct.pack("=I", 3), None):
                    return super()._next_key(0, next_at)  # the kernel's answer to a key that is gone: the first one
            return super()._next_key(key_at, next_at)

    calls = Shrinking(rows(5), lacks=(syscalls.MAP_LOOKUP_BATCH,))
    keys = [key for key, _ in KernelMap(info(), 2, calls).read()]
    assert keys == list(rows(5))


def test_a_row_is_taken_in_one_step() -> None:
    calls = FakeCalls(rows(2))
    key = struct.pack("=I", 2)
    reader = KernelMap(info(), 2, calls)
    assert reader.take(key) == struct.pack("=QQ", 2, 23)
    assert reader.take(key) is None
    assert calls.log == [syscalls.MAP_LOOKUP_AND_DELETE] * 2


def test_an_older_kernel_takes_a_row_in_two_steps() -> None:
    calls = FakeCalls(rows(2), lacks=(syscalls.MAP_LOOKUP_AND_DELETE,))
    reader = KernelMap(info(), 2, calls)
    assert reader.take(struct.pack("=I", 1)) == struct.pack("=QQ", 1, 23)
    assert reader.take(struct.pack("=I", 1)) is None
    assert calls.rows.keys() == {struct.pack("=I", 2)}


@pytest.mark.parametrize("number", [EPERM, EINVAL])
def test_a_refusal_is_not_mistaken_for_an_old_kernel(number: int) -> None:
    """EINVAL is how the kernel answers to an attribute that is wrong."""

    class Refusing(FakeCalls):
        refuses = True

        def call(self, command: int, layout: str, *values: int | bytes) -> int:
            if self.refuses:
                raise OSError(number, "")
            return super().call(command, layout, *values)

    calls = Refusing(rows(3))
    reader = KernelMap(info(), 2, calls)
    for refused in (lambda: list(reader.read()), lambda: reader.take(struct.pack("=I", 1))):
        with pytest.raises(OSError) as caught:
            refused()
        assert caught.value.errno == number
    calls.refuses = False
    assert len(list(reader.read())) == 3
    assert reader.take(struct.pack("=I", 1))
    assert set(calls.log) == {syscalls.MAP_LOOKUP_BATCH, syscalls.MAP_LOOKUP_AND_DELETE}


def test_a_walk_that_never_comes_to_its_end_does_not_pass_for_all_rows() -> None:
    class Restless(FakeCalls):
        def _next_key(self, key_at: int, next_at: int) -> int:
            return super()._next_key(0, next_at)

    with pytest.raises(OSError) as caught:
        list(KernelMap(info(), 2, Restless(rows(5), lacks=(syscalls.MAP_LOOKUP_BATCH,))).read())
    assert caught.value.errno == EAGAIN


def test_a_per_cpu_value_is_those_of_all_cpus_each_padded_to_a_word() -> None:
    values = {bytes(4): bytes(range(8 * 3))}
    read = KernelMap(info(maps.PERCPU_HASH, value_size=4), 3, FakeCalls(values)).read()
    assert dict(read) == values


def test_a_per_cpu_row_is_summed_over_cpus() -> None:
    calls = FakeCalls({bytes(4): struct.pack("=6Q", 1, 10, 2, 20, 4, 40)})
    assert Totals(info(maps.PERCPU_ARRAY, max_entries=1), 3, calls).read() == (7, 70)
    calls = FakeCalls({bytes(4): struct.pack("=2Q", 5, 6)})
    assert Totals(info(maps.ARRAY, max_entries=1), 3, calls).read() == (5, 6)


@pytest.mark.parametrize(("text", "count"), [("0\n", 1), ("0-1\n", 2), ("0-3,8-11\n", 12)])
def test_possible_cpus_are_counted_up_to_the_highest(tmp_path: Path, text: str, count: int) -> None:
    (tmp_path / "possible").write_text(text)
    assert maps.possible_cpus(tmp_path / "possible") == count
