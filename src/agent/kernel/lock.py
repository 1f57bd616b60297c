"""One agent a node: two would count everything twice.

The lock is on the directory of the host's cgroup v2 root, which is the same for every container that sees it. It ends
with the process, however that ends.
"""

import fcntl
import os
from types import TracebackType
from typing import Self

from bpfleet.errors import HostError


class Lock:
    """A context, or held until close(). Raises HostError if somebody else holds it."""

    def __init__(self, cgroup_root: str) -> None:
        try:
            self._descriptor = os.open(cgroup_root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"{cgroup_root}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            if isinstance(error, BlockingIOError):
                raise HostError("another bpfleet agent runs on this node") from error
            raise HostError(f"{cgroup_root}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
