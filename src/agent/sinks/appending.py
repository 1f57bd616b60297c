"""Whole lines at the end of a file, of standard output or of a named pipe, as many as go in without waiting.

A pipe gets whole lines, also where others write to it (the agent's log, with `2>&1`): what is no longer than PIPE_BUF
is written at once or not at all (pipe(7)), and more is written only into an empty pipe. A file on a full disk is cut
back to its last whole line.
"""

import errno
import fcntl
import os
import select
import stat
import sys
import termios
from collections.abc import Sequence
from typing import Final

STANDARD_OUTPUT: Final = "-"
WAIT_SECONDS: Final = 0.5
"""For a reader to make room: shorter than a sink may take to answer."""

PIPE_BUF: Final = select.PIPE_BUF
FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
MODE: Final = 0o640
"""Events hold addresses and names: not for everybody on the machine."""


class Appending:
    """path: a file, or `-`. It is opened when there is something to write, and again after a failure, or when the file
    was moved or removed, as logrotate does."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self._kind = 0
        self._begun = 0  # bytes of the first line that are out already

    def append(self, lines: Sequence[bytes]) -> int:
        """How many of the lines, from the first on, are out; the rest is to be given again. Raises OSError: then no
        part of these lines is out, but what a pipe has taken of a very long one."""
        try:
            if self._descriptor >= 0 and self._is_gone():
                self.close()
            if self._descriptor < 0:
                self._open()
            return self._append(lines)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Of a line that has begun nothing stays in a file."""
        if self._descriptor < 0:
            return
        try:
            self._cut_back()
        finally:
            os.close(self._descriptor)
            self._descriptor, self._begun = -1, 0

    def _open(self) -> None:
        if self._path == STANDARD_OUTPUT:
            self._descriptor = _standard_output()
        else:
            self._descriptor = os.open(self._path, FLAGS | os.O_CREAT, MODE)
        self._kind = stat.S_IFMT(os.fstat(self._descriptor).st_mode)

    def _is_gone(self) -> bool:
        """Whether the path is of another file by now, or of none."""
        if self._path == STANDARD_OUTPUT or self._kind != stat.S_IFREG:
            return False
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return True

    def _append(self, lines: Sequence[bytes]) -> int:
        if not self._ready():
            return 0
        chunk = self._chunk(lines)
        try:
            written = os.write(self._descriptor, chunk)
        except BlockingIOError:
            self._ready(WAIT_SECONDS)
            return 0
        return self._whole(lines, self._begun + written)

    def _ready(self, seconds: float = 0.0) -> bool:
        """Where our descriptor does not wait by itself there is no need to ask first."""
        if not seconds and not os.get_blocking(self._descriptor):
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll((seconds or WAIT_SECONDS) * 1000))

    def _chunk(self, lines: Sequence[bytes]) -> bytes:
        room, size, count = self._room(), 0, 0
        for line in lines:
            if count and size + len(line) - self._begun > room:
                break
            size, count = size + len(line), count + 1
        return b"".join(lines[:count])[self._begun : self._begun + room]

    def _room(self) -> int:
        """Bytes that go in at once."""
        if self._kind == stat.S_IFREG:
            return sys.maxsize
        if self._kind == stat.S_IFIFO and not os.get_blocking(self._descriptor):
            unread = int.from_bytes(fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)), sys.byteorder)
            return PIPE_BUF if unread else fcntl.fcntl(self._descriptor, fcntl.F_GETPIPE_SZ)
        return PIPE_BUF

    def _whole(self, lines: Sequence[bytes], size: int) -> int:
        """Lines that are out by now."""
        count = 0
        for line in lines:
            if len(line) > size:
                break
            size, count = size - len(line), count + 1
        self._begun = size
        return count

    def _cut_back(self) -> None:
        """Unless somebody else has written behind it."""
        if self._begun and self._kind == stat.S_IFREG:
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if end == os.fstat(self._descriptor).st_size:
                os.ftruncate(self._descriptor, end - self._begun)
                os.lseek(self._descriptor, end - self._begun, os.SEEK_SET)  # it may be shared with the log


def _standard_output() -> int:
    """A way to it that does not wait, if there is one, and leaves it as it is for others who have it. A file's place is
    shared with them, so that nobody overwrites anybody."""
    if sys.__stdout__ is None:
        raise OSError(errno.EBADF, "standard output is closed")
    if not stat.S_ISREG(os.fstat(1).st_mode):
        try:
            return os.open("/proc/self/fd/1", FLAGS & ~os.O_APPEND)
        except OSError:  # a socket; a terminal of somebody else's; a pipe that nobody reads, which writing tells
            pass
    return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
