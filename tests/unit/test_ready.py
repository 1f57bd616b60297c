import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.agents import free_port

from agent.ready import main
from bpfleet.errors import HostError


class Probe(BaseHTTPRequestHandler):
    """Answers as the server's test says."""

    def do_GET(self) -> None:
        status, text = self.server.answer if self.path == "/readyz" else (404, "")  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Probe)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_agent_that_counts_is_ready_wherever_it_listens(
    server: ThreadingHTTPServer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = (200, "ok\n")  # type: ignore[attr-defined]
    assert main([], {"BPFLEET_LISTEN": f"{host}:{server.server_port}"}) == 0
    assert capsys.readouterr().out == "ready\n"


def test_one_that_serves_https_is_asked_so_whatever_its_certificate_is_now(
    server: ThreadingHTTPServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file may hold the next certificate already, or a broken one, while the agent shows the last good one."""
    pair = certificates.make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.answer = (200, "ok\n")  # type: ignore[attr-defined]
    certificates.make(tmp_path)
    environment = {
        "BPFLEET_LISTEN": f"127.0.0.1:{server.server_port}",
        "BPFLEET_SERVER_CERTIFICATE_FILE": str(pair.chain),
        "BPFLEET_SERVER_KEY_FILE": str(pair.key),
    }
    assert main([], environment) == 0
    assert capsys.readouterr().out == "ready\n"


def test_one_that_does_not_says_why_in_one_inert_line(server: ThreadingHTTPServer) -> None:
    server.answer = (503, "traffic is off:\n\x1b[1mno NET_ADMIN\n")  # type: ignore[attr-defined]
    with pytest.raises(HostError) as raised:
        main(["--listen", f"127.0.0.1:{server.server_port}"], {})
    assert str(raised.value) == r"not ready: traffic is off:\n\x1b[1mno NET_ADMIN"


def test_where_nobody_listens_that_is_said() -> None:
    port = free_port()
    with pytest.raises(HostError, match=f"no agent answers on 127.0.0.1 port {port}"):
        main([], {"BPFLEET_LISTEN": f"127.0.0.1:{port}"})
