"""The agent as an unprivileged pod with three capabilities counts what pods do, under the names that Kubernetes has."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import agent_account, create, eventually, made_namespace
from tests.cluster.test_identity import cgroup_root
from tests.support.pages import Page

from agent.collectors import BUILT_IN

pytestmark = [
    # the whole client leaves its connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
TOOL = ROOT.parent / "shared" / "cluster" / "cluster"
"""Makes an image of Debian plus packages and puts it into the cluster."""

MANIFESTS = Path(__file__).with_name("pods.yaml")
QUALIFIED = "docker.io/library/"
PACKAGES = ("python3", "python3-bpfcc")
ZONE_LABEL = "topology.kubernetes.io/zone"
REQUESTS = 97
DATAGRAMS = 211
DATAGRAM_BYTES = 100
HEADERS_BYTES = 20 + 8
"""Of IPv4 and UDP."""

HELD_SECONDS = 30
"""Longer than two lists of sockets take, each of which compiles its program."""

ASK = f"import urllib.request\nfor _ in range({REQUESTS}): urllib.request.urlopen('http://ADDRESS/hostname').read()"
SEND = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    f"for _ in range({DATAGRAMS}): s.sendto(bytes({DATAGRAM_BYTES}), ('ADDRESS', 9000))"
)


HOLD = (
    "import subprocess, sys; hold = 'import socket, sys, time; s = socket.create_connection((sys.argv[1], 80)); "
    f"time.sleep({HELD_SECONDS})'; subprocess.Popen([sys.executable, '-c', hold, 'ADDRESS'], "
    "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)"
)
LIST = "from agent.sockets import main; print('sockets'); main(['--all', '--json', '--namespace', 'NAMESPACE'])"


@pytest.fixture(scope="session")
def image(kube: Any) -> str:
    if not TOOL.exists():
        pytest.skip("no tool to make an image for this cluster")
    tag = "bpfleet-test:agent"
    subprocess.run([TOOL, "base", tag, *PACKAGES], check=True, capture_output=True, timeout=300)
    return tag


@pytest.fixture(scope="session")
def site(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's pinned requirements for the image's Python."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("no uv beside this Python: run `make test`")
    target = tmp_path_factory.mktemp("site")
    target.parent.parent.chmod(0o755)
    command = [uv, "pip", "install", "--quiet", "--python-version", "3.13", "--target", target, "--require-hashes"]
    subprocess.run([*command, "--no-config", "-r", ROOT / "requirements" / "agent.txt"], check=True, timeout=300)
    return target


@pytest.fixture(scope="session")
def zone(kube: Any, node: str) -> Iterator[str]:
    """The node's zone, for the time of these tests."""
    core = kube.client.CoreV1Api()
    before = (core.read_node(node).metadata.labels or {}).get(ZONE_LABEL)
    core.patch_node(node, {"metadata": {"labels": {ZONE_LABEL: "zone-a"}}})
    yield "zone-a"
    core.patch_node(node, {"metadata": {"labels": {ZONE_LABEL: before}}})


@pytest.fixture(scope="session")
def pods(kube: Any, image: str, site: Path, zone: str) -> Iterator[str]:
    """A namespace in which the agent, a server and a client are ready."""
    core = kube.client.CoreV1Api()

    def ready() -> bool:
        statuses = [pod.status.container_statuses for pod in core.list_namespaced_pod(namespace).items]
        return len(statuses) == 3 and all(each and all(one.ready for one in each) for each in statuses)

    with made_namespace(kube) as namespace, agent_account(kube, namespace):
        create(kube, namespace, MANIFESTS, IMAGE=QUALIFIED + image, SOURCE=ROOT, SITE=site, CGROUP=cgroup_root())
        try:
            eventually(ready, "agent, server and client are ready")
        except AssertionError as error:
            log = core.read_namespaced_pod_log("agent", namespace)
            raise AssertionError(f"{error}; the agent says:\n{log}") from error
        yield namespace


