"""OTLP over gRPC, with gRPC's own client.

https://opentelemetry.io/docs/specs/otlp/#otlpgrpc

The client says UNAVAILABLE both for a server that is busy (nothing was taken) and for a connection that broke after the
request was sent (nobody knows). It tells them apart in its text only: `Stream removed` is a connection's end.
"""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult

import grpc
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc

from agent.sinks import calling
from agent.sinks.otlp_answers import MAX_BYTES, accepted, inert, rejected, unanswered
from agent.sinks.trust import Trust
from bpfleet import __version__
from bpfleet.api import Unavailable, Written

PORT = 4317
BUSY = frozenset(
    (
        *(grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED),
        *(grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS),
    )
)
"""Statuses after which a request may be sent again, if they are the server's; RESOURCE_EXHAUSTED only with a time."""

BROKEN = "Stream removed"
REFUSED = "Received RST_STREAM with error code 7"
"""REFUSED_STREAM: the server has not looked at it (RFC 9113 section 8.7)."""

OURS = "Deadline Exceeded"
"""The client's own text for it, with BROKEN before it or not."""

NEVER_SENT = "failed to connect"

DETAILS = "grpc-status-details-bin"
OPTIONS = (
    ("grpc.enable_retries", 0),  # what is sent again, and when, is the queue's business
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.max_metadata_size", MAX_BYTES),
    ("grpc.primary_user_agent", f"bpfleet/{__version__}"),
)
SYSTEM_ROOTS = "/etc/ssl/certs/ca-certificates.crt"


class Grpc:
    def __init__(
        self, endpoint: SplitResult, trust: Callable[[], Trust], compressed: bool, timeout_seconds: float
    ) -> None:
        self._host, self._port = endpoint.hostname or "", endpoint.port or PORT
        self._target = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        self._trust, self._seconds = trust, timeout_seconds
        self._compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        self._channel: Any = None
        self._shown: Trust | None = None

    def send(self, request: Any, events: int) -> Written:
        channel = self._opened()
        metadata = [("authorization", f"Bearer {self._shown.token}")] if self._shown and self._shown.token else []
        stub: Any = logs_service_pb2_grpc.LogsServiceStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = stub.Export(request, timeout=self._seconds, metadata=metadata, compression=self._compression)
        except grpc.RpcError as error:
            return self._read(error, events)
        except ValueError as error:  # of a channel that close() has closed
            raise Unavailable(str(error)) from error
        return accepted(answer, events)

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel:
            channel.close()

    def _opened(self) -> Any:
        trust = self._trust()
        if self._channel and trust is not self._shown:
            self.close()
        if not self._channel:
            self._reach()
            self._shown, self._channel = trust, self._open(trust)
        return self._channel

    def _reach(self) -> None:
        """Raises Unavailable where nobody listens. gRPC has one error for a server that cannot be reached in time and
        for one that does not answer in time."""
        try:
            calling.connect(self._host, self._port, None, calling.deadline(self._seconds, time.monotonic)).close()
        except OSError as error:
            raise Unavailable(f"{self._target}: {inert(str(error))}") from error

    def _open(self, trust: Trust) -> Any:
        if trust.context is None:
            return grpc.insecure_channel(self._target, options=OPTIONS)
        credentials = grpc.ssl_channel_credentials(
            trust.roots or _system_roots(), trust.key or None, trust.chain or None
        )
        return grpc.secure_channel(self._target, credentials, options=OPTIONS)

    def _read(self, error: Any, events: int) -> Written:
        code, text = error.code(), error.details() or ""
        why = f"{code.name}: {inert(text)}"
        if text.startswith(BROKEN) or text == OURS:
            self.close()
            if REFUSED in text:
                raise Unavailable(why)
            return unanswered(events, why)
        pause = _pause(error)
        if code in BUSY or pause is not None and code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if text.startswith(NEVER_SENT):
                self.close()  # a new channel has no pause of its own
            raise Unavailable(why, pause or 0.0)
        return rejected(events, why)


def _pause(error: Any) -> float | None:
    """Seconds, where the server names a time."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            try:
                return _retry_info(status_pb2.Status.FromString(value))
            except Exception:  # a protobuf error of whatever implementation is in use: it names none
                return None
    return None


def _retry_info(status: Any) -> float | None:
    for detail in status.details:
        info = error_details_pb2.RetryInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return max(0.0, float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9))
    return None


def _system_roots() -> bytes | None:
    """gRPC has certificates of its own; what this machine trusts goes before."""
    try:
        with open(SYSTEM_ROOTS, "rb") as file:
            return file.read()
    except OSError:
        return None
