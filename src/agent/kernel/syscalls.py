"""The bpf() system call by ctypes: what the loader and the map readers use of it.

Layouts: union bpf_attr in include/uapi/linux/bpf.h. Every function raises OSError with the kernel's errno.
"""

import ctypes
import mmap
import os
import platform
import struct
from collections.abc import Iterator

NUMBERS = {"x86_64": 321, "aarch64": 280}
ATTRIBUTES_SIZE = 144  # of union bpf_attr on the newest kernel known; older ones accept the zeros behind theirs

MAP_CREATE, MAP_LOOKUP, MAP_UPDATE, MAP_DELETE, MAP_NEXT_KEY = 0, 1, 2, 3, 4
PROG_LOAD, DESCRIBE, RAW_TRACEPOINT_OPEN, TYPES_LOAD = 5, 15, 17, 18
MAP_LOOKUP_AND_DELETE, MAP_LOOKUP_BATCH = 21, 24
LINK_CREATE, ITER_CREATE = 28, 33

PROG_CGROUP_SKB, PROG_RAW_TRACEPOINT, PROG_CGROUP_ADDRESS, PROG_TRACING = 8, 17, 18, 26
ATTACH_INGRESS, ATTACH_EGRESS, ATTACH_RAW_TRACEPOINT, ATTACH_ITER = 0, 1, 23, 28
ATTACH_ADDRESS = {"connect4": 10, "connect6": 11, "sendmsg4": 14, "sendmsg6": 15}

LOG_SIZE = 1 << 20  # the end of a verifier's log tells why; a longer one is cut by the kernel with ENOSPC
NAME_SIZE = 15
MAP_INFO_SIZE = 24  # as far as its flags

ITERATOR_BUFFER = 8 * mmap.PAGESIZE
"""The kernel's own buffer of an iterator (bpf_seq_read), in which a program's write is whole or not at all."""


class Attributes:
    """A buffer for the attributes of one call; the kernel writes back into it."""

    def __init__(self) -> None:
        self.buffer = bytearray(ATTRIBUTES_SIZE)
        self._pointer = (ctypes.c_char * ATTRIBUTES_SIZE).from_buffer(self.buffer)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = NUMBERS[platform.machine()]

    def call(self, command: int, layout: str, *values: int | bytes) -> int:
        """bpf(command) with attributes packed by `layout`; returns what the kernel returns."""
        size = struct.calcsize(layout)
        self.buffer[size:] = bytes(ATTRIBUTES_SIZE - size)
        struct.pack_into(layout, self.buffer, 0, *values)
        result = int(self._libc.syscall(self._number, command, self._pointer, ATTRIBUTES_SIZE))
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result


def address(buffer: bytearray) -> int:
    """Where a buffer's bytes lie; it must stay alive and of the same size while the kernel uses them."""
    return ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer)) if buffer else 0


class Rejected(OSError):
    """BPF_PROG_LOAD failed; `log` is the verifier's."""

    def __init__(self, error: int, log: str) -> None:
        super().__init__(error, os.strerror(error))
        self.log = log


def load_program(kind: int, code: bytes, name: str, attach_type: int = 0, btf_id: int = 0) -> int:
    """Load BPF code whose map references are descriptors of this process; returns the program's descriptor."""
    instructions, licence, log = bytearray(code), bytearray(b"GPL\0"), bytearray(LOG_SIZE)
    attributes = Attributes()

    def attempt(level: int) -> int:
        return attributes.call(
            PROG_LOAD,
            "=IIQQIIQII16sIIIIQIIQII",
            *(kind, len(code) // 8, address(instructions), address(licence)),
            *(level, len(log) if level else 0, address(log) if level else 0),
            *(0, 0, name.encode()[:NAME_SIZE], 0, attach_type, 0, 0, 0, 0, 0, 0, 0, btf_id),
        )

    try:
        return attempt(0)
    except OSError as error:
        try:
            return attempt(1)
        except OSError:
            text = bytes(log).partition(b"\0")[0].decode(errors="replace")
            raise Rejected(error.errno or 0, text) from error


def create_map(
    kind: int, name: str, key_size: int, value_size: int, max_entries: int, flags: int, types: int | None = None
) -> int:
    """types: a descriptor of type information in which 1 is the key and 2 the value."""
    of_types = (types, 1, 2) if types is not None else (0, 0, 0)
    sizes = (kind, key_size, value_size, max_entries, flags)
    return Attributes().call(MAP_CREATE, "=IIIIIII16sIIII", *sizes, 0, 0, name.encode()[:NAME_SIZE], 0, *of_types)


def describe_map(table: int) -> tuple[int, int, int, int, int]:
    """Its type, size of key, size of value, entries and flags (`struct bpf_map_info`)."""
    info = bytearray(MAP_INFO_SIZE)
    Attributes().call(DESCRIBE, "=IIQ", table, len(info), address(info))
    kind, _, key_size, value_size, max_entries, flags = struct.unpack("=IIIIII", info)
    return kind, key_size, value_size, max_entries, flags


def load_types(data: bytes) -> int:
    """Type information (BTF) of a map's key and value."""
    types = bytearray(data)
    return Attributes().call(TYPES_LOAD, "=QQIII", address(types), 0, len(types), 0, 0)


def set_program(table: int, program: int) -> None:
    """The only program of a program array; it stays there for as long as somebody holds the array's descriptor."""
    key, value = bytearray(4), bytearray(struct.pack("=I", program))
    Attributes().call(MAP_UPDATE, "=IIQQQ", table, 0, address(key), address(value), 0)


def link_cgroup(program: int, cgroup: int, attach_type: int) -> int:
    return Attributes().call(LINK_CREATE, "=IIII", program, cgroup, attach_type, 0)


def link_iterator(program: int, table: int | None = None) -> int:
    """table: the map to walk over (`union bpf_iter_link_info`)."""
    info = bytearray() if table is None else bytearray(struct.pack("=I", table))
    where = address(info) if info else 0
    return Attributes().call(LINK_CREATE, "=IIIIQI", program, 0, ATTACH_ITER, 0, where, len(info))


def open_raw_tracepoint(program: int, tracepoint: str = "") -> int:
    """tracepoint: empty for a program that knows its own (tp_btf)."""
    name = bytearray(tracepoint.encode() + b"\0")
    return Attributes().call(RAW_TRACEPOINT_OPEN, "=QI", address(name) if tracepoint else 0, program)


def walk_iterator(link: int) -> bytes:
    """Run an iterator over everything once; returns what its program wrote."""
    return b"".join(walk_iterator_parts(link))


def walk_iterator_parts(link: int) -> Iterator[bytes]:
    """The same in parts, each of whole writes of its program."""
    reader = Attributes().call(ITER_CREATE, "=II", link, 0)
    try:
        while True:
            try:
                part = os.read(reader, ITERATOR_BUFFER)
            except BlockingIOError:  # a million objects of which the program wrote nothing: the kernel takes a breath
                continue
            if not part:
                return
            yield part
    finally:
        os.close(reader)
