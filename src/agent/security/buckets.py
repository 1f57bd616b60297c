"""The kernel's token buckets: one a collector and watched cgroup (`struct security_watch` of process.h)."""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.security.orders import Watch
from bpfleet import catalogue
from bpfleet.api import Maps, Sample

NANOSECONDS: Final = 1_000_000_000

_CGROUP: Final = struct.Struct("=Q")


def rows(watches: Mapping[int, Watch]) -> dict[bytes, tuple[int, ...]]:
    """As `<collector>_watches` has them: Maps.replace writes those alone that have changed, and a bucket whose watch
    has changed is full again."""
    return {_CGROUP.pack(cgroup_id): row(watch) for cgroup_id, watch in watches.items()}


def row(watch: Watch) -> tuple[int, int, int, int]:
    """interval_ns, burst_ns, group, arrival_ns. Less than one a second or at once there is not: who shall say nothing
    is not watched."""
    interval_ns = max(NANOSECONDS // max(watch.per_second, 1), 1)
    return interval_ns, interval_ns * max(watch.burst, 1), watch.group, 0


def suppressed(maps: Maps, collector: str) -> Iterator[Sample]:
    """What the buckets have refused since the last look, by whose it was."""
    for key, (count,) in maps.growth(f"{collector}_suppressed"):
        (cgroup_id,) = _CGROUP.unpack(key)
        yield Sample(catalogue.SECURITY_SUPPRESSED, count, cgroup_id, (collector,))
