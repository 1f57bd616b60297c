"""Processes of watched workloads that look into others. Kernel half: ptrace.bpf.c, a fragment of syscalls.bpf.c."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.collectors import syscalls
from agent.security import buckets, processes
from agent.security.orders import Orders
from bpfleet import catalogue
from bpfleet.api import AnyOf, Channel, Collector, Event, Maps, Sample, SystemCall
from bpfleet.events import SECURITY_PTRACE, Attribute

REQUESTS: Final = {0: "traceme", 16: "attach", 0x4206: "seize"}
"""uapi/linux/ptrace.h"""

_RECORD: Final = struct.Struct("=qQIII4x")


class Ptrace(Collector):
    name = "ptrace"
    program = "ptrace.bpf.c"
    base = syscalls.SYSCALLS
    default = False
    probes = (
        AnyOf((*syscalls.functions("on_ptrace", "ptrace"), SystemCall("ptrace_ended"))),
        AnyOf(syscalls.functions("on_compat_ptrace", "ptrace", compat=True, beside="on_ptrace"), optional=True),
        syscalls.leaving("ptrace"),
    )
    metrics = (catalogue.SECURITY_SUPPRESSED,)
    channels = (Channel("ptrace", lost=("rate_limit", "ring_full"), runs=("on_ptrace", "on_compat_ptrace")),)
    event_names = (SECURITY_PTRACE,)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return syscalls.defines(limits)

    def steer(self, maps: Maps, orders: Orders) -> int:
        """From now on these are watched and no others. Returns how many found no room."""
        return maps.replace("ptrace_watches", orders.rows(self.name))

    def collect(self, maps: Maps) -> Iterator[Sample]:
        return buckets.suppressed(maps, self.name)

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("ptraces"):
            maps.deliver("ptrace", 1)
            yield decode(record)


def decode(record: bytes) -> Event:
    """`struct ptrace_record` of ptrace.bpf.c. What is not known is left out. Raises ValueError where there is less than
    it says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    result, cgroup_id, request, pid, vpid = _RECORD.unpack_from(record)
    told = processes.decode(record[_RECORD.size :])
    attributes: dict[str, Attribute] = told.attributes
    attributes["bpfleet.ptrace.request"] = REQUESTS.get(request, f"unknown({request})")
    target = told.parts.get(processes.TARGET)
    if pid:
        attributes["bpfleet.ptrace.target.pid"] = pid
        attributes["bpfleet.ptrace.target.cgroup_id"] = cgroup_id
    if vpid:
        attributes["bpfleet.ptrace.target.vpid"] = vpid
    if target and target.texts:
        attributes["bpfleet.ptrace.target.name"] = target.text
    attributes.update(syscalls.failure(result))
    return Event(SECURITY_PTRACE, told.time_ns, told.cgroup_id, attributes)
