"""Servers that do by script what no server should. What they have got of whole requests is kept, to be compared."""

import gzip
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc

Act = Callable[[socket.socket], bool]
"""What becomes of a request: writes an answer, or does not. Whether the connection goes on."""

OK = logs_service_pb2.ExportLogsServiceResponse().SerializeToString()
DRIP_SECONDS = 0.2
GONE_SECONDS = 30.0


def numbers(request: Any) -> list[int]:
    """The attribute `n` of each event; a request has them by resource."""
    return sorted(
        attribute.value.int_value
        for group in request.resource_logs
        for scope in group.scope_logs
        for log in scope.log_records
        for attribute in log.attributes
        if attribute.key == "n"
    )


# HTTP


def answer(status: int = 200, body: bytes = OK, *headers: str, length: int | None = None) -> Act:
    head = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body) if length is None else length}", *headers]

    def act(connection: socket.socket) -> bool:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return length is None

    return act


def partial(rejected: int) -> Act:
    made = logs_service_pb2.ExportLogsServiceResponse()
    made.partial_success.rejected_log_records = rejected
    made.partial_success.error_message = "too old\x1b[2J"
    return answer(body=made.SerializeToString())


def close(connection: socket.socket) -> bool:
    return False


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def says(data: bytes) -> Act:
    def act(connection: socket.socket) -> bool:
        connection.sendall(data)
        return False

    return act


def endless(head: bytes, more: bytes) -> Act:
    def act(connection: socket.socket) -> bool:
        connection.sendall(head)
        try:
            while True:
                connection.sendall(more)
        except OSError:
            return False

    return act


def drip(connection: socket.socket) -> bool:
    """A byte now and then: each is in time, the whole never comes."""
    try:
        while True:
            connection.sendall(b"x")
            threading.Event().wait(DRIP_SECONDS)
    except OSError:
        return False


def silent(connection: socket.socket) -> bool:
    """Until the client gives up."""
    try:
        while connection.recv(1 << 16):
            pass
    except OSError:
        pass
    return False


def silent_without_reading(connection: socket.socket) -> bool:
    """Until the client has gone."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    poll.poll(GONE_SECONDS * 1000)
    return False


class Listener:
    """Accepts connections, one thread each, from when it is made until close(). port: 0 for any."""

    def __init__(self, serve: Callable[[socket.socket], None], port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._serve = serve
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._start(self._served, connection)

    def _served(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._serve(connection)
            except OSError:
                pass


class Http(Listener):
    """script: for the first requests; then all are accepted. received: the events of each request that came whole."""

    def __init__(self, script: Iterable[Act] = (), port: int = 0) -> None:
        self.received: list[list[int]] = []
        self.heads: list[str] = []
        self.script: queue.SimpleQueue[Act] = queue.SimpleQueue()
        for each in script:
            self.script.put(each)
        super().__init__(self._requests, port)

    def _requests(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        while head := self._head(stream):
            self.heads.append(head)
            length = next(line for line in head.lower().splitlines() if line.startswith("content-length"))
            body = stream.read(int(length.partition(":")[2]))
            content = gzip.decompress(body) if "content-encoding: gzip" in head.lower() else body
            self.received.append(numbers(logs_service_pb2.ExportLogsServiceRequest.FromString(content)))
            try:
                act = self.script.get_nowait()
            except queue.Empty:
                act = answer()
            if not act(connection):
                return

    def _head(self, stream: Any) -> str:
        lines: list[bytes] = []
        while (line := stream.readline()) not in (b"\r\n", b""):
            lines.append(line)
        return b"".join(lines).decode("latin-1")


# gRPC

Answer = Callable[[grpc.ServicerContext], Any]


def accepts(rejected: int = 0) -> Answer:
    made = logs_service_pb2.ExportLogsServiceResponse()
    if rejected:
        made.partial_success.rejected_log_records = rejected
    return lambda context: made


def aborts(code: grpc.StatusCode, text: str = "no", retry_seconds: float | None = None) -> Answer:
    def act(context: grpc.ServicerContext) -> Any:
        if retry_seconds is not None:
            info = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=int(retry_seconds * 1e9)))
            detail = any_pb2.Any()
            detail.Pack(info)
            status = status_pb2.Status(code=code_pb2.UNAVAILABLE, message=text, details=[detail])
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, text)

    return act


class Grpc:
    """script: as above. relay: what stands between, and can be cut."""

    def __init__(self, script: Sequence[Answer] = (), port: int = 0) -> None:
        self.received: list[list[int]] = []
        self.metadata: list[dict[str, str]] = []
        self._script = list(script)
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        service = logs_service_pb2_grpc.LogsServiceServicer()
        service.Export = self._export
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(service, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def __enter__(self) -> "Grpc":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def _export(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.received.append(numbers(request))
        self.metadata.append({key: value for key, value in context.invocation_metadata()})
        return (self._script.pop(0) if self._script else accepts())(context)


class Relay(Listener):
    """Passes bytes on to a server. cut(): breaks all connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        super().__init__(self._relay)

    def cut(self) -> None:
        for connection in self._open:
            try:
                reset(connection)
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _relay(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            self._start(self._pass, server, client)
            self._pass(client, server)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
