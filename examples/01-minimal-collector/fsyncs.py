"""How often does each workload have files written to disk (fsync)? Kernel half: fsyncs.bpf.c."""

import os
import struct
from collections.abc import Iterator, Mapping

from bpfleet.api import Channel, Collector, Counter, Maps, RawTracepoint, Sample

FSYNCS = Counter("disk.fsyncs", "Calls of fsync() that the workload made.", unit="{call}")

NUMBERS = {"x86_64": 74, "aarch64": 82}
"""Of the system call fsync (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""

KEY = struct.Struct("=Q")


class Fsyncs(Collector):
    name = "fsyncs"
    program = "fsyncs.bpf.c"
    probes = (RawTracepoint("on_system_call", tracepoint="sys_enter"),)
    metrics = (FSYNCS,)
    channels = (Channel("fsyncs", lost=("map_full",)),)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {"FSYNC": str(NUMBERS[os.uname().machine]), "MAX_CGROUPS": str(limits["cgroups"])}

    def collect(self, maps: Maps) -> Iterator[Sample]:
        for key, (calls,) in maps.growth("fsyncs"):
            (cgroup_id,) = KEY.unpack(key)
            maps.deliver("fsyncs", calls)
            yield Sample(FSYNCS, calls, cgroup_id)
