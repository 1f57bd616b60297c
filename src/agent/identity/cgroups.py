"""What is the path of a cgroup id?

An id is the inode number of the cgroup's directory under the v2 mount. The kernel tells of each one made and removed,
so that the name of a cgroup of 10 ms is known; directories are read for those that are older than the agent, and now
and then in case a message was lost. Paths of removed cgroups are kept, since their counts arrive later.
"""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

RESCAN_SECONDS = 1.0
"""An unknown id causes one reading of all directories (3 ms for 500), at most this often."""

AUDIT_SECONDS = 30.0
"""Without an unknown id all directories are read this often, so that a lost message does no lasting harm."""

MAX_CGROUPS = 65536
"""More living cgroups than this are not told apart by name (a tenant may make cgroups without end)."""

HIERARCHY_ROOT = 1
"""Inode number of the kernel's v2 root; a mount inside a cgroup namespace begins at another one."""


class CgroupTree:
    """Used from one thread. root: the v2 mount; clock: monotonic seconds."""

    def __init__(self, root: Path, clock: Callable[[], float], keep_seconds: float = 300.0) -> None:
        self._root = os.fsencode(root)
        self._clock = clock
        self.keep_seconds = keep_seconds
        self._paths: dict[int, str] = {}
        self._gone: dict[int, tuple[str, float]] = {}
        self._prefix = ""
        self._scanned = -RESCAN_SECONDS
        self._root_id = _inode(self._root)

    def made(self, cgroup_id: int, path: bytes | str) -> None:
        """A cgroup was made. path: from the root of the kernel's hierarchy."""
        name = self._local(cgroup_id, path if isinstance(path, str) else path.decode("utf-8", "backslashreplace"))
        if cgroup_id in self._paths or len(self._paths) < MAX_CGROUPS:
            self._paths[cgroup_id] = name
            self._gone.pop(cgroup_id, None)

    def removed(self, cgroup_id: int) -> None:
        path = self._paths.pop(cgroup_id, None)
        if path is not None:
            self._gone[cgroup_id] = (path, self._clock())

    def path(self, cgroup_id: int, scan: bool = True) -> str | None:
        """From the v2 mount on ("/" is the mount itself); None where nobody told and no directory has this id.
        scan: read the directories if need be."""
        if scan and self._known(cgroup_id) is None and self._clock() - self._scanned >= RESCAN_SECONDS:
            self.scan()
        return self._known(cgroup_id)

    def living(self) -> Collection[int]:
        return self._paths.keys()

    def refresh(self) -> None:
        """Forgets what ended long ago; reads the directories again when that is due."""
        now = self._clock()
        if now - self._scanned >= AUDIT_SECONDS:
            self.scan()
        old = [key for key, (_, since) in self._gone.items() if now - since > self.keep_seconds]
        for cgroup_id in old:
            del self._gone[cgroup_id]

    def scan(self) -> None:
        """Reads all directories. A cgroup that is not there any more has ended."""
        self._scanned = self._clock()
        found = dict(self._directories())
        for cgroup_id in self._paths.keys() - found.keys():
            self.removed(cgroup_id)
        for cgroup_id in found:
            self._gone.pop(cgroup_id, None)
        self._paths = found

    def _known(self, cgroup_id: int) -> str | None:
        return self._paths.get(cgroup_id) or self._gone.get(cgroup_id, (None, 0.0))[0]

    def _directories(self) -> Iterator[tuple[int, str]]:
        self._root_id = _inode(self._root)
        yield self._root_id, "/"
        pending, left = [self._root], MAX_CGROUPS
        while pending:
            for entry in _subdirectories(pending.pop()):
                left -= 1
                if left < 0:
                    return
                pending.append(entry.path)
                yield entry.inode(), entry.path[len(self._root) :].decode("utf-8", "backslashreplace")

    def _local(self, cgroup_id: int, path: str) -> str:
        """The path from our mount on. Where that is not the hierarchy's root, how much of the kernel's path to leave
        out is learned from the first cgroup that is found under a part of its path."""
        if self._root_id == HIERARCHY_ROOT:
            return path
        if not self._prefix:
            self._prefix = self._learned(cgroup_id, path)
        return path.removeprefix(self._prefix) if path.startswith(self._prefix + "/") else path

    def _learned(self, cgroup_id: int, path: str) -> str:
        start = path.find("/", 1)
        while start > 0:
            if _inode(self._root + os.fsencode(path[start:])) == cgroup_id:
                return path[:start]
            start = path.find("/", start + 1)
        return ""


def _subdirectories(path: bytes) -> list[os.DirEntry[bytes]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # removed since its parent was read
        return []


def _inode(path: bytes) -> int:
    try:
        return os.stat(path).st_ino
    except (OSError, ValueError):  # not there, or a name that no directory can have
        return -1
