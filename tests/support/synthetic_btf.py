"""BTF written by hand: a small kernel for tests of what reads it. https://docs.kernel.org/bpf/btf.html"""

import struct

from agent.kernel import btf

Fields = list[tuple[str, int, int] | tuple[str, int, int, int]]


class SyntheticBtf:
    """Each method adds a type and returns its id; ids count from 1."""

    def __init__(self) -> None:
        self._types = b""
        self._strings = b"\0"
        self._offsets: dict[str, int] = {"": 0}
        self._count = 0

    def data(self) -> bytes:
        header = struct.pack(
            "=HBBIIIII", btf.MAGIC, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings)
        )
        return header + self._types + self._strings

    def btf(self) -> btf.Btf:
        return btf.Btf(self.data())

    def integer(self, name: str, size: int) -> int:
        return self._add(btf.INT, name, size, extra=struct.pack("=I", 8 * size))

    def pointer(self, target: int) -> int:
        return self._add(btf.PTR, "", target)

    def array(self, element: int, length: int) -> int:
        return self._add(btf.ARRAY, "", 0, extra=struct.pack("=III", element, element, length))

    def struct(self, name: str, size: int, fields: Fields) -> int:
        """fields: name, type, offset in bits, and the width of a bit-field."""
        return self._record(btf.STRUCT, name, size, fields)

    def union(self, name: str, size: int, fields: Fields) -> int:
        return self._record(btf.UNION, name, size, fields)

    def enumeration(self, name: str, values: dict[str, int], size: int = 4, signed: bool = False) -> int:
        rows = b"".join(
            struct.pack("=Ii" if signed else "=II", self._text(key), value) for key, value in values.items()
        )
        return self._add(btf.ENUM, name, size, len(values), signed, rows)

    def large_enumeration(self, name: str, values: dict[str, int]) -> int:
        rows = b"".join(
            struct.pack("=III", self._text(key), value & 0xFFFFFFFF, value >> 32) for key, value in values.items()
        )
        return self._add(btf.ENUM64, name, 8, len(values), False, rows)

    def forward(self, name: str, union: bool = False) -> int:
        return self._add(btf.FWD, name, 0, flag=union)

    def typedef(self, name: str, target: int) -> int:
        return self._add(btf.TYPEDEF, name, target)

    def const(self, target: int) -> int:
        return self._add(btf.CONST, "", target)

    def prototype(self, returned: int, *parameters: int) -> int:
        rows = b"".join(struct.pack("=II", 0, parameter) for parameter in parameters)
        return self._add(btf.FUNC_PROTO, "", returned, len(parameters), extra=rows)

    def function(self, name: str, prototype: int) -> int:
        return self._add(btf.FUNC, name, prototype)

    def _record(self, kind: int, name: str, size: int, fields: Fields) -> int:
        flag = any(len(field) == 4 for field in fields)
        rows = b""
        for field in fields:
            bits = field[3] if len(field) == 4 else 0
            rows += struct.pack("=III", self._text(field[0]), field[1], bits << 24 | field[2])
        return self._add(kind, name, size, len(fields), flag, rows)

    def _add(
        self, kind: int, name: str, size_or_type: int, members: int = 0, flag: bool = False, extra: bytes = b""
    ) -> int:
        info = int(flag) << 31 | kind << 24 | members
        self._types += struct.pack("=III", self._text(name), info, size_or_type) + extra
        self._count += 1
        return self._count

    def _text(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self._strings)
            self._strings += name.encode() + b"\0"
        return self._offsets[name]
