"""One agent a node: two would both be right, and every sum over the node would be twice the truth."""

import fcntl
import os
from types import TracebackType
from typing import Self

from bpfleet.errors import HostError


class Lock:
    """A context that holds an exclusive lock on the root of the cgroup v2 hierarchy: the same directory in every
    container that sees the host's, and free again when its holder dies. Raises HostError if another agent has it."""

    def __init__(self, cgroup_root: str) -> None:
        self._root = cgroup_root

    def __enter__(self) -> Self:
        try:
            self._directory = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"cannot open {self._root}: {error.strerror}") from error
        try:
            fcntl.flock(self._directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._directory)
            raise HostError(f"another bpfleet agent runs on this node: it holds the lock on {self._root}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._directory)
