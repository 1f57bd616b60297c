"""`helm test` asks an agent, and knows one that counts from one that does not. Run as its pod runs it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.support import charts
from tests.support.charts import CHART


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    charts.needed()


TOKEN = "a-token-of-more-than-sixteen"
COUNTING = 'bpfleet_collector_up{collector="http"} 0.0\nbpfleet_collector_up{collector="traffic"} 1.0\n'
IDLE = 'bpfleet_collector_up{collector="traffic"} 0.0\n'
Serve = Callable[[str], str]


def script() -> str:
    """As it is rendered, but it asks once."""
    made = charts.objects(charts.rendered("default"))["Pod"]["spec"]["containers"][0]
    assert made["command"] == ["python3", "-c"]
    text: str = made["args"][0]
    assert text.strip() == (CHART / "files/test.py").read_text("utf-8").strip()
    assert text.count("SECONDS = 60.0") == 1
    return text.replace("SECONDS = 60.0", "SECONDS = 0.0")


def run(url: str, **more: str) -> tuple[int, str]:
    environment = {"PATH": os.environ["PATH"], "URL": url, "no_proxy": "127.0.0.1"} | more
    said = subprocess.run([sys.executable, "-c", script()], env=environment, capture_output=True, text=True, timeout=30)
    return said.returncode, said.stdout + said.stderr


@pytest.fixture
def serve() -> Iterator[Serve]:
    """serve(page) -> the address of a server that has this page for who presents the token."""
    with ExitStack() as stack:

        def start(page: str) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                    self.send_response(200 if allowed else 401)
                    self.end_headers()
                    self.wfile.write(page.encode() if allowed else b"")

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            stack.callback(server.shutdown)
            Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            return f"http://127.0.0.1:{server.server_port}/metrics"

        yield start


@pytest.fixture
def token(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return str(file)


def test_one_collector_that_counts_is_enough(serve: Serve, token: str) -> None:
    assert run(serve(COUNTING), TOKEN_FILE=token) == (0, "an agent answers, and counts\n")


def test_an_agent_that_counts_nothing_has_failed(serve: Serve, token: str) -> None:
    status, said = run(serve(IDLE), TOKEN_FILE=token)
    assert status == 1 and said.startswith("no collector counts: ") and "traffic" in said
    assert run(serve(""), TOKEN_FILE=token) == (1, "no collector counts: bpfleet_collector_up is not there\n")


def test_an_agent_that_does_not_answer_has_failed_and_is_named(serve: Serve) -> None:
    url = serve(COUNTING)
    status, said = run(url)
    assert status == 1 and said.startswith(f"no agent answers at {url}: HTTP Error 401")
    status, said = run("http://127.0.0.1:1/metrics")
    assert status == 1 and "Connection refused" in said


def test_its_pod_has_no_rights_and_sees_no_key() -> None:
    spec = charts.objects(charts.rendered("tls-and-token"))["Pod"]["spec"]
    (one,) = spec["containers"]
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"] is True and spec["automountServiceAccountToken"] is False
    assert all(mount["readOnly"] for mount in one["volumeMounts"])
    assert {item["key"] for each in spec["volumes"] for item in each["secret"]["items"]} == {"ca.crt", "bearer"}
    variables = {each["name"]: each["value"] for each in one["env"]}
    assert variables == {
        "URL": "https://bpfleet-agent.bpfleet.svc:9436/metrics",
        "CA_FILE": "/etc/bpfleet/tls/ca.crt",
        "TOKEN_FILE": "/etc/bpfleet/token/bearer",
    }
