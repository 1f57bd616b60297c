"""Names of cgroups as they are made, so that the ones that live for a moment are known. Kernel half: cgroups.bpf.c.

It yields no samples: what it sees goes to the identity."""

import struct
from collections.abc import Iterator

from bpfleet.api import CgroupChange, Channel, Collector, Maps, RawTracepoint

MAX_PATH_BYTES = 512
"""As in cgroups.bpf.c: a path of this length, its final zero included, was cut."""

_EVENT = struct.Struct(f"=QIi{MAX_PATH_BYTES}s")


class Cgroups(Collector):
    name = "cgroups"
    program = "cgroups.bpf.c"
    probes = (
        RawTracepoint("on_cgroup_made", tracepoint="cgroup_mkdir"),
        RawTracepoint("on_cgroup_removed", tracepoint="cgroup_rmdir"),
    )
    channels = (Channel("cgroup_events", lost=("ring_full",), runs=("on_cgroup_made", "on_cgroup_removed")),)

    def cgroups(self, maps: Maps) -> Iterator[CgroupChange]:
        for record in maps.records("cgroup_events"):
            cgroup_id, removed, length, path = _EVENT.unpack_from(record)
            maps.deliver("cgroup_events", 1)
            whole = 0 < length < MAX_PATH_BYTES
            yield CgroupChange(cgroup_id, bool(removed), path[: length - 1].decode(errors="replace") if whole else None)
