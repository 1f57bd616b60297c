"""The pages over HTTPS: who is served while others are slow or silent, and when is a new certificate shown?

Witness: openssl s_client.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.marks import needs
from tests.unit.test_server import FakePage

from agent.credentials import certificate
from agent.following import LOOK_SECONDS, Credential
from agent.server import MAX_CONNECTIONS, Application, Server
from agent.tls import Front

pytestmark = needs("openssl")

HELLO = bytes.fromhex("16030100c8010000c40303")
"""Begins a TLS handshake, and says that 200 bytes are to come."""

PROMPT_SECONDS = 5.0
"""Long for an answer that takes milliseconds, and short beside the time-outs of those who are slow."""

EIGHT = 8


class Secure:
    """A server over HTTPS, and clients of it."""

    def __init__(self, folder: Path) -> None:
        self.pair = certificates.make(folder)
        self.page = FakePage()
        self.credential = Credential("certificate", self.pair, lambda: certificate(*self.pair))
        application = Application(self.page, str, str, lambda: {"series": 23})
        self.server = Server(application, ("127.0.0.1", 0), self.credential.value)
        self.trust = ssl.create_default_context(cafile=self.pair.chain)

    def connection(self) -> HTTPSConnection:
        return HTTPSConnection("localhost", self.server.address[1], timeout=PROMPT_SECONDS, context=self.trust)

    def ask(self, path: str) -> tuple[HTTPResponse, bytes]:
        connection = self.connection()
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    @contextmanager
    def client(self, handshake: bool = True) -> Iterator[socket.socket]:
        with ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection(self.server.address, timeout=PROMPT_SECONDS))
            yield self._secured(stack, plain) if handshake else plain

    def _secured(self, stack: ExitStack, plain: socket.socket) -> socket.socket:
        return stack.enter_context(self.trust.wrap_socket(plain, server_hostname="localhost"))


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    made = Secure(tmp_path)
    yield made
    made.server.close()


def test_the_pages_are_there(secure: Secure) -> None:
    assert secure.server.scheme == "https"
    assert secure.ask("/metrics")[1] == b"page\n"
    assert json.loads(secure.ask("/status")[1]) == {"series": 23}
    assert secure.ask("/healthz")[0].status == 200


def abstract_names() -> set[str]:
    """Of the Unix sockets that this process holds, as everybody in the network namespace sees them."""
    mine = {each.stat().st_ino for each in Path("/proc/self/fd").iterdir() if each.is_socket()}
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return {row[7].removeprefix("@") for row in rows if len(row) > 7 and row[7][0] == "@" and int(row[6]) in mine}


def test_the_way_behind_is_closed_to_every_other_process(secure: Secure) -> None:
    """A child of this one, which may be anybody in the network namespace. It takes no place of those who come by the
    port."""
    (name,) = abstract_names()
    ask = (
        "import socket, sys\n"
        "for _ in range(100):\n"
        "    with socket.socket(socket.AF_UNIX) as each:\n"
        "        each.connect(chr(0) + sys.argv[1])\n"
        "        try:\n"
        "            each.sendall(b'GET /healthz HTTP/1.0\\r\\n\\r\\n')\n"
        "            sys.stdout.write(each.recv(100).decode())\n"
        "        except (BrokenPipeError, ConnectionResetError):\n"
        "            pass\n"
    )
    done = subprocess.run([sys.executable, "-I", "-c", ask, name], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert secure.ask("/healthz")[0].status == 200


def test_a_connection_serves_one_request_after_the_other(secure: Secure) -> None:
    connection = secure.connection()
    for _ in range(3):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == b"page\n"
    connection.close()


def test_a_large_page_arrives_whole(secure: Secure) -> None:
    page = bytes(range(256)) * (8 << 12)
    secure.page.render = lambda form, compress=False, live=False: page  # type: ignore[method-assign]
    assert secure.ask("/metrics")[1] == page


def test_the_end_of_an_answer_is_told_to_a_client_that_reads_to_the_end(secure: Secure) -> None:
    with secure.client() as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"\r\n\r\npage\n")


def test_clients_that_never_finish_a_request_keep_nobody_waiting(secure: Secure) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS // 2):
            stack.enter_context(secure.client()).sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        assert secure.ask("/healthz")[0].status == 200


def test_clients_that_never_read_keep_nobody_waiting(secure: Secure) -> None:
    secure.page.render = lambda form, compress=False, live=False: bytes(8 << 20)  # type: ignore[method-assign]
    with ExitStack() as stack:
        for _ in range(EIGHT):
            deaf = stack.enter_context(secure.client())
            deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert deaf.recv(1) == b"H"  # the answer is on its way
        assert secure.ask("/healthz")[0].status == 200


@pytest.mark.parametrize("begun", [b"", HELLO], ids=["silent", "half a hello"])
def test_clients_that_never_finish_the_handshake_keep_nobody_waiting(secure: Secure, begun: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(EIGHT):
            stack.enter_context(secure.client(handshake=False)).sendall(begun)
        assert secure.ask("/healthz")[0].status == 200


class Bare:
    """A front with a backend of the test's own. limits: as Front has them."""

    def __init__(self, folder: Path, **limits: float) -> None:
        pair = certificates.make(folder)
        self.backend = socket.create_server(f"\0bpfleet-test-tls-{os.getpid()}", family=socket.AF_UNIX)
        self.backend.settimeout(PROMPT_SECONDS)
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        name, context = self.backend.getsockname().decode(), certificate(*pair)
        self.front = Front(listener, name, lambda: context, **{"connections": 4, "idle_seconds": 60.0, **limits})
        self.trust = ssl.create_default_context(cafile=pair.chain)

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self.front.close()
        self.backend.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PROMPT_SECONDS)

    def accept(self) -> socket.socket:
        behind, _ = self.backend.accept()
        behind.settimeout(PROMPT_SECONDS)
        return behind


