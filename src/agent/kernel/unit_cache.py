"""Compiled units in a directory, found by what they are the result of. What is read here runs in the kernel.

So a file counts only if nobody but this user could have written it, and if it is whole; else it is compiled anew. A
directory that others can write is refused. What cannot be written is no error.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.kernel import compiled
from agent.kernel.compiled import Compiled
from agent.kernel.failure import Failure
from agent.kernel.headers import PROGRAMS

MAX_CACHE_BYTES = 32 << 20
"""Of all files: the default collectors' take 70 KB, so this holds some hundred sets, kernels and releases."""

SUFFIX = ".unit"
OTHERS_WRITE = 0o022


def key(facts: Iterable[bytes], text: str) -> str:
    """Names a unit. facts: everything beside the text that decides what a compiler makes of it."""
    digest = hashlib.sha256()
    for part in (compiled.FORMAT, *facts, text.encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def identity(path: Path) -> list[Any]:
    """Of a file of the compiler. Its contents are 200 MB, and packages keep the time of their files."""
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


class UnitCache:
    """directory: as the settings name it. Raises Failure where others could write there."""

    def __init__(self, directory: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._folder = directory / PROGRAMS
        self._max_bytes = max_bytes
        for place in (directory, self._folder):
            with suppress(OSError):  # where there is nothing, nothing is found
                status = place.lstat() if place == self._folder else place.stat()
                if not stat.S_ISDIR(status.st_mode) or not _only_ours(status):
                    raise Failure(f"cache {place}: must be a directory of this user that nobody else can write")

    def find(self, name: str) -> Compiled | None:
        """None if it is not there, is damaged, may be of somebody else or came from another compiler."""
        try:
            found = compiled.decode(self._read(name), name)
            if any(identity(Path(path)) != [path, *rest] for path, *rest in found.compilers):
                return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        with suppress(OSError):
            os.utime(self._path(name))  # what is in use is not the oldest
        return found

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{SUFFIX}"

    def _read(self, name: str) -> bytes:
        descriptor = os.open(self._path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not _only_ours(status) or status.st_size > compiled.MAX_BYTES:
                raise ValueError("not a file of this user's own")
            return stream.read()

    def store(self, name: str, unit: Compiled) -> None:
        """Whole or not at all."""
        partial = self._folder / f"{name}.{os.getpid()}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(partial, flags, 0o600), "wb") as stream:
                stream.write(unit.encode(name))
            partial.rename(self._path(name))
            self._bound()
        except OSError:
            with suppress(OSError):
                partial.unlink()

    def remove(self, name: str) -> None:
        with suppress(OSError):
            self._path(name).unlink()

    def _bound(self) -> None:
        """The oldest go; so do the parts that killed loaders left."""
        files = sorted(((path.lstat(), path) for path in self._folder.iterdir()), key=_newest_first)
        total = 0
        for status, path in files:
            total += status.st_size
            if total > self._max_bytes:
                path.unlink()


def _only_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & OTHERS_WRITE


def _newest_first(file: Sequence[Any]) -> int:
    return -int(file[0].st_mtime_ns)
