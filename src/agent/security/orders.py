"""Who is watched, and for what? From the policies to the kernel's maps: computed once a drain, before anything is read.

Collectors that take orders have `steer(maps, orders)`; see Watching.

A container's first execs come before anybody has told whose its cgroup is, and one that dies at once may be gone by
then. So cgroups that nobody knows yet are watched, too (OTHERS), as long as some policy is in force; those that are
known and that no policy wants say so (OFF). What was told of a cgroup that turns out to be unwatched is dropped when
its owner is known.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, runtime_checkable

from bpfleet.api import Maps

WATCH: Final = ("off", "annotated", "all")
"""`security.watch`: nobody, who asks for it, everybody."""

OTHERS: Final = 0
"""In the place of a cgroup's id: all that have no row of their own. Without such a row they are not watched."""

NO_GROUP: Final = 0
"""Of cgroups whose every destination is told. Groups with a list of what is allowed are numbered from 1."""

EVERY_PATH: Final = b""
"""Among the names of a collector: every path is told, for some pattern has no literal part."""

SECOND_NS: Final = 1_000_000_000

_CGROUP: Final = struct.Struct("=Q")


class Watch(NamedTuple):
    """Of one cgroup. per_second, burst: of the kernel's token bucket, which each cgroup has for itself. group: cgroups
    with the same list of allowed destinations share one."""

    per_second: int
    burst: int
    group: int = NO_GROUP

    @property
    def row(self) -> tuple[int, int, int]:
        """Nanoseconds between two tokens, those of a full bucket, the group. An interval of 0: not watched."""
        if not self.per_second:
            return 0, 0, 0
        interval_ns = SECOND_NS // self.per_second
        return interval_ns, interval_ns * self.burst, self.group


OFF: Final = Watch(0, 0)
"""Of a cgroup that is known, and not watched: the kernel leaves at once."""


@dataclass(frozen=True)
class Orders:
    """watches: by collector's name, by cgroup id or OTHERS. names: by collector's name, components of paths; a path is
    told if any of its components is one of them, every path for EVERY_PATH. allowed: by group, addresses of 16 bytes
    (IPv4 mapped) with a prefix's length of 0 to 128, which the kernel does not tell of."""

    watches: Mapping[str, Mapping[int, Watch]] = field(default_factory=dict)
    names: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    allowed: Mapping[int, frozenset[tuple[bytes, int]]] = field(default_factory=dict)

    def rows(self, collector: str) -> dict[bytes, tuple[int, ...]]:
        """What `<collector>_watches` has to hold. OTHERS comes first: it never finds no room."""
        watches = self.watches.get(collector, {})
        return {_CGROUP.pack(cgroup_id): watches[cgroup_id].row for cgroup_id in sorted(watches)}


@runtime_checkable
class Watching(Protocol):
    """A collector that takes orders."""

    def steer(self, maps: Maps, orders: Orders) -> int:
        """Watch these from now on. Returns how many rows found no room."""
