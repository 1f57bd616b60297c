"""A ring buffer made in a file: the kernel's layout without the kernel."""

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from agent.kernel.rings import BUSY, DISCARDED, Ring

SIZE = mmap.PAGESIZE
PRODUCER = mmap.PAGESIZE
DATA = 2 * mmap.PAGESIZE


class Written:
    """What the kernel does: both copies of the data pages show the same bytes."""

    def __init__(self, position: int = 0) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, DATA + 2 * SIZE)
        self.position = position
        os.pwrite(self.fd, struct.pack("=Q", position), 0)
        self._publish()

    def record(self, payload: bytes, flags: int = 0) -> int:
        """Returns where its header is."""
        start = self.position
        data = struct.pack("=II", len(payload) | flags, 0) + payload
        for offset, byte in enumerate(data):
            place = DATA + (start + offset) % SIZE
            os.pwrite(self.fd, bytes([byte]), place)
            os.pwrite(self.fd, bytes([byte]), place + SIZE)
        self.position += (len(data) + 7) & ~7
        self._publish()
        return DATA + start % SIZE

    def _publish(self) -> None:
        os.pwrite(self.fd, struct.pack("=Q", self.position), PRODUCER)

    @property
    def consumed(self) -> int:
        position: int = struct.unpack("=Q", os.pread(self.fd, 8, 0))[0]
        return position


@pytest.fixture
def written() -> Iterator[Written]:
    made = Written()
    yield made
    os.close(made.fd)


def test_records_come_in_order_and_give_their_room_back(written: Written) -> None:
    written.record(b"first")
    written.record(b"second!!")
    ring = Ring(written.fd, SIZE)
    assert ring.unread == 16 + 16
    assert list(ring.records()) == [b"first", b"second!!"]
    assert written.consumed == written.position
    assert list(ring.records()) == []
    ring.close()


def test_a_record_that_is_being_written_waits_and_holds_up_the_later_ones(written: Written) -> None:
    written.record(b"done")
    busy = written.record(b"soon", BUSY)
    written.record(b"after")
    ring = Ring(written.fd, SIZE)
    assert list(ring.records()) == [b"done"]
    os.pwrite(written.fd, struct.pack("=I", 4), busy)
    assert list(ring.records()) == [b"soon", b"after"]
    ring.close()


def test_a_discarded_record_is_passed_over(written: Written) -> None:
    written.record(b"unwanted", DISCARDED)
    written.record(b"wanted")
    ring = Ring(written.fd, SIZE)
    assert list(ring.records()) == [b"wanted"]
    ring.close()


def test_a_record_across_the_end_is_whole() -> None:
    written = Written(position=7 * SIZE - 16)
    written.record(b"0123456789abcdef0123456789")
    ring = Ring(written.fd, SIZE)
    assert list(ring.records()) == [b"0123456789abcdef0123456789"]
    ring.close()
    os.close(written.fd)


def test_a_reader_that_stops_in_the_middle_gets_no_record_twice(written: Written) -> None:
    for number in range(3):
        written.record(bytes([number]) * 8)
    ring = Ring(written.fd, SIZE)
    reader = ring.records()
    assert next(reader) == bytes(8)
    reader.close()
    assert list(ring.records()) == [b"\1" * 8, b"\2" * 8]
    ring.close()
