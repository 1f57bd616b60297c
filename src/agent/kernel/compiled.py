"""A compiled unit as bytes: its functions' code and what its maps are, so that another start needs no compiler.

Code names a map by a descriptor, which is another one in each process: kept code has the map's number instead.
"""

import base64
import hashlib
import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FORMAT = b"bpfleet unit 1\n"
"""Begins a file; raised when this file writes units differently."""

MAX_BYTES = 16 << 20
"""Of a unit unpacked; the largest of our own has half a MB. What is over would be a damaged length."""

INSTRUCTION = struct.Struct("=BBhi")
WIDE_LOAD = 0x18
"""BPF_LD | BPF_IMM | BPF_DW: 64 bits in two instructions, whose source register says what they mean."""

PSEUDO_MAP_FD = 1
CALL, PSEUDO_CALL = 0x85, 1
DIGEST_BYTES = 32


@dataclass(frozen=True)
class MapDefinition:
    """What BPF_MAP_CREATE is asked for."""

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True)
class Compiled:
    """functions: their code, by name. rows: the maps as agent.kernel.maps.MapInfo has them, without descriptors; made:
    the same maps as the kernel has them. compilers: path, size and time of the files that compiled it. assertions: how
    many statements about the kernel's layout held. refused: functions that the verifier did not take even when they
    came from the compiler."""

    functions: Mapping[str, bytes]
    rows: Sequence[Mapping[str, Any]]
    made: Sequence[MapDefinition]
    compilers: Sequence[Sequence[Any]]
    assertions: int = 0
    refused: frozenset[str] = field(default_factory=frozenset)

    def encode(self, key: str) -> bytes:
        """key: what this unit is the result of; it stands in the bytes too."""
        body = {
            "key": key,
            "functions": {name: base64.b64encode(code).decode() for name, code in self.functions.items()},
            "rows": [dict(row) for row in self.rows],
            "made": [vars(each) for each in self.made],
            "compilers": [list(each) for each in self.compilers],
            "assertions": self.assertions,
            "refused": sorted(self.refused),
        }
        packed = zlib.compress(json.dumps(body).encode(), 1)
        return FORMAT + hashlib.sha256(packed).digest() + packed


def decode(data: bytes, key: str) -> Compiled:
    """Raises ValueError where it is not, byte for byte, what was written for this key."""
    start = len(FORMAT) + DIGEST_BYTES
    if not data.startswith(FORMAT) or hashlib.sha256(data[start:]).digest() != data[len(FORMAT) : start]:
        raise ValueError("damaged, or of another release")
    body = json.loads(_unpacked(data[start:]))
    if body["key"] != key:
        raise ValueError("of something else")
    return Compiled(
        {name: base64.b64decode(code, validate=True) for name, code in body["functions"].items()},
        body["rows"],
        [MapDefinition(**each) for each in body["made"]],
        body["compilers"],
        body["assertions"],
        frozenset(body["refused"]),
    )


def _unpacked(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    try:
        body = unpacking.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacking.eof:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    return body


def maps_of(code: bytes) -> set[int]:
    """Descriptors that BPF code names: loads of 64 bits whose source register says so (uapi/linux/bpf.h)."""
    return {
        value
        for operation, registers, _, value in INSTRUCTION.iter_unpack(code)
        if (operation, registers >> 4) == (WIDE_LOAD, PSEUDO_MAP_FD)
    }


def renamed(code: bytes, names: Mapping[int, int]) -> bytes:
    """The code with other numbers for its maps. Raises ValueError where it names anything that is of one process or
    kernel and no map: a function, a variable, a type."""
    instructions = []
    for operation, registers, offset, value in INSTRUCTION.iter_unpack(code):
        source = registers >> 4
        if operation == WIDE_LOAD and source == PSEUDO_MAP_FD:
            if value not in names:
                raise ValueError(f"there is no map {value}")
            value = names[value]
        elif (operation == WIDE_LOAD and source) or (operation == CALL and source):
            raise ValueError(f"it names what is no map (instruction {operation:#x}, source {source})")
        instructions.append(INSTRUCTION.pack(operation, registers, offset, value))
    return b"".join(instructions)


def numbered(functions: Mapping[str, bytes], descriptors: Iterable[int]) -> dict[str, bytes]:
    """For keeping: each map by its place among these. Raises ValueError."""
    names = {descriptor: number for number, descriptor in enumerate(descriptors)}
    return {function: renamed(code, names) for function, code in functions.items()}
