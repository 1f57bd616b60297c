"""The client against a server on loopback that answers by script."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.identity import cluster, kubernetes
from agent.identity.fake import listing
from agent.identity.kubernetes import KubernetesApi, events, is_in_cluster
from agent.identity.watches import Expired, Forbidden, Refused, Silent, Unauthorized
from bpfleet.errors import ClusterError


class Server(ThreadingHTTPServer):
    daemon_threads = True
    status = 200
    body = b""
    headers: dict[str, str] = {}
    silent = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, list[str]], str]] = []
        self.released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self.server.asked.append((url.path, parse_qs(url.query), self.headers.get("Authorization", "")))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(self.server.body), self.server.body) if self.server.body else b"")
        if self.server.silent:
            self.server.released.wait(10)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def kubeconfig(server: Server, tmp_path: Path) -> Path:
    return write_kubeconfig(tmp_path, server.server_address[1], "first")


def write_kubeconfig(tmp_path: Path, port: int, token: str) -> Path:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture
def api(kubeconfig: Path) -> KubernetesApi:
    return KubernetesApi(str(kubeconfig))


def test_a_list_comes_from_the_servers_cache_and_for_this_node_only(api: KubernetesApi, server: Server) -> None:
    server.body = listing("7", {"metadata": {"name": "a"}})
    page = api.list(cluster.pods_of("node0"), "")
    assert [item["metadata"]["name"] for item in page] == ["a"]
    assert page.version == "7"
    query = {"resourceVersion": ["0"], "fieldSelector": ["spec.nodeName=node0"]}
    assert server.asked == [("/api/v1/pods", query, "Bearer first")]


def test_a_watch_goes_on_from_a_version(api: KubernetesApi, server: Server) -> None:
    server.body = b'{"type":"BOOKMARK"}\n\n{"type":"ADDED"}\n'
    assert [event["type"] for event in api.watch(cluster.NODES, "7")] == ["BOOKMARK", "ADDED"]
    path, query, _ = server.asked[0]
    assert path == "/api/v1/nodes"
    assert 240 <= int(query.pop("timeoutSeconds")[0]) <= 300
    assert query == {"watch": ["1"], "allowWatchBookmarks": ["true"], "resourceVersion": ["7"]}


def test_a_name_in_a_selector_cannot_change_the_request(api: KubernetesApi, server: Server) -> None:
    server.body = listing("7")
    list(api.list(cluster.pods_of("n&watch=1\r\nX: y#"), ""))
    assert server.asked[0][1]["fieldSelector"] == ["spec.nodeName=n&watch=1\r\nX: y#"]


STATUSES = {401: Unauthorized, 403: Forbidden, 404: Forbidden, 410: Expired, 429: Refused, 500: Refused, 503: Refused}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
def test_each_refusal_has_its_error(api: KubernetesApi, server: Server, status: int, kind: type[ClusterError]) -> None:
    server.status, server.body = status, b'{"kind":"Status","message":"because"}'
    with pytest.raises(kind, match=f"{status} because"):
        list(api.watch(cluster.NODES, "7"))
    server.body = b"<html>"
    with pytest.raises(kind, match=str(status)):
        list(api.list(cluster.NODES, ""))


@pytest.mark.parametrize(("header", "seconds"), [("23", 23), ("1e9", 0), ("-1", 0), ("999999", 300), ("soon", 0)])
def test_the_server_may_ask_for_patience(api: KubernetesApi, server: Server, header: str, seconds: float) -> None:
    server.status, server.headers = 429, {"Retry-After": header}
    with pytest.raises(Refused) as error:
        list(api.list(cluster.NODES, ""))
    assert error.value.retry_after == seconds


def test_credentials_are_read_again_when_told(api: KubernetesApi, server: Server, tmp_path: Path) -> None:
    server.body = listing("7")
    list(api.list(cluster.NODES, ""))
    write_kubeconfig(tmp_path, server.server_address[1], "second")
    list(api.list(cluster.NODES, ""))
    api.reconnect()
    list(api.list(cluster.NODES, ""))
    assert [token for _, _, token in server.asked] == ["Bearer first", "Bearer first", "Bearer second"]


def test_silence_ends(api: KubernetesApi, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "SILENCE_SECONDS", 0.05)
    server.silent, server.body = True, b'{"type":"BOOKMARK"}\n'
    seen = []
    with pytest.raises(Silent):
        for event in api.watch(cluster.NODES, "7"):
            seen.append(event)
    assert len(seen) == 1


def test_a_server_that_is_away_is_a_cluster_error(api: KubernetesApi, server: Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(ClusterError, match="Kubernetes API"):
        list(api.list(cluster.NODES, ""))


@pytest.mark.parametrize("text", ["", "{", "[]", "clusters: 3", "a: 'b"])
def test_a_kubeconfig_that_makes_no_sense_is_a_cluster_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    with pytest.raises(ClusterError):
        list(KubernetesApi(str(file)).list(cluster.NODES, ""))


def test_a_kubeconfig_that_is_not_there_is_a_cluster_error(tmp_path: Path) -> None:
    with pytest.raises(ClusterError):
        list(KubernetesApi(str(tmp_path / "absent")).list(cluster.NODES, ""))


def test_a_pod_without_a_service_account_is_a_cluster_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ClusterError, match="Service host"):
        list(KubernetesApi().list(cluster.NODES, ""))


def test_a_pod_is_known_by_its_environment_and_token(tmp_path: Path) -> None:
    inside = {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert is_in_cluster(inside, tmp_path)
    assert not is_in_cluster(inside, tmp_path / "absent")
    assert not is_in_cluster({}, tmp_path)


@pytest.mark.parametrize("line", [b"{", b"[]\n", b"7\n", b"\xff\n", b"nonsense\n"])
def test_a_line_that_is_no_event_is_a_cluster_error(line: bytes) -> None:
    if line.endswith(b"\n"):
        with pytest.raises(ClusterError):
            list(events(iter([line])))
    else:
        assert list(events(iter([line]))) == []


STREAM = '{"type":"ADDED","name":"ü"}\n{"type":"DELETED"}\n'.encode()


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_stream_may_be_split_anywhere(cut: int) -> None:
    assert [event["type"] for event in events(iter([STREAM[:cut], STREAM[cut:]]))] == ["ADDED", "DELETED"]


def test_an_event_without_an_end_is_refused() -> None:
    chunks = (b"x" * (1 << 20) for _ in range(100))
    with pytest.raises(ClusterError, match="more than"):
        list(events(chunks))


def test_only_a_part_of_the_client_is_imported_in_a_pod() -> None:
    code = """
import sys
from agent.identity.kubernetes import KubernetesApi
KubernetesApi()
loaded = set(sys.modules)
assert "kubernetes.client.rest" in loaded
assert not loaded & {"kubernetes", "kubernetes.client.api_client", "kubernetes.stream", "oauthlib", "pydantic"}, loaded
import kubernetes
assert kubernetes.client.CoreV1Api
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