def test_a_client_that_never_finishes_the_handshake_loses_its_place(tmp_path: Path) -> None:
    """There is one place only: the next client is served when the silent one is cut off."""
    with Bare(tmp_path, connections=1, handshake_seconds=0.2) as bare:
        with bare.connect() as silent:
            assert silent.recv(1) == b""
        with bare.trust.wrap_socket(bare.connect(), server_hostname="localhost") as client:
            client.sendall(b"question")
            with bare.accept() as behind:
                assert behind.recv(100) == b"question"


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(tmp_path: Path) -> None:
    with (
        Bare(tmp_path, idle_seconds=0.2) as bare,
        bare.trust.wrap_socket(bare.connect(), server_hostname="localhost"),
        bare.accept() as behind,
        pytest.raises((BrokenPipeError, ConnectionResetError)),
    ):
        while True:
            behind.sendall(bytes(1 << 20))


def test_a_backend_that_is_gone_ends_the_connection_and_nothing_else(tmp_path: Path) -> None:
    with Bare(tmp_path) as bare:
        bare.backend.close()
        for _ in range(2):
            with bare.trust.wrap_socket(bare.connect(), server_hostname="localhost") as client:
                try:
                    assert client.recv(1) == b""
                except ConnectionResetError:
                    pass


def test_places_are_limited_and_those_who_wait_are_served_when_one_is_free(secure: Secure) -> None:
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(secure.client()).sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
        answers: list[int] = []
        late = threading.Thread(target=lambda: answers.append(secure.ask("/healthz")[0].status))
        late.start()
        late.join(0.5)
        assert late.is_alive() and answers == []
    late.join(PROMPT_SECONDS)
    assert answers == [200]


def test_plain_http_ends_the_connection_and_nothing_else(secure: Secure, caplog: pytest.LogCaptureFixture) -> None:
    with secure.client(handshake=False) as plain:
        plain.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            assert plain.recv(100) == b""
        except ConnectionResetError:
            pass
    assert secure.page.asked == []
    assert secure.ask("/healthz")[0].status == 200
    assert caplog.records == []


@pytest.mark.parametrize(("version", "is_served"), [("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)])
def test_tls_before_1_2_is_refused(secure: Secure, version: str, is_served: bool) -> None:
    target = f"127.0.0.1:{secure.server.address[1]}"
    client = subprocess.run(
        ["openssl", "s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", target],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert ("BEGIN CERTIFICATE" in client.stdout) is is_served
    assert is_served or "unexpected eof" in client.stderr or "alert protocol version" in client.stderr, client.stderr


def test_a_new_certificate_is_shown_without_a_restart(secure: Secure, tmp_path: Path) -> None:
    port, old = secure.server.address[1], certificates.fingerprint(secure.pair.chain)
    kept = secure.connection()
    kept.request("GET", "/metrics")
    assert kept.getresponse().read() == b"page\n"
    assert certificates.shown(port) == old
    certificates.make(tmp_path)
    new = certificates.fingerprint(secure.pair.chain)
    time.sleep(LOOK_SECONDS)
    assert certificates.shown(port) == new != old
    kept.request("GET", "/metrics")
    assert kept.getresponse().read() == b"page\n", "who is connected stays so"
    kept.close()


def test_a_broken_new_certificate_leaves_the_old_one(secure: Secure) -> None:
    port, old = secure.server.address[1], certificates.fingerprint(secure.pair.chain)
    secure.pair.chain.write_text("nonsense")
    time.sleep(LOOK_SECONDS)
    assert certificates.shown(port) == old
    assert "no certificate with its key" in secure.credential.state().problem


def test_closing_lets_go_of_the_port_with_clients_of_every_kind(secure: Secure) -> None:
    secure.page.render = lambda form, compress=False, live=False: bytes(8 << 20)  # type: ignore[method-assign]
    with secure.client(handshake=False), secure.client() as idle, secure.client() as deaf:
        deaf.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert deaf.recv(1) == b"H"
        secure.server.close()
        assert idle.recv(1) == b""
        with socket.create_server(secure.server.address):
            pass
