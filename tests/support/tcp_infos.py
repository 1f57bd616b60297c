"""TCP_INFO of a socket that another process holds: what ss of this distribution does not print (rcv_wnd)."""

import contextlib
import ctypes
import os
import platform
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

PIDFD_GETFD = {"x86_64": 438, "aarch64": 438}
RECEIVE_WINDOW_OFFSET = 232
"""Of tcpi_rcv_wnd in struct tcp_info (include/uapi/linux/tcp.h, since 6.2)."""

INFO_BYTES = 512


def receive_window(process: int, inode: int) -> int:
    """Raises LookupError where the process does not hold the socket."""
    with _borrowed(process, inode) as borrowed:
        info = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, INFO_BYTES)
    (window,) = struct.unpack_from("=I", info, RECEIVE_WINDOW_OFFSET)
    return int(window)


@contextlib.contextmanager
def _borrowed(process: int, inode: int) -> Iterator[socket.socket]:
    handle = os.pidfd_open(process)
    try:
        number = ctypes.CDLL(None, use_errno=True).syscall(
            PIDFD_GETFD[platform.machine()], handle, _descriptor(process, inode), 0
        )
        if number < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")
    finally:
        os.close(handle)
    with socket.socket(fileno=number) as borrowed:
        yield borrowed


def _descriptor(process: int, inode: int) -> int:
    for link in Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(OSError):
            if re.fullmatch(rf"socket:\[{inode}\]", os.readlink(link)):
                return int(link.name)
    raise LookupError(f"process {process} does not hold socket {inode}")
