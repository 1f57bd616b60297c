"""Files that watched workloads open, and sockets in the file system that they connect to, of those whose paths somebody
asks for. Kernel half: file_open.bpf.c, a fragment of syscalls.bpf.c."""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.collectors import syscalls
from agent.security import buckets, processes
from agent.security.orders import Orders
from bpfleet import catalogue
from bpfleet.api import AnyOf, Channel, Collector, Event, Maps, RawTracepoint, Sample, SystemCall, TracingFunction
from bpfleet.events import SECURITY_FILE_OPEN, Attribute

CALLS: Final = ("", "open", "creat", "openat", "openat2", "io_uring", "connect")
"""`enum open_call` of file_open.bpf.c. io_uring is none, but a way to the same."""

FUNCTIONS: Final = ("do_filp_open", "do_file_open")
"""Of the kernel, through which all opens go. The second one is its name since 7.0."""

CONNECTS: Final = "unix_stream_connect"
"""Through which all connections to sockets of streams and sequenced packets go."""

UNKNOWN: Final = 1 << 31
"""RESULT_UNKNOWN: it was asked for."""

ACCESS: Final = ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE")
OPENS: Final = ("on_file_open_with_its_call", "on_file_open")
RUNS: Final = (*OPENS, "on_io_uring_request", "on_unix_connect")
LARGE_FILES: Final = {"x86_64": 0o100000, "aarch64": 0o400000}
"""O_LARGEFILE, which the kernel adds for 64-bit programs, and Python says is 0."""

FLAGS: Final = (
    *("O_CREAT", "O_EXCL", "O_NOCTTY", "O_TRUNC", "O_APPEND", "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_ASYNC"),
    *("O_DIRECT", "O_TMPFILE", "O_DIRECTORY", "O_NOFOLLOW", "O_NOATIME", "O_CLOEXEC", "O_PATH"),
)
"""What has two bits (O_SYNC, O_TMPFILE) before what is one of them."""

_RECORD: Final = struct.Struct("=qQQ")


class FileOpen(Collector):
    name = "file_open"
    program = "file_open.bpf.c"
    base = syscalls.SYSCALLS
    default = False
    probes = (
        AnyOf(
            (
                *(TracingFunction(opens, kernel_function=name) for opens in OPENS for name in FUNCTIONS),
                SystemCall("file_open_ended"),
            )
        ),
        AnyOf(
            (RawTracepoint("on_io_uring_request", tracepoint="io_uring_submit_req", beside="file_open_ended"),),
            optional=True,
        ),
        AnyOf(
            tuple(TracingFunction("on_unix_connect", kernel_function=CONNECTS, beside=opens) for opens in OPENS),
            optional=True,
        ),
        syscalls.leaving("file_open"),
    )
    metrics = (catalogue.SECURITY_SUPPRESSED,)
    channels = (Channel("file_open", lost=("rate_limit", "ring_full"), runs=RUNS),)
    event_names = (SECURITY_FILE_OPEN,)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return syscalls.defines(limits)

    def steer(self, maps: Maps, orders: Orders) -> int:
        """From now on these are watched, for these names, and no others. Returns how many found no room."""
        left_out = maps.replace("file_open_names", syscalls.names(orders.names.get(self.name, ())))
        return left_out + maps.replace("file_open_watches", orders.rows(self.name))

    def collect(self, maps: Maps) -> Iterator[Sample]:
        return buckets.suppressed(maps, self.name)

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("file_opens"):
            maps.deliver("file_open", 1)
            yield decode(record)


def decode(record: bytes) -> Event:
    """`struct file_open_record` of file_open.bpf.c. What is not known is left out. Raises ValueError where there is
    less than it says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    result, flags, call = _RECORD.unpack_from(record)
    told = processes.decode(record[_RECORD.size :])
    attributes: dict[str, Attribute] = told.attributes
    attributes.update(syscalls.path(told.parts))
    attributes["bpfleet.file.flags"] = named_flags(flags)
    attributes["bpfleet.file.is_write"] = is_write(flags)
    attributes.update(syscalls.call(CALLS, call))
    if result != UNKNOWN:
        attributes.update(syscalls.failure(result))
    return Event(SECURITY_FILE_OPEN, told.time_ns, told.cgroup_id, attributes)


def is_write(flags: int) -> bool:
    """Whether the file's contents can be changed by this: O_PATH opens for neither reading nor writing."""
    return not flags & os.O_PATH and bool(flags & os.O_ACCMODE or flags & os.O_TRUNC)


def named_flags(flags: int) -> str:
    """`O_WRONLY|O_CREAT`; what has no name by its number."""
    named = [ACCESS[flags & os.O_ACCMODE]]
    left = flags & ~os.O_ACCMODE & ~LARGE_FILES.get(os.uname().machine, 0)
    for name in FLAGS:
        value = getattr(os, name)
        if left & value == value:
            named.append(name)
            left &= ~value
    return "|".join([*named, *([f"{left:#o}"] if left else [])])