class Cluster:
    """What the tests do in it."""

    def __init__(self, kube: Any, namespace: str) -> None:
        self.core, self.namespace, self._kube = kube.client.CoreV1Api(), namespace, kube
        self.server = self.pod("echo")
        self.agent = self.core.read_namespaced_pod("agent", namespace).status.pod_ip

    def pod(self, prefix: str) -> Any:
        pods = self.core.list_namespaced_pod(self.namespace).items
        return next(pod for pod in pods if pod.metadata.name.startswith(prefix))

    def run(self, code: str, pod: str = "client") -> str:
        """Python in a pod. An answer that is JSON as a whole the client would take apart."""
        return str(
            self._kube.stream.stream(
                self.core.connect_get_namespaced_pod_exec,
                pod,
                self.namespace,
                command=["python3", "-c", code],
                stderr=True,
                stdout=True,
            )
        )

    def page(self) -> Page:
        connection = http.client.HTTPConnection(self.agent, 9436, timeout=10)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert answer.status == 200
        return Page.parse(answer.read().decode())

    def interface(self) -> dict[str, int]:
        """Of the client's pod, as its own namespace counts."""
        row = self.run("print(next(l for l in open('/proc/net/dev') if 'eth0' in l))").partition(":")[2].split()
        return {"bytes": int(row[8]), "packets": int(row[9])}


@pytest.fixture
def cluster(kube: Any, pods: str) -> Cluster:
    cluster = Cluster(kube, pods)
    cluster.page()  # the first scrape, from which the zero of new series counts
    return cluster


def test_it_holds_three_capabilities_and_no_more(cluster: Cluster) -> None:
    process = next(
        each
        for each in Path("/proc").glob("[0-9]*/cmdline")
        if each.read_bytes().startswith(b"python3\0-m\0agent\0--listen\x000.0.0.0")
    )
    status = process.with_name("status").read_text()
    bits = {12: "NET_ADMIN", 38: "PERFMON", 39: "BPF"}
    for name in ("CapEff", "CapPrm", "CapBnd"):
        mask = int(status.partition(f"{name}:")[2].split()[0], 16)
        assert mask == sum(1 << bit for bit in bits), f"{name} {mask:x}"
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status


def test_requests_through_a_service_are_counted_at_both_pods(cluster: Cluster, zone: str) -> None:
    before = cluster.page()
    address = cluster.core.read_namespaced_service("echo", cluster.namespace).spec.cluster_ip
    assert cluster.run(ASK.replace("ADDRESS", address)) == ""
    served = cluster.core.read_namespaced_pod_log(cluster.server.metadata.name, cluster.namespace, container="server")
    assert served.count("GET /hostname") == REQUESTS
    client = {"namespace": cluster.namespace, "pod": "client", "container": "shell", "workload_kind": "Pod"}
    server = {"namespace": cluster.namespace, "pod": cluster.server.metadata.name, "container": "server"}
    server |= {"workload": "echo", "workload_kind": "Deployment"}

    def grown(page: Page, family: str, **labels: str) -> float:
        return page.value(family, **labels) - before.value(family, **labels)

    to_service = {"peer_kind": "service", "peer_namespace": cluster.namespace, "peer_name": "echo", "port": "80"}
    from_client = {"peer_kind": "pod", "peer_namespace": cluster.namespace, "peer_name": "client", "port": "8080"}
    connects = {"result": "success", **client, **to_service, "zone": zone}
    received = {"direction": "receive", **server, **from_client, "zone": zone, "peer_zone": zone}
    # The flows' series are new: they show 0 until a scraper can have seen that.
    eventually(
        lambda: (
            grown(cluster.page(), "bpfleet_flow_tcp_connects_total", **connects) >= REQUESTS
            and grown(cluster.page(), "bpfleet_flow_packets_total", **received) >= REQUESTS
            and grown(cluster.page(), "bpfleet_tcp_connections_closed_total", **server) >= REQUESTS
        ),
        "all is counted",
        20,
    )
    page = cluster.page()
    assert grown(page, "bpfleet_tcp_connections_opened_total", **client) == REQUESTS
    assert grown(page, "bpfleet_tcp_connections_accepted_total", **server) == REQUESTS
    assert grown(page, "bpfleet_flow_tcp_connects_total", **connects) == REQUESTS
    info = page.value("bpfleet_container_info", pod="client", image=f"{QUALIFIED}bpfleet-test:agent")
    assert info == 1


