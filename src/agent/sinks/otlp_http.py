"""OTLP over HTTP with protobuf bodies: one connection, one request at a time.

https://opentelemetry.io/docs/specs/otlp/#otlphttp

http.client of the standard library, because it tells apart whether a request has left or not, which decides whether it
may be sent again; urllib3 and requests have one error for both. It costs nothing that the agent has not loaded.
"""

import gzip
import http.client
import io
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult

from agent.sinks import calling
from agent.sinks.otlp_answers import MAX_BYTES, accepted, inert, rejected, unanswered
from agent.sinks.trust import Trust
from bpfleet import __version__
from bpfleet.api import Unavailable, Written

PATH = "/v1/logs"
BUSY = (429, 502, 503, 504)
"""Statuses after which a request may be sent again."""

PORT = 4318
PROTOBUF = "application/x-protobuf"
COMPRESSION_LEVEL = 1
"""Six times smaller; the higher levels take three times as long for the last tenth."""


class Http:
    """clock: monotonic seconds. now: of the wall clock, for dates that a server names."""

    def __init__(
        self,
        endpoint: SplitResult,
        trust: Callable[[], Trust],
        compressed: bool,
        timeout_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

        self._answer: Any = logs_service_pb2.ExportLogsServiceResponse
        self._host, self._port = endpoint.hostname or "", endpoint.port or PORT
        self._path = endpoint.path.rstrip("/") + PATH
        self._trust, self._compressed, self._seconds = trust, compressed, timeout_seconds
        self._clock, self._now = clock, now
        self._shown: Trust | None = None
        self._socket: socket.socket | None = None

    def send(self, request: Any, events: int) -> Written:
        body = request.SerializeToString()
        if self._compressed:
            body = gzip.compress(body, COMPRESSION_LEVEL, mtime=0)
        left = calling.deadline(self._seconds, self._clock)
        connection = self._hand_over(body, left)
        try:
            response = connection.getresponse()
            content = response.read(MAX_BYTES)
            if not response.isclosed():  # it ends where the connection does, or not at all
                response.read(1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            return unanswered(events, f"no answer: {error or type(error).__name__}")
        if response.will_close or not response.isclosed() or response.length:
            self.close()
        return self._read(response, content, events)

    def close(self) -> None:
        calling.hang_up(self._socket)
        self._socket = None

    def _hand_over(self, body: bytes, left: calling.Deadline) -> http.client.HTTPConnection:
        """Raises Unavailable: then the server has not got the whole of it, and cannot have taken it."""
        try:
            found = self._connected(left)
            found.settimeout(left())
            connection = http.client.HTTPConnection(self._host, self._port)
            connection.auto_open = 0
            connection.sock = _Limited(found, left)
            connection.request("POST", self._path, body, self._headers())
        except OSError as error:
            self.close()
            raise Unavailable(f"{self._host}:{self._port}: {inert(str(error))}") from error
        return connection

    def _connected(self, left: calling.Deadline) -> socket.socket:
        trust = self._trust()
        if self._socket and (trust is not self._shown or calling.is_stale(self._socket)):
            self.close()
        if not self._socket:
            self._socket = calling.connect(self._host, self._port, trust.context, left)
        self._shown = trust
        return self._socket

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": PROTOBUF, "User-Agent": f"bpfleet/{__version__}"}
        if self._compressed:
            headers["Content-Encoding"] = "gzip"
        if self._shown and self._shown.token:
            headers["Authorization"] = f"Bearer {self._shown.token}"
        return headers

    def _read(self, response: http.client.HTTPResponse, content: bytes, events: int) -> Written:
        if response.status in BUSY:
            raise Unavailable(f"HTTP status {response.status}", self._pause(response.headers.get("Retry-After", "")))
        if not 200 <= response.status < 300:
            return rejected(events, f"HTTP status {response.status} {response.reason}")
        if not is_whole(response):
            return unanswered(events, f"HTTP status {response.status} with an answer that does not end")
        try:
            return accepted(self._answer.FromString(content), events)
        except Exception as error:  # a protobuf error of whatever implementation is in use
            return unanswered(events, f"HTTP status {response.status} with an answer that is none: {error}")

    def _pause(self, text: str) -> float:
        """Seconds, or a date: RFC 9110 section 10.2.3. What is neither asks for nothing."""
        if text.isascii() and text.isdigit():
            return float(text[:10])
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, OverflowError):
            return 0.0
        return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - self._now()).total_seconds())


def is_whole(response: http.client.HTTPResponse) -> bool:
    """Whether it came to the end that it had announced. One that announced none may have been cut off anywhere, even in
    its head."""
    announced = (
        response.chunked or "Content-Length" in response.headers or response.status == http.HTTPStatus.NO_CONTENT
    )
    return announced and response.isclosed() and not response.length


class _Limited:
    """A socket as http.client wants it: what it reads ends in time and is bounded, however slowly or endlessly it
    comes."""

    def __init__(self, connection: socket.socket, left: calling.Deadline) -> None:
        self._connection, self._left = connection, left
        self.sendall = connection.sendall

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Answer(self._connection, self._left))

    def close(self) -> None:
        """It is closed by who opened it."""


class _Answer(io.RawIOBase):
    def __init__(self, connection: socket.socket, left: calling.Deadline) -> None:
        self._connection, self._left = connection, left
        self._room = 2 * MAX_BYTES  # a head, and as much again

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._room <= 0:
            raise ValueError("an answer without end")
        self._connection.settimeout(self._left())
        count = self._connection.recv_into(buffer, min(len(buffer), self._room))
        self._room -= count
        return count
