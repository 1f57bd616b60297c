"""Orders: which cgroups' security events are told, and which of those."""

from collections.abc import Mapping
from typing import NamedTuple


class Watch(NamedTuple):
    """Of one cgroup; one without is not watched, and costs a look-up in a hash.

    per_second, burst: tokens of the kernel's bucket. group: cgroups with the same egress allow-list share one."""

    per_second: int
    burst: int
    group: int = 0


class Orders(NamedTuple):
    """watches: by collector name, by cgroup id. names: by collector (file_open, chmod), literal path components: a path
    is told if any of its components is one of them; where b"" is one, every path is told. allowed: of egress, by group:
    addresses of 16 bytes (IPv4 mapped) and prefix lengths from 0 to 128."""

    watches: Mapping[str, Mapping[int, Watch]]
    names: Mapping[str, frozenset[bytes]]
    allowed: Mapping[int, frozenset[tuple[bytes, int]]]
