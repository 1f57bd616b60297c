"""Hashes that user space writes, against a kernel of a few lines."""

import ctypes
import struct
from dataclasses import replace
from errno import E2BIG, ENOENT, ENOSPC, EPERM

import pytest

from agent.kernel import maps, syscalls
from agent.kernel.maps import MapInfo
from agent.kernel.written import Written
from bpfleet.errors import KernelError

INFO = MapInfo("modes", maps.HASH, 8, 16, 3, 5)


class FakeKernel(syscalls.Attributes):
    """A hash of 8-byte keys and two words. room: rows. refuses: with this errno, every call."""

    def __init__(self, room: int = 3) -> None:
        self.rows: dict[bytes, tuple[int, ...]] = {}
        self.room, self.refuses = room, 0
        self.calls = 0

    def call(self, command: int, layout: str, *values: int | bytes) -> int:
        descriptor, _, key_at, value_at, _ = (value for value in values if isinstance(value, int))
        assert descriptor == INFO.fd
        self.calls += 1
        if self.refuses:
            raise OSError(self.refuses, "")
        key = ctypes.string_at(key_at, 8)
        if command == syscalls.MAP_DELETE:
            if key not in self.rows:
                raise OSError(ENOENT, "")
            del self.rows[key]
        else:
            assert command == syscalls.MAP_UPDATE
            if key not in self.rows and len(self.rows) == self.room:
                raise OSError(E2BIG, "")
            self.rows[key] = struct.unpack("=2Q", ctypes.string_at(value_at, 16))
        return 0


def key(number: int) -> bytes:
    return struct.pack("=Q", number)


def test_the_hash_holds_what_was_written_last_and_no_more() -> None:
    kernel = FakeKernel()
    written = Written(INFO, kernel)
    assert written.replace({key(1): (1, 2), key(2): (3, 4)}) == 0
    assert written.replace({key(2): (3, 5), key(3): (0, 1 << 63)}) == 0
    assert kernel.rows == {key(2): (3, 5), key(3): (0, 1 << 63)}
    assert written.entries == 2


def test_rows_that_are_as_they_were_cost_no_call() -> None:
    kernel = FakeKernel()
    written = Written(INFO, kernel)
    rows = {key(number): (number, 0) for number in range(3)}
    written.replace(rows)
    before = kernel.calls
    written.replace(dict(rows))
    assert kernel.calls == before == 3


def test_rows_that_find_no_room_are_told_by_number_and_tried_again() -> None:
    kernel = FakeKernel()
    written = Written(INFO, kernel)
    rows = {key(number): (number, 0) for number in range(5)}
    assert written.replace(rows) == 2
    kernel.room = 4
    assert written.replace(rows) == 1
    assert len(kernel.rows) == written.entries == 4


def test_a_row_that_is_gone_already_is_no_error() -> None:
    kernel = FakeKernel()
    written = Written(INFO, kernel)
    written.replace({key(1): (1, 2)})
    kernel.rows.clear()
    assert written.replace({}) == 0


def test_what_a_call_refuses_is_passed_on_and_made_good_later() -> None:
    kernel = FakeKernel()
    written = Written(INFO, kernel)
    kernel.refuses = EPERM
    with pytest.raises(PermissionError):
        written.replace({key(1): (1, 2)})
    kernel.refuses = 0
    written.replace({key(1): (1, 2)})
    assert kernel.rows == {key(1): (1, 2)}
    kernel.refuses = EPERM
    with pytest.raises(PermissionError):
        written.replace({})
    kernel.refuses = 0
    written.replace({})
    assert kernel.rows == {}


def test_only_plain_hashes_of_words_can_be_written() -> None:
    for info in (MapInfo("ring", maps.RING, 0, 0, 64, 5), MapInfo("odd", maps.HASH, 8, 9, 64, 5)):
        with pytest.raises(KernelError, match=f"{info.name} is neither a plain hash nor"):
            Written(info)


def test_a_trie_of_prefixes_is_written_as_a_hash_is_and_says_in_its_own_way_that_it_is_full() -> None:
    kernel = FakeKernel()
    kernel.refuses = ENOSPC
    written = Written(replace(INFO, type=maps.PREFIXES), kernel)
    assert written.replace({key(1): (1, 2)}) == 1
    kernel.refuses = 0
    assert written.replace({key(1): (1, 2)}) == 0
    assert kernel.rows == {key(1): (1, 2)}


def test_a_key_of_another_size_is_refused() -> None:
    with pytest.raises(KernelError, match="a key has 8 bytes, not 4"):
        Written(INFO, FakeKernel()).replace({b"1234": (1, 2)})
