"""A TCP connection to a server that may be anything: whatever it does or does not do, a call ends in time."""

import select
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress

ESTABLISHED = 1
"""tcpi_state of tcp(7), from enum tcp_state of the kernel."""

Deadline = Callable[[], float]
"""Seconds that are left. Raises TimeoutError where none are."""


def deadline(seconds: float, clock: Callable[[], float]) -> Deadline:
    end = clock() + seconds

    def left() -> float:
        seconds = end - clock()
        if seconds <= 0:
            raise TimeoutError("no answer in time")
        return seconds

    return left


def connect(host: str, port: int, context: ssl.SSLContext | None, left: Deadline) -> socket.socket:
    """With the handshake done. Raises OSError."""
    plain = socket.create_connection((host, port), left())
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context is None:
            return plain
        plain.settimeout(left())
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def is_stale(connection: socket.socket) -> bool:
    """Whether the other side has closed it, or says something that nobody has asked for."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it, whatever it has said before. For a protocol without answers: a TLS server
    sends session tickets that nobody reads."""
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != ESTABLISHED


def hang_up(connection: socket.socket | None) -> None:
    """Also where another thread waits for the other side: it waits no longer."""
    if connection:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
