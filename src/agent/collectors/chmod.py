"""Modes of files that watched workloads change. Kernel half: chmod.bpf.c, a fragment of syscalls.bpf.c."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.collectors import syscalls
from agent.security import buckets, processes
from agent.security.orders import Orders
from bpfleet import catalogue
from bpfleet.api import AnyOf, Channel, Collector, Event, Maps, RawTracepoint, Sample, SystemCall, TracingFunction
from bpfleet.events import SECURITY_CHMOD, Attribute

CALLS: Final = ("", "chmod", "fchmod", "fchmodat", "fchmodat2")
"""`enum chmod_call` of chmod.bpf.c"""

FUNCTION: Final = "chmod_common"
"""Of the kernel, where all of them meet."""

ENDS: Final = ("on_chmod_ends_with_its_call", "on_chmod_ends")

UNKNOWN: Final = 0xFFFF
"""MODE_UNKNOWN"""

SETUID, SETGID = 0o4000, 0o2000

_RECORD: Final = struct.Struct("=qIHH")


class Chmod(Collector):
    name = "chmod"
    program = "chmod.bpf.c"
    base = syscalls.SYSCALLS
    default = False
    probes = (
        AnyOf((*(TracingFunction(each, kernel_function=FUNCTION) for each in ENDS), SystemCall("chmod_ended"))),
        AnyOf(
            (
                *(TracingFunction("on_chmod_begins", kernel_function=FUNCTION, at="entry", beside=end) for end in ENDS),
                RawTracepoint("on_fchmod", tracepoint="sys_enter", beside="chmod_ended"),
            ),
            optional=True,
        ),
        syscalls.leaving("chmod"),
    )
    metrics = (catalogue.SECURITY_SUPPRESSED,)
    channels = (Channel("chmod", lost=("rate_limit", "ring_full"), runs=ENDS),)
    event_names = (SECURITY_CHMOD,)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return syscalls.defines(limits)

    def steer(self, maps: Maps, orders: Orders) -> int:
        """From now on these are watched, for these names, and no others. Returns how many found no room."""
        left_out = maps.replace("chmod_names", syscalls.names(orders.names.get(self.name, ())))
        return left_out + maps.replace("chmod_watches", orders.rows(self.name))

    def collect(self, maps: Maps) -> Iterator[Sample]:
        return buckets.suppressed(maps, self.name)

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("chmods"):
            maps.deliver("chmod", 1)
            yield decode(record)


def decode(record: bytes) -> Event:
    """`struct chmod_record` of chmod.bpf.c. What is not known is left out. Raises ValueError where there is less
    than it says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    result, call, mode, old = _RECORD.unpack_from(record)
    told = processes.decode(record[_RECORD.size :])
    attributes: dict[str, Attribute] = told.attributes
    attributes.update(syscalls.path(told.parts))
    attributes["file.mode"] = f"{mode:04o}"
    if old != UNKNOWN:
        attributes["bpfleet.file.mode.old"] = f"{old:04o}"
    before = old if old != UNKNOWN else 0
    attributes["bpfleet.file.is_setuid"] = bool(mode & ~before & SETUID)
    attributes["bpfleet.file.is_setgid"] = bool(mode & ~before & SETGID)
    attributes.update(syscalls.call(CALLS, call))
    attributes.update(syscalls.failure(result))
    return Event(SECURITY_CHMOD, told.time_ns, told.cgroup_id, attributes)
