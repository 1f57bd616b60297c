"""`struct process_record` of process.h, as the kernel would have made it."""

import struct
from collections.abc import Mapping, Sequence

from agent.security import processes

TIME_NS, CGROUP_ID, PID, VPID, PARENT_PID, UID = 1_009, 23, 4_001, 7, 4_000, 1_000

PARTS: Mapping[int, Sequence[bytes]] = {
    processes.EXECUTABLE: (b"dash", b"bin", b"usr"),
    processes.ANCESTORS: (b"nginx", b"containerd-shim", b"systemd"),
}


def part(kind: int, texts: Sequence[bytes]) -> bytes:
    return bytes((kind,)) + b"".join(text + b"\0" for text in texts) + b"\0"


def process(parts: Mapping[int, Sequence[bytes]] = PARTS, flags: int = 0) -> bytes:
    told = b"".join(part(kind, texts) for kind, texts in parts.items())
    return struct.pack("=QQIIIIII", TIME_NS, CGROUP_ID, PID, VPID, PARENT_PID, UID, flags, len(told)) + told
