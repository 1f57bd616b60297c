"""Who did it: `struct process_record` of process.h, as attributes. Bytes in, values out.

A record has fixed members, then parts: a byte that says which one, texts that each end with a zero byte, a zero byte.
A path is its names from the last one on."""

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from bpfleet.events import Attribute

EXECUTABLE, ANCESTORS, SCRIPT, INTERPRETER, DIRECTORY, FILE, GIVEN, TARGET = range(1, 9)
"""PART_* of process.h"""

CUT, BROKEN = 0x40, 0x80
"""PART_CUT, PART_BROKEN"""

IS_INIT, IS_ENTERED, IS_IN_MEMORY, IS_DELETED, HAS_MORE_ANCESTORS = 1, 2, 4, 8, 16
"""PROCESS_* of process.h"""

FLAGS: Final = (
    (IS_INIT, "bpfleet.process.is_init"),
    (IS_ENTERED, "bpfleet.process.is_entered"),
    (IS_IN_MEMORY, "bpfleet.process.is_in_memory"),
    (IS_DELETED, "bpfleet.process.is_deleted"),
)

LEFT_OUT: Final = "..."
"""In the place of directories or ancestors that are not told."""

_RECORD: Final = struct.Struct("=QQIIIIII")


class Part(NamedTuple):
    """texts: as they are, none of them empty. is_cut: of a path the middle is left out, of a text its end. is_broken:
    of a path the beginning is left out."""

    texts: tuple[bytes, ...]
    is_cut: bool = False
    is_broken: bool = False

    @property
    def text(self) -> str:
        """Of a part of one text; empty where it could not be read."""
        return text(self.texts[0]) if self.texts else ""

    @property
    def path(self) -> str:
        """`/a/b/c`; `/a/.../c` where its middle is left out; `.../b/c` where its beginning is."""
        names = [text(each) for each in reversed(self.texts)]
        if self.is_cut and names:
            names.insert(1, LEFT_OUT)
        return (f"{LEFT_OUT}/" if self.is_broken else "/") + "/".join(names)


class Told(NamedTuple):
    """uid, pid ...: as the kernel has them. parts: by kind. rest: what follows them."""

    time_ns: int
    cgroup_id: int
    pid: int
    vpid: int
    parent_pid: int
    uid: int
    flags: int
    parts: Mapping[int, Part]
    rest: bytes

    @property
    def attributes(self) -> dict[str, Attribute]:
        """What every event says of its process. What is not known is left out."""
        found: dict[str, Attribute] = {
            "process.pid": self.pid,
            "process.vpid": self.vpid,
            "process.parent_pid": self.parent_pid,
            "process.user.id": self.uid,
        }
        executable = self.parts.get(EXECUTABLE)
        if executable and executable.texts:
            found["process.executable.path"] = executable.path
            found["process.executable.name"] = executable.text
        names = [text(each) for each in self.parts[ANCESTORS].texts] if ANCESTORS in self.parts else []
        if names:
            found["bpfleet.process.parent.name"] = names[0]
            more = [LEFT_OUT] if self.flags & HAS_MORE_ANCESTORS else []
            found["bpfleet.process.ancestors"] = " < ".join([*names, *more])
        found.update((name, True) for flag, name in FLAGS if self.flags & flag)
        return found


def decode(record: bytes) -> Told:
    """Raises ValueError where there is less than it says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a process of {len(record)} bytes")
    *members, flags, length = _RECORD.unpack_from(record)
    end = _RECORD.size + length
    if len(record) < end:
        raise ValueError(f"a process with {len(record) - _RECORD.size} of {length} bytes")
    time_ns, cgroup_id, pid, vpid, parent_pid, uid = members
    parts = _parts(record[_RECORD.size : end])
    return Told(time_ns, cgroup_id, pid, vpid, parent_pid, uid, flags, parts, record[end:])


def _parts(data: bytes) -> dict[int, Part]:
    """Each kind once: the first. An end that is missing is where the data end."""
    found: dict[int, Part] = {}
    at = 0
    while at < len(data):
        kind = data[at]
        texts, at = _texts(data, at + 1)
        part = Part(texts, bool(kind & CUT), bool(kind & BROKEN))
        found.setdefault(kind & ~(CUT | BROKEN), part)
    return found


def _texts(data: bytes, at: int) -> tuple[tuple[bytes, ...], int]:
    """And where the next part begins."""
    texts = []
    while at < len(data) and data[at]:
        end = data.find(b"\0", at)
        end = len(data) if end < 0 else end
        texts.append(data[at:end])
        at = end + 1
    return tuple(texts), at + 1


def text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
