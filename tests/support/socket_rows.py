"""Rows of a socket walk as the kernel writes them: `struct socket_row` of bpf/sockets.bpf.c."""

import socket
import struct
from typing import Any

from agent.collectors.sockets import Row

TCP, UDP, MPTCP = 6, 17, 262
STREAM, DATAGRAM, RAW = 1, 2, 3
ESTABLISHED, UNCONNECTED, CLOSE_WAIT, LISTENING = 1, 7, 8, 10


def address(text: str) -> bytes:
    if ":" in text:
        return socket.inet_pton(socket.AF_INET6, text)
    return bytes(10) + b"\xff\xff" + socket.inet_aton(text)


def made(identity: int = 1, **members: Any) -> Row:
    """An established connection of cgroup 23 from 192.0.2.1:40000 to 192.0.2.2:443, but for what is given."""
    whole: dict[str, Any] = dict.fromkeys(Row._fields, 0)
    whole |= {"identity": identity, "inode": 1000 + identity, "cgroup_id": 23, "namespace": 4026531840}
    whole |= {"local": address("192.0.2.1"), "local_port": 40000, "remote": address("192.0.2.2"), "remote_port": 443}
    whole |= {
        "protocol": TCP,
        "type": STREAM,
        "state": ESTABLISHED,
        "family": 2,
        "process": 7,
        "command": b"client".ljust(16, b"\0"),
    }
    whole |= {"congestion_window": 10, "receive_window": 65535, "send_window": 64256, "rtt_us": 1500}
    return Row(**whole | members)


def packed(*rows: Row) -> bytes:
    """The members one after the other, as a compiler for x86-64 and arm64 lays them out."""
    return b"".join(struct.pack("=6Q16s16s11I6H16s", *row) for row in rows)
