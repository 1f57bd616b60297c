"""The kernel's own type information, read as it stands in /sys/kernel/btf/vmlinux.

Format: https://docs.kernel.org/bpf/btf.html. Types are decoded one by one when somebody asks, because a kernel has
150,000 of them and a header needs a few hundred.
"""

import struct
from array import array
from collections.abc import Collection
from typing import NamedTuple

MAGIC = 0xEB9F
VMLINUX = "/sys/kernel/btf/vmlinux"

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)
ENUMS = (ENUM, ENUM64)
RECORDS = (STRUCT, UNION)
QUALIFIERS = (VOLATILE, CONST, RESTRICT, TYPE_TAG)

# What follows the three words that every type has: a fixed number of words, and a number of words per member.
_FIXED = {INT: 1, ARRAY: 3, VAR: 1, DECL_TAG: 1}
_PER_MEMBER = {STRUCT: 3, UNION: 3, ENUM: 2, FUNC_PROTO: 2, DATASEC: 3, ENUM64: 3}
_SIZES = tuple((3 + _FIXED.get(kind, 0), _PER_MEMBER.get(kind, 0)) for kind in range(32))


def key_and_value(size: int) -> bytes:
    """Types for a map that has to have some: 1 is an int, the key; 2 a structure of that size, the value."""
    types = struct.pack("=7I", 1, INT << 24, 4, 1 << 24 | 32, 0, STRUCT << 24, size)  # a signed int of 32 bits
    names = b"\0int\0"
    return struct.pack("=HBBIIIII", MAGIC, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names


class Type(NamedTuple):
    """One type. size_or_type: size in bytes, or the id of the type that this one refers to."""

    kind: int
    name: str
    members: int
    flag: bool
    size_or_type: int


class Member(NamedTuple):
    """offset and bits in bits; bits is 0 for what is not a bit-field."""

    name: str
    type: int
    offset: int
    bits: int


class Btf:
    """Raises ValueError if `data` is not BTF of this machine's byte order."""

    def __init__(self, data: bytes) -> None:
        try:
            magic, _, _, header, types, types_size, strings, strings_size = struct.unpack_from("=HBBIIIII", data)
        except struct.error as error:
            raise ValueError("BTF is cut short") from error
        if magic != MAGIC:
            raise ValueError(f"BTF has magic {magic:#x} instead of {MAGIC:#x}")
        types, strings = header + types, header + strings
        if types_size % 4 or max(types + types_size, strings + strings_size) > len(data):
            raise ValueError("BTF is cut short")
        self._words = memoryview(data)[types : types + types_size].cast("I")
        self._strings = data[strings : strings + strings_size]
        self._starts = self._index()

    def _index(self) -> "array[int]":
        """The word at which each type starts, by its id; id 0 is void."""
        words, end, position = self._words, len(self._words), 0
        starts = array("I", [0])
        append = starts.append
        sizes = _SIZES
        while position < end:
            append(position)
            info = words[position + 1]
            fixed, per_member = sizes[info >> 24 & 31]
            position += fixed + per_member * (info & 0xFFFF)
        return starts

    def __len__(self) -> int:
        return len(self._starts)

    def _text(self, offset: int) -> str:
        return self._strings[offset : self._strings.index(b"\0", offset)].decode(errors="replace")

    def type(self, number: int) -> Type:
        if number == 0:
            return Type(0, "void", 0, False, 0)
        name, info, size_or_type = self._words[self._starts[number] : self._starts[number] + 3]
        return Type(info >> 24 & 31, self._text(name), info & 0xFFFF, bool(info >> 31), size_or_type)

    def members(self, number: int) -> list[Member]:
        """Of a struct or union, in the kernel's order."""
        kind = self.type(number)
        start = self._starts[number] + 3
        rows = self._words[start : start + 3 * kind.members].tolist()
        found = []
        for name, member, offset in zip(rows[0::3], rows[1::3], rows[2::3], strict=True):
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if kind.flag else (0, offset)
            found.append(Member(self._text(name), member, offset, bits))
        return found

    def values(self, number: int) -> list[tuple[str, int]]:
        """Of an enumeration; negative where the enumeration is signed."""
        kind = self.type(number)
        start = self._starts[number] + 3
        width = _PER_MEMBER[kind.kind]
        rows = self._words[start : start + width * kind.members].tolist()
        low = rows[1::width]
        high = rows[2::width] if width == 3 else [0] * kind.members
        bits = 64 if width == 3 else 32
        found = []
        for name, a, b in zip(rows[0::width], low, high, strict=True):
            value = a | b << 32
            found.append((self._text(name), value - (1 << bits) if kind.flag and value >> (bits - 1) else value))
        return found

    def array(self, number: int) -> tuple[int, int]:
        """Element type and number of elements."""
        start = self._starts[number] + 3
        return self._words[start], self._words[start + 2]

    def plain(self, number: int) -> int:
        """The type behind const, volatile, restrict and tags."""
        while number and (kind := self.type(number)).kind in QUALIFIERS:
            number = kind.size_or_type
        return number

    def resolved(self, number: int) -> int:
        """The type behind qualifiers and typedefs."""
        while (kind := self.type(number)).kind in (*QUALIFIERS, TYPEDEF):
            number = kind.size_or_type
        return number

    def find(self, names: Collection[str], kinds: Collection[int]) -> dict[str, int]:
        """The first type of each name among these kinds."""
        offsets = self._offsets(names)
        words = self._words
        found: dict[str, int] = {}
        for number, start in enumerate(self._starts):
            name = words[start]
            if name in offsets and number and words[start + 1] >> 24 & 31 in kinds:
                found.setdefault(offsets[name], number)
        return found

    def enumerations(self, names: Collection[str]) -> list[int]:
        """The enumerations that have an enumerator of one of these names."""
        offsets = self._offsets(names)
        words = self._words
        found: list[int] = []
        for number, start in enumerate(self._starts):
            kind = words[start + 1] >> 24 & 31
            if kind in ENUMS and number:
                width = _PER_MEMBER[kind]
                end = start + 3 + width * (words[start + 1] & 0xFFFF)
                if not offsets.keys().isdisjoint(words[start + 3 : end : width].tolist()):
                    found.append(number)
        return found

    def _offsets(self, names: Collection[str]) -> dict[int, str]:
        """Where in the string section these names stand: each stands there once."""
        wanted = {name.encode(): name for name in names if name}
        found: dict[int, str] = {}
        offset = 0
        for text in self._strings.split(b"\0"):
            if text in wanted:
                found[offset] = wanted[text]
            offset += len(text) + 1
        return found