def test_datagrams_of_a_pod_are_what_its_interface_counts(cluster: Cluster) -> None:
    sent = {"pod": "client", "direction": "transmit", "transport": "udp", "family": "ipv4"}
    cluster.run(SEND.replace("ADDRESS", cluster.server.status.pod_ip).replace(str(DATAGRAMS), "1"))  # ARP, first series
    eventually(
        lambda: cluster.page().value("bpfleet_network_io_packets_total", **sent) >= 1, "the first is counted", 20
    )
    before, first = cluster.page(), cluster.interface()
    cluster.run(SEND.replace("ADDRESS", cluster.server.status.pod_ip))
    second = cluster.interface()

    def grown(family: str) -> float:
        return cluster.page().value(family, **sent) - before.value(family, **sent)

    eventually(lambda: grown("bpfleet_network_io_packets_total") >= DATAGRAMS, "all is counted", 20)
    assert grown("bpfleet_network_io_packets_total") == DATAGRAMS
    assert grown("bpfleet_network_io_bytes_total") == DATAGRAMS * (DATAGRAM_BYTES + HEADERS_BYTES)
    assert second["packets"] - first["packets"] >= DATAGRAMS
    received = {"pod": cluster.server.metadata.name, "container": "sink", "direction": "receive", "transport": "udp"}
    assert cluster.page().value("bpfleet_network_io_packets_total", **received) >= DATAGRAMS


def test_the_list_of_sockets_runs_beside_the_agent_and_names_pods_and_services(cluster: Cluster) -> None:
    address = cluster.core.read_namespaced_service("echo", cluster.namespace).spec.cluster_ip
    assert cluster.run(HOLD.replace("ADDRESS", address)) == ""
    told = cluster.run(LIST.replace("NAMESPACE", cluster.namespace), pod="agent")
    sockets = json.loads(told.partition("\n")[2])["sockets"]

    (client,) = [each for each in sockets if each["pod"] == "client"]
    assert (client["state"], client["peer_address"], client["peer_port"]) == ("established", address, 80)
    assert (client["peer_kind"], client["peer_namespace"], client["peer_name"]) == (
        *("service", cluster.namespace, "echo"),
    )
    server = {(each["protocol"], each["state"], each["local_port"]): each
              for each in sockets if each["workload"] == "echo"}  # fmt: skip
    assert set(server) == {("tcp", "listening", 8080), ("tcp", "established", 8080), ("udp", "unconnected", 9000)}
    served = server["tcp", "established", 8080]
    assert (served["pod"], served["container"]) == (cluster.server.metadata.name, "server")
    assert (served["peer_kind"], served["peer_name"]) == ("pod", "client")
    assert served["network_namespace"] != client["network_namespace"]


def balanced(page: Page) -> bool:
    return all(
        seen == page.value("bpfleet_delivered_total", **labels) + page.value("bpfleet_lost_total", **labels)
        for labels, seen in page.where("bpfleet_seen_total")
    )


def test_nothing_is_lost_and_the_books_balance(cluster: Cluster) -> None:
    page = cluster.page()
    assert page.value("bpfleet_collector_up") == sum(kind.default for kind in BUILT_IN)
    lost = {(labels["channel"], labels["reason"]): value for labels, value in page.where("bpfleet_lost_total") if value}
    lost.pop(("http_requests", "no_request"), None)  # a probe that was under way when the programs were attached
    assert lost == {}
    # Probes go on meanwhile: between reading the rows and reading the books a packet may pass.
    eventually(lambda: balanced(cluster.page()), "seen = delivered + lost in every channel", 20)
    assert page.value("bpfleet_seen_total", channel="packets") >= REQUESTS
