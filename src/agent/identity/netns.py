"""Whose is a network namespace? That of the one pod or workload to which all processes in it belong. The host's, one
that several share, and one without processes are the node's.

Which process lives where is told by a walk over all of them, because /proc shows other containers' namespaces only to
those who may trace them. A namespace's number is never given to a second one (net_cookie), so its last processes are
remembered for some time after their end. Before Linux 5.12 the number is that of an inode, which is: there only the
last walk counts.
"""

import os
import socket
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

WALK_SECONDS = 1.0
"""Who lives in a namespace may change, so each drain that asks causes one walk (2 us a process), at most this often."""

AUDIT_SECONDS = 10.0
"""Where nobody asks, all processes are walked this often, so that a pod is known that drops nothing until its end."""

KERNEL_THREAD = 2
"""The first of them, in every Linux: it lives in the host's network. Who does not see it sees only some processes."""

FIRST_INODE = 0xF0000000
"""Numbers from here on are those of inodes (PROC_DYNAMIC_FIRST in include/linux/proc_fs.h)."""

SO_NETNS_COOKIE = 71
"""include/uapi/asm-generic/socket.h; since Linux 5.14."""

MAX_REMEMBERED = 65536
"""Namespaces whose processes ended: a tenant may make them without end."""

NODE: frozenset[int] = frozenset()
"""The cgroups of a namespace that is nobody's own."""


class Process(Protocol):
    @property
    def namespace(self) -> int: ...
    @property
    def cgroup_id(self) -> int: ...
    @property
    def number(self) -> int: ...


Walk = Callable[[], Iterable[Process]]


class Gone(NamedTuple):
    cgroups: frozenset[int]
    since: float


def own() -> int:
    """The number of this process's own. Linux 5.12 and 5.13 do not tell: then it is one that no walk has."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            return int.from_bytes(asked.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), sys.byteorder)
    except OSError:
        return os.stat("/proc/self/ns/net").st_ino  # what a kernel without cookies goes by


class Namespaces:
    """Used from one thread. clock: monotonic seconds. own: the number of this process's namespace; where not all
    processes are seen, it may be the host's as well as its pod's, so it is nobody's."""

    def __init__(self, clock: Callable[[], float], keep_seconds: float = 300.0, own: int = 0) -> None:
        self._own = own
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._walk: Walk | None = None
        self._walked = self._asked = float("-inf")
        self._host = 0
        self._living: dict[int, frozenset[int]] = {}
        self._gone: dict[int, Gone] = {}
        self._is_fresh = False

    def follow(self, walk: Walk | None) -> None:
        """walk: all processes of now. Without one nothing is known of any namespace."""
        self._walk = walk
        self._walked = self._asked = float("-inf")

    def refresh(self) -> None:
        """Once before each drain: looks again where nobody asks; forgets what ended long ago."""
        now = self._clock()
        if self._walk and now - self._walked >= AUDIT_SECONDS:
            self._look(self._walk)
        self._is_fresh = False  # what is counted from now on may be of a namespace that is younger
        for number in [number for number, gone in self._gone.items() if now - gone.since > self._keep_seconds]:
            del self._gone[number]

    @property
    def is_whole(self) -> bool:
        """Whether all processes are seen, as of the last walk: only then is it known that a namespace has none."""
        return self._walk is not None and self._host != 0

    def cgroups(self, number: int) -> frozenset[int] | None:
        """The cgroups of all processes that live in it, or did at last; NODE where it is the host's or without
        processes. None: not known, or not yet."""
        if self._walk and self._clock() - self._asked >= WALK_SECONDS:
            self._asked = self._clock()
            self._look(self._walk)
            self._is_fresh = True
        if number == self._host:
            return NODE
        if number == self._own and not self.is_whole:
            return None
        if number in self._living:
            return self._living[number]
        if number in self._gone:
            return self._gone[number].cgroups
        return NODE if self._is_fresh and self.is_whole else None

    def _look(self, walk: Walk) -> None:
        now = self._walked = self._clock()
        found: dict[int, set[int]] = {}
        host = 0
        for process in walk():
            found.setdefault(process.namespace, set()).add(process.cgroup_id)
            if process.number == KERNEL_THREAD:
                host = process.namespace
        for number in self._living.keys() - found.keys():
            if number < FIRST_INODE and len(self._gone) < MAX_REMEMBERED:
                self._gone[number] = Gone(self._living[number], now)
        self._living = {number: frozenset(cgroups) for number, cgroups in found.items()}
        self._gone = {number: gone for number, gone in self._gone.items() if number not in found}
        self._host = host
