"""A BPF ring buffer, read through its memory: no wake-ups, no BCC.

Layout: kernel/bpf/ringbuf.c. Page 0 holds the consumer's position, page 1 the producer's, then come the data pages,
mapped twice in a row so that a record never wraps.
"""

import mmap
import struct
from collections.abc import Iterator

BUSY = 1 << 31
DISCARDED = 1 << 30
HEADER_SIZE = 8
_LENGTH = struct.Struct("=I")


class Ring:
    """size: of the data in bytes, a power of two. Raises OSError if the map cannot be mapped."""

    def __init__(self, fd: int, size: int) -> None:
        page = mmap.PAGESIZE
        self._mask = size - 1
        self._consumer_page = mmap.mmap(fd, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(fd, page + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # Through a view of words, so that a position is read and written in one piece.
        self._consumer = memoryview(self._consumer_page).cast("Q")
        self._producer = memoryview(self._data).cast("Q")
        self._start = page

    @property
    def unread(self) -> int:
        """Bytes, headers included."""
        return self._producer[0] - self._consumer[0]

    def records(self) -> Iterator[bytes]:
        """What is complete, oldest first. A record's room is given back before it is yielded: none comes twice."""
        position, end = self._consumer[0], self._producer[0]
        while position < end:
            place = self._start + (position & self._mask)
            (length,) = _LENGTH.unpack_from(self._data, place)
            if length & BUSY:
                return
            size = length & ~(BUSY | DISCARDED)
            record = self._data[place + HEADER_SIZE : place + HEADER_SIZE + size]
            position += (size + HEADER_SIZE + 7) & ~7
            self._consumer[0] = position
            if not length & DISCARDED:
                yield record

    def close(self) -> None:
        self._consumer.release()
        self._producer.release()
        self._consumer_page.close()
        self._data.close()
