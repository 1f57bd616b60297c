"""What the kernel's token buckets have refused."""

import struct
from collections.abc import Iterator
from typing import Final

from bpfleet import catalogue
from bpfleet.api import Maps, Sample

_CGROUP: Final = struct.Struct("=Q")


def suppressed(maps: Maps, collector: str) -> Iterator[Sample]:
    """Since the last look, by whose it was, of `<collector>_suppressed`."""
    for key, (count,) in maps.growth(f"{collector}_suppressed"):
        (cgroup_id,) = _CGROUP.unpack(key)
        yield Sample(catalogue.SECURITY_SUPPRESSED, count, cgroup_id, (collector,))
