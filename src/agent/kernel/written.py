"""A hash or a trie of prefixes that user space writes and programs read: settings that differ from cgroup to cgroup.

Each row is written in one step, so a program finds the old one or the new one."""

import struct
from collections.abc import Mapping
from errno import E2BIG, ENOENT, ENOMEM, ENOSPC

from agent.kernel import maps, syscalls
from agent.kernel.maps import MapInfo
from bpfleet.errors import KernelError

NO_ROOM = (E2BIG, ENOMEM, ENOSPC)
"""ENOSPC: of a trie (kernel/bpf/lpm_trie.c)."""


class Written:
    """attributes: makes the system calls; tests bring their own. Raises KernelError where it is neither a plain
    hash nor a trie of prefixes, or its rows are not of u64."""

    def __init__(self, info: MapInfo, attributes: syscalls.Attributes | None = None) -> None:
        if info.type not in (maps.HASH, maps.PREFIXES) or info.value_size % maps.WORD:
            raise KernelError(f"{info.name} is neither a plain hash nor a trie of prefixes, of rows of u64")
        self._info = info
        self._row = struct.Struct(f"={info.value_size // maps.WORD}Q")
        self._attributes = attributes or syscalls.Attributes()
        self._rows: dict[bytes, tuple[int, ...]] = {}

    @property
    def entries(self) -> int:
        return len(self._rows)

    def replace(self, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        """It holds these and no others. Returns how many found no room. What a system call raises beside that is passed
        on, and the next call does what is left to do."""
        for key in self._rows.keys() - rows.keys():
            self._delete(key)
        left_out = 0
        for key, row in rows.items():
            if self._rows.get(key) != row:
                left_out += not self._update(key, row)
        return left_out

    def _delete(self, key: bytes) -> None:
        place = bytearray(key)
        try:
            self._attributes.call(syscalls.MAP_DELETE, "=IIQQQ", self._info.fd, 0, syscalls.address(place), 0, 0)
        except OSError as error:
            if error.errno != ENOENT:
                raise
        del self._rows[key]

    def _update(self, key: bytes, row: tuple[int, ...]) -> bool:
        if len(key) != self._info.key_size:
            raise KernelError(f"{self._info.name}: a key has {self._info.key_size} bytes, not {len(key)}")
        place, value = bytearray(key), bytearray(self._row.pack(*row))
        places = (syscalls.address(place), syscalls.address(value))
        try:
            self._attributes.call(syscalls.MAP_UPDATE, "=IIQQQ", self._info.fd, 0, *places, 0)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        self._rows[key] = row
        return True
