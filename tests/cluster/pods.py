"""Pods that Kubernetes runs on this machine, and the agent in one of them, as the tests talk to them."""

import contextlib
import http.client
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.waiting import eventually
from tests.support.pages import Page

TAG = "bpfleet-test:agent"
IMAGE = f"docker.io/library/{TAG}"
PACKAGES = ("python3", "python3-bpfcc", "nginx-light", "curl")
PAGE_SECONDS = 10
SAID_SECONDS = 20
EVENT = "bpfleet.http.request"


class Served(NamedTuple):
    """A line of nginx's access log."""

    client: str
    method: str
    target: str
    status: int


class Pods:
    """Of one namespace."""

    def __init__(self, kube: Any, namespace: str) -> None:
        self.core, self.namespace, self._kube = kube.client.CoreV1Api(), namespace, kube

    def pod(self, prefix: str) -> Any:
        pods = self.core.list_namespaced_pod(self.namespace).items
        return next(pod for pod in pods if pod.metadata.name.startswith(prefix))

    def service(self, name: str) -> str:
        """Its ClusterIP."""
        return str(self.core.read_namespaced_service(name, self.namespace).spec.cluster_ip)

    def execute(self, pod: str, *command: str) -> str:
        """An answer that is JSON as a whole the client would take apart."""
        return str(
            self._kube.stream.stream(
                self.core.connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                command=command,
                stderr=True,
                stdout=True,
            )
        )

    def run(self, code: str, pod: str = "client") -> str:
        """Python in a pod."""
        return self.execute(pod, "python3", "-c", code)

    def ask(self, pod: str, *words: str) -> None:
        """curl, over one connection to each server, also for all that a URL with a range stands for."""
        told = self.execute(pod, "sh", "-c", 'exec curl -sS "$@" >/dev/null', "curl", *words)
        assert told == "", told

    def log(self, pod: str) -> list[str]:
        raw = self.core.read_namespaced_pod_log(pod, self.namespace, _preload_content=False)
        return list(raw.data.decode().splitlines())

    def served(self, prefix: str) -> list[Served]:
        """By an nginx of shop.yaml, in the order of the answers."""
        rows = [line.split("\t") for line in self.log(self.pod(prefix).metadata.name)]
        return [Served(client, *request.split(" ")[:2], int(status)) for client, request, status in rows]


class Cluster(Pods):
    """What the tests do in the agent's namespace."""

    def __init__(self, kube: Any, namespace: str) -> None:
        super().__init__(kube, namespace)
        self.server = self.pod("echo")
        self.agent = str(self.core.read_namespaced_pod("agent", namespace).status.pod_ip)
        self.url = f"http://{self.agent}:9436"

    def _get(self, path: str) -> str:
        connection = http.client.HTTPConnection(self.agent, 9436, timeout=PAGE_SECONDS)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode()

    def page(self) -> Page:
        return Page.parse(self._get("/metrics"))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._get("/status"))
        return found

    def settled(self) -> Page:
        """After everything that has happened is read from the kernel, new series included."""
        wanted = self.status()["drains"] + 2
        eventually(lambda: self.status()["drains"] >= wanted, "two drains", 20)
        return Page.parse(self._get("/metrics?view=live"))

    def events(self, namespace: str) -> list[dict[str, Any]]:
        """Requests that the agent's container has told of on its standard output. (Its standard error is no JSON.)"""
        told = [json.loads(line) for line in self.log("agent") if line.startswith("{")]
        assert {each["event.name"] for each in told} <= {EVENT}
        return [each for each in told if each.get("k8s.namespace.name") == namespace]

    @contextlib.contextmanager
    def saying(self, text: str) -> Iterator[None]:
        """What is done makes the agent say so."""

        def lines() -> int:
            return sum(text in line for line in self.log("agent"))

        before = lines()
        yield
        eventually(lambda: lines() > before, f"the agent says: {text}", SAID_SECONDS)

    def interface(self) -> dict[str, int]:
        """Of the client's pod, as its own namespace counts."""
        row = self.run("print(next(l for l in open('/proc/net/dev') if 'eth0' in l))").partition(":")[2].split()
        return {"bytes": int(row[8]), "packets": int(row[9])}


def process_of(pod: Any) -> int:
    """A process of its first container, on this machine."""
    container = pod.status.container_statuses[0].container_id.partition("://")[2]
    for each in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):  # another one that has just ended
            if container in each.read_text():
                return int(each.parent.name)
    raise LookupError(f"no process of {pod.metadata.name}")


def by_path(events: Sequence[dict[str, Any]], role: str) -> Counter[tuple[str, int]]:
    """What one side of requests was asked for, by path and status."""
    return Counter(
        (each["url.path"], each["http.response.status_code"]) for each in events if each["bpfleet.http.role"] == role
    )
