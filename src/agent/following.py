"""What files stand for, read again when they change.

Kubernetes replaces a secret by swapping a symbolic link, tools like certbot write new files: both change what stat(2)
says. Files that cannot be used change nothing: the last good value stays, the log and the state say why.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from bpfleet.errors import SettingsError

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 1.0
"""The files are looked at when they are needed, at most this often: two calls of stat(2)."""


class State(NamedTuple):
    """problem: why the files are not what is in use; empty when they are."""

    files: tuple[str, ...]
    problem: str


class Credential(Generic[T]):
    """What a set of files stands for. read: raises SettingsError for files that cannot be used, and then so does this.
    clock: monotonic seconds."""

    def __init__(
        self, name: str, files: Sequence[Path], read: Callable[[], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._files, self._read, self._clock = tuple(files), read, clock
        self._lock = threading.Lock()
        self._problem = ""
        self._looked, self._stamps = clock(), self._stamp()
        self._value = read()

    def value(self) -> T:
        """The newest good one. Used from any thread."""
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
            return self._value

    def refresh(self) -> None:
        """Looks now. Raises SettingsError where the files cannot be used; the last good value stays."""
        with self._lock:
            self._look()
            if self._problem:
                raise SettingsError(self._problem)

    def state(self) -> State:
        self.value()
        return State(tuple(map(str, self._files)), self._problem)

    def _look(self) -> None:
        """Files that could not be used are read each time: one may be half written, and change within one tick of the
        file system's clock."""
        self._looked = self._clock()
        stamps = self._stamp()  # before reading: what changes meanwhile is seen the next time
        if stamps == self._stamps and not self._problem:
            return
        try:
            self._value = self._read()
        except SettingsError as error:
            if str(error) != self._problem:
                log.error("the %s stays the last good one: %s", self.name, error)
            self._problem = str(error)
        else:
            log.info("the %s is a new one", self.name)
            self._problem = ""
        self._stamps = stamps

    def _stamp(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(map(stamp, self._files))


def stamp(file: Path) -> tuple[int, ...] | None:
    """Changes with the file, also where a symbolic link on the way to it does."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
