"""Whatever a server does: the books are exact, nothing arrives twice, and when it is well again everything goes on."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
import pytest
from tests.support import bad_servers, certificates, sending
from tests.support.bad_servers import aborts, accepts, answer, endless, partial, says
from tests.support.receivers import free_ports
from tests.support.sending import event

from bpfleet.api import Retry

COUNT = 1_000
BATCH = 100
QUICK = {"batch_events": BATCH, "batch_seconds": 0.01, "timeout_seconds": 1.0}
HEAD = b"HTTP/1.1 200 OK\r\n"

POSTPONED: dict[str, bad_servers.Act] = {
    "503": answer(503, b"busy"),
    "429": answer(429, b"", "Retry-After: 0"),
    "502": answer(502, b"\x00" * 1000),
    "504_cut_off": answer(504, b"half", length=1000),
}
UNANSWERED: dict[str, bad_servers.Act] = {
    "close": bad_servers.close,
    "reset": bad_servers.reset,
    "silent": bad_servers.silent,
    "drip": bad_servers.drip,
    "garbage": says(b"\x00\xff\x1b[2J" * 1000),
    "half_status": says(b"HTTP/1."),
    "half_head": says(HEAD + b"Content-Len"),
    "half_body": answer(200, b"\x0a", length=1000),
    "endless_head": endless(HEAD, b"X: y\r\n" * 1000),
    "endless_line": endless(HEAD + b"X: ", b"y" * 4096),
    "endless_body": endless(HEAD + b"Content-Length: 9999999999\r\n\r\n", b"y" * 4096),
    "endless_chunks": endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"400\r\n" + b"y" * 1024 + b"\r\n"),
    "endless_continue": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "no_protobuf": answer(200, b'{"partialSuccess":{}}'),
    "another_protocol": says(b"SSH-2.0-OpenSSH_9.2p1\r\n"),
}
REJECTED: dict[str, bad_servers.Act] = {
    "400": answer(400, b"bad"),
    "401": answer(401, b""),
    "500": answer(500, b""),
    "301": answer(301, b"", "Location: http://127.0.0.1:1/"),
}


def put(to: sending.Sending, count: int = COUNT) -> None:
    for start in range(0, count, BATCH):
        to.put(*(event(number) for number in range(start, start + BATCH)))


def check_once(received: Iterable[list[int]], unanswered: int = 0) -> None:
    """Each event is in one request at most, and in order."""
    found = [number for numbers in received for number in numbers]
    assert found == sorted(set(found))
    assert COUNT - unanswered <= len(found) <= COUNT


@pytest.mark.parametrize("act", POSTPONED.values(), ids=POSTPONED)
def test_over_http_what_a_busy_server_did_not_take_is_sent_again(act: bad_servers.Act) -> None:
    with bad_servers.Http([answer(), act, act, act]) as server, over_http(server) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT}
        assert to.standing().writes["postponed"] == 3
        taken = server.received[:1] + server.received[4:]
        check_once(taken)
        assert [numbers for request in taken for numbers in request] == list(range(COUNT))


@pytest.mark.parametrize("act", UNANSWERED.values(), ids=UNANSWERED)
def test_over_http_what_was_sent_and_not_answered_is_lost_and_never_sent_again(act: bad_servers.Act) -> None:
    with bad_servers.Http([answer(), act]) as server, over_http(server) as to:
        put(to)
        outcomes = to.settled()
        assert outcomes == {"delivered": COUNT - BATCH, "unanswered": BATCH}
        check_once(server.received, unanswered=BATCH)


@pytest.mark.parametrize("act", REJECTED.values(), ids=REJECTED)
def test_over_http_what_a_server_will_not_have_is_lost(act: bad_servers.Act, caplog: pytest.LogCaptureFixture) -> None:
    with bad_servers.Http([answer(), act, act]) as server, over_http(server) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT - 2 * BATCH, "rejected": 2 * BATCH}
        check_once(server.received)
    assert "events are lost (rejected): HTTP status" in caplog.text


def test_over_http_what_a_server_rejects_in_part_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    script = [partial(7), partial(0), partial(BATCH + 1), partial(-1)]
    with bad_servers.Http(script) as server, over_http(server) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT - 7 - BATCH, "rejected": 7 + BATCH}
        check_once(server.received)
    assert "7 events are lost (rejected): too old\\x1b[2J" in caplog.text


def test_over_http_a_server_that_names_a_time_is_left_alone_for_it() -> None:
    moments: list[float] = []

    def told(act: bad_servers.Act) -> bad_servers.Act:
        return lambda connection: (moments.append(time.monotonic()), act(connection))[1]

    with (
        bad_servers.Http([told(answer(503, b"", "Retry-After: 1")), told(answer())]) as server,
        over_http(server) as to,
    ):
        put(to)
        assert to.settled() == {"delivered": COUNT}
    assert moments[1] - moments[0] >= 1.0


def test_over_http_the_token_is_sent_and_a_new_one_is_followed(tmp_path: object) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "token"
    file.write_text("first\n")
    with bad_servers.Http() as server, over_http(server, token_file=str(file)) as to:
        to.put(event(0))
        assert to.settled() == {"delivered": 1}
        file.write_text("second-one\n")
        for number in range(1, 100):
            to.put(event(number))
            to.settled()
            if "Bearer second-one" in server.heads[-1]:
                break
            time.sleep(0.05)
    assert "Authorization: Bearer first\r\n" in server.heads[0]
    assert "Authorization: Bearer second-one\r\n" in server.heads[-1]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_server_that_comes_later_gets_everything_and_one_that_never_comes_costs_what_was_offered_so_long(
    protocol: str,
) -> None:
    (port,) = free_ports(1)
    endpoint = f"http://127.0.0.1:{port}"
    soon = Retry(first_seconds=0.01, longest_seconds=0.02, give_up_seconds=0.3)
    with sending.sending("otlp", soon, endpoint=endpoint, protocol=protocol, **QUICK) as to:
        to.put(event(1), event(2))
        assert to.settled() == {"unavailable": 2}
    with sending.sending("otlp", endpoint=endpoint, protocol=protocol, **QUICK) as to:
        put(to)
        to.postponed()
        with bad_servers.Http(port=port) if protocol != "grpc" else bad_servers.Grpc(port=port) as server:
            assert to.settled() == {"delivered": COUNT}
            check_once(server.received)


def over_http(server: bad_servers.Http, **options: str):  # type: ignore[no-untyped-def]
    endpoint = f"http://127.0.0.1:{server.port}"
    return sending.sending("otlp", endpoint=endpoint, protocol="http/protobuf", **QUICK, **options)


# gRPC


def over_grpc(port: int):  # type: ignore[no-untyped-def]
    return sending.sending("otlp", endpoint=f"http://127.0.0.1:{port}", protocol="grpc", **QUICK)


BUSY = ("UNAVAILABLE", "ABORTED", "CANCELLED", "OUT_OF_RANGE", "DATA_LOSS")
REFUSING = ("INVALID_ARGUMENT", "UNAUTHENTICATED", "UNIMPLEMENTED", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("code", BUSY)
def test_over_grpc_what_a_busy_server_did_not_take_is_sent_again(code: str) -> None:
    act = aborts(grpc.StatusCode[code], "Socket closed")
    with bad_servers.Grpc([accepts(), act, act, act]) as server, over_grpc(server.port) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT}
        assert to.standing().writes["postponed"] == 3
        check_once(server.received[:1] + server.received[4:])


@pytest.mark.parametrize("code", REFUSING)
def test_over_grpc_what_a_server_will_not_have_is_lost(code: str) -> None:
    act = aborts(grpc.StatusCode[code])
    with bad_servers.Grpc([accepts(), act, act]) as server, over_grpc(server.port) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT - 2 * BATCH, "rejected": 2 * BATCH}
        check_once(server.received)


def test_over_grpc_an_exhausted_server_that_names_a_time_is_left_alone_for_it() -> None:
    act = aborts(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_seconds=0.7)
    with bad_servers.Grpc([act, accepts(7)]) as server, over_grpc(server.port) as to:
        began = time.monotonic()
        put(to)
        assert to.settled() == {"delivered": COUNT - 7, "rejected": 7}
        assert time.monotonic() - began >= 0.7
        check_once(server.received[1:])


def test_over_grpc_what_was_taken_on_a_connection_that_broke_is_not_sent_again() -> None:
    def cut(context: grpc.ServicerContext) -> object:
        relay.cut()
        return accepts()(context)

    with bad_servers.Grpc([accepts(), cut, accepts(), cut]) as server, bad_servers.Relay(server.port) as relay:
        with over_grpc(relay.port) as to:
            put(to)
            assert to.settled() == {"delivered": COUNT - 2 * BATCH, "unanswered": 2 * BATCH}
            check_once(server.received)


def test_over_grpc_an_answer_that_does_not_come_in_time_is_none() -> None:
    wait = threading.Event()

    def slow(context: grpc.ServicerContext) -> object:
        wait.wait(10.0)
        return accepts()(context)

    with bad_servers.Grpc([slow]) as server, over_grpc(server.port) as to:
        put(to)
        assert to.settled() == {"delivered": COUNT - BATCH, "unanswered": BATCH}
        wait.set()
        check_once(server.received)


@pytest.mark.parametrize(
    "act",
    [
        bad_servers.close,
        says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        endless(b"", b"\x00\xff" * 4096),
    ],
    ids=["close", "http1", "endless"],
)
def test_over_grpc_what_does_not_speak_it_gets_nothing_and_the_events_wait(act: bad_servers.Act) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        act(connection)

    with bad_servers.Listener(serve) as server, over_grpc(server.port) as to:
        to.put(*(event(number) for number in range(BATCH)))
        to.postponed()
        assert to.standing().waiting == BATCH


def test_over_grpc_a_server_that_accepts_and_says_nothing_costs_a_batch_for_each_time_that_it_is_given() -> None:
    """The client does not say whether it has sent anything."""
    with bad_servers.Listener(lambda connection: None if bad_servers.silent(connection) else None) as server:
        with over_grpc(server.port) as to:
            to.put(*(event(number) for number in range(BATCH)))
            assert to.settled() == {"unanswered": BATCH}


# syslog


class Receiver(bad_servers.Listener):
    """Reads as long as `reads` says so, then does what it is told to. received: what came whole."""

    def __init__(self, limits: list[int], then: Callable[[socket.socket], bool], port: int = 0) -> None:
        self.received: list[int] = []
        self._limits, self._then = limits, then
        super().__init__(self._read, port)

    def goes_on(self, to: sending.Sending, number: int) -> int:
        """Sends one more event after the other until one has come: what a kernel has acknowledged is not read yet, and
        never is where the connection then ends. Returns how many it took."""
        for more in range(100):
            to.put(event(number + more))
            to.settled()
            for _ in range(20):
                if number + more in self.received:
                    return more + 1
                time.sleep(0.01)
        raise AssertionError("nothing comes any more")

    def _read(self, connection: socket.socket) -> None:
        limit = self._limits.pop(0) if self._limits else 1 << 30
        stream = connection.makefile("rb")
        while limit:
            length = b""
            while (byte := stream.read(1)) not in (b" ", b""):
                length += byte
            if not length:
                return
            message = stream.read(int(length))
            if len(message) == int(length):
                self.received.append(int(message.partition(b' n="')[2].partition(b'"')[0]))
            limit -= 1
        stream.close()
        self._then(connection)


@pytest.mark.parametrize("then", [bad_servers.close, bad_servers.reset], ids=["close", "reset"])
def test_over_syslog_what_was_sent_on_a_connection_that_broke_is_not_sent_again(
    then: Callable[[socket.socket], bool],
) -> None:
    with Receiver([130, 250, 1], then) as receiver:
        with sending.sending("syslog", address=f"tcp://127.0.0.1:{receiver.port}", timeout_seconds=2.0) as to:
            put(to)
            assert sum(to.settled().values()) == COUNT
            more = receiver.goes_on(to, COUNT)
        assert to.settled().keys() <= {"delivered", "unanswered"}
        assert sum(to.settled().values()) == COUNT + more
    assert len(set(receiver.received)) == len(receiver.received)


def test_over_syslog_a_receiver_that_stops_reading_costs_what_it_was_sent() -> None:
    with Receiver([10], bad_servers.silent_without_reading) as receiver:
        with sending.sending("syslog", address=f"tcp://127.0.0.1:{receiver.port}", timeout_seconds=0.5) as to:
            filler = "x" * 1000
            for start in range(0, 20_000, 500):
                to.put(*(event(number, filler=filler) for number in range(start, start + 500)))
            outcomes = to.settled()
            assert sum(outcomes.values()) == 20_000
            receiver.goes_on(to, 20_000)
    assert outcomes.get("unanswered", 0) + outcomes.get("queue_full", 0) > 0
    assert len(set(receiver.received)) == len(receiver.received)


def test_the_agent_ends_in_time_whatever_a_server_does() -> None:
    for options in ({"protocol": "http/protobuf"}, {"protocol": "grpc"}):
        with bad_servers.Listener(lambda connection: bad_servers.silent(connection) and None) as server:
            endpoint = f"http://127.0.0.1:{server.port}"
            to = sending.Sending(sending.sink("otlp", endpoint=endpoint, timeout_seconds=60.0, **options))
            to.put(event(1))
            began = time.monotonic()
            to.delivery.close(seconds=0.2)
            assert time.monotonic() - began < 5.0
            assert to.settled() == {"ending": 1}


# TLS

WAYS = {
    "http": ("otlp", {"endpoint": "https://localhost:PORT"}),
    "grpc": ("otlp", {"endpoint": "https://localhost:PORT", "protocol": "grpc"}),
    "syslog": ("syslog", {"address": "tls://localhost:PORT"}),
}


@pytest.mark.parametrize("is_known", [True, False], ids=["of another name", "of an unknown authority"])
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_not_the_one_gets_nothing_and_the_events_wait(
    tmp_path: Path, way: str, is_known: bool
) -> None:
    elsewhere = certificates.make(tmp_path, "elsewhere", "subjectAltName=DNS:elsewhere.example")
    here = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(elsewhere if is_known else here))
    context.set_alpn_protocols(["h2", "http/1.1"])
    got: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as encrypted:
            got.append(encrypted.recv(1 << 16))

    with bad_servers.Listener(serve) as server:
        name, options = WAYS[way]
        told = {key: text.replace("PORT", str(server.port)) for key, text in options.items()}
        with sending.sending(name, ca_file=str(elsewhere.chain), timeout_seconds=2.0, **told) as to:
            to.put(event(1))
            to.postponed()
            assert to.standing().waiting == 1
    assert b"".join(got) == b""
