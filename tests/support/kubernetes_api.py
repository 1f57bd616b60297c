"""A Kubernetes API server of a few objects, on loopback: lists, watches and bearer tokens as the real one has them
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes), and a record of every
request."""

import contextlib
import json
import threading
from collections import Counter
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from tests.support.agents import free_port

NODE = "node-1"
TOKEN = "first"
HASH = "7d9f8b6c5d"
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
clusters: [{{name: here, cluster: {{server: "http://127.0.0.1:{port}"}}}}]
users: [{{name: agent, user: {{tokenFile: {token}}}}}]
contexts: [{{name: here, context: {{cluster: here, user: agent}}}}]
"""


class Request(NamedTuple):
    resource: str
    verb: str
    status: int


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away in the middle of a watch is not worth a traceback."""


class KubernetesApi:
    """start() and stop() as often as needed: the port and the objects stay. token: the one that is valid."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.token = TOKEN
        self.token_file, self.kubeconfig = folder / "token", folder / "kubeconfig"
        self.token_file.write_text(TOKEN)
        self.kubeconfig.write_text(KUBECONFIG.format(port=self.port, token=self.token_file))
        self.requests: list[Request] = []
        self.log: list[tuple[int, str, dict[str, Any]]] = []
        self.changed = threading.Condition()
        self.era = 0
        self._server: Server | None = None

    def environment(self) -> dict[str, str]:
        return {
            "BPFLEET_IDENTITY_KUBERNETES": "on",
            "BPFLEET_IDENTITY_KUBECONFIG": str(self.kubeconfig),
            "BPFLEET_NODE_NAME": NODE,
        }

    def add_pod(self, name: str, uid: str, container_id: str, address: str = "") -> None:
        """A pod of this node with one container `main`, made by the Deployment that its name begins with."""
        owner = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "name": name.rpartition("-")[0],
            "uid": "1",
            "controller": True,
        }
        metadata = {"name": name, "namespace": "shop", "uid": uid, "labels": {"pod-template-hash": HASH}}
        status = {
            "phase": "Running",
            "containerStatuses": [{"name": "main", "containerID": f"docker://{container_id}"}],
        }
        if address:
            status |= {"podIPs": [{"ip": address}]}
        spec = {"nodeName": NODE, "containers": [{"name": "main", "image": "registry/web:1"}]}
        self.add("pods", {"metadata": metadata | {"ownerReferences": [owner]}, "spec": spec, "status": status})

    def add(self, resource: str, item: dict[str, Any]) -> None:
        with self.changed:
            version = len(self.log) + 2
            item["metadata"] |= {"resourceVersion": str(version)}
            self.log.append((version, resource, item))
            self.changed.notify_all()

    def start(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                with contextlib.suppress(ConnectionError):
                    api.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            self.end_watches()

    def end_watches(self) -> None:
        """As the server does after some minutes."""
        with self.changed:
            self.era += 1
            self.changed.notify_all()

    def counts(self) -> Counter[Request]:
        return Counter(self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        query, resource = parse_qs(url.query), url.path.rpartition("/")[2]
        verb = "watch" if "watch" in query else "list"
        allowed = handler.headers.get("Authorization") == f"Bearer {self.token}"
        self.requests.append(Request(resource, verb, 200 if allowed else 401))
        if not allowed:
            send(handler, 401, {"kind": "Status", "code": 401, "message": "Unauthorized"})
        elif verb == "list":
            with self.changed:
                items = [item for _, kind, item in self.log if kind == resource]
                version = str(len(self.log) + 1)
            send(handler, 200, {"kind": "List", "metadata": {"resourceVersion": version}, "items": items})
        else:
            self._watch(handler, resource, int(query["resourceVersion"][0]))

    def _watch(self, handler: BaseHTTPRequestHandler, resource: str, version: int) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Connection", "close")
        handler.end_headers()
        era = self.era
        while self.era == era:
            with self.changed:
                self.changed.wait_for(partial(self._is_news, era, version))
                news = [item for number, kind, item in self.log if number > version and kind == resource]
                version = len(self.log) + 1
            for item in news:
                line = json.dumps({"type": "ADDED", "object": item}).encode() + b"\n"
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        handler.wfile.write(b"0\r\n\r\n")

    def _is_news(self, era: int, version: int) -> bool:
        return self.era != era or len(self.log) + 1 > version


def send(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(data)
