"""Are requests by peer those of the workload, and does `bpfleet topology` show who calls whom, and nobody else?

Witnesses: nginx's access logs, and what the application has done.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support import calling_app
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.kubernetes_api import NODE, KubernetesApi
from tests.support.marks import needs
from tests.support.namespaces import Namespace, veth_pair
from tests.support.pages import Page
from tests.support.servers import Nginx

from agent import topology
from agent.polling import Server
from agent.topology_forms import Topology

Place = Callable[..., Cgroup]

FIRST, SECOND, APP, KEPT, NEW, OTHER = 8081, 8082, 8083, 6380, 5433, 8084
"""None that another test of this agent uses at the same address: of two servers there nobody can say which was called.
"""

PROXY = (
    "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{to}; access_log {log} served; }} }}"
)
ASKED = {"kept": 23, "new": 7, "broken": 5, "absent": 3}
"""Requests by path."""

ALL = sum(ASKED.values())
HTTP_FIELDS = ("requests", "errors", "connections")


class Chain:
    """client -> nginx -> nginx -> application -> two servers, each in a cgroup of its own, in one network."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        space = stack.enter_context(Namespace("chain"))
        self.places = {
            name: stack.enter_context(Cgroup(name, space))
            for name in ("client", "first", "second", "app", "kept", "new")
        }
        for name, port in (("kept", KEPT), ("new", NEW)):
            self.places[name].serve(calling_app.HOST, port, mode="echo")
        words = [sys.executable, calling_app.__file__, *map(str, (APP, KEPT, NEW))]
        self.app = self.places["app"].start(words, ready="ready")
        for name, port, to, own in (("second", SECOND, APP, 80), ("first", FIRST, SECOND, OTHER)):
            (folder / name).mkdir()
            directives = PROXY.format(port=port, to=to, log=self.log(name))
            Nginx(self.places[name], folder / name, own, directives)

    def log(self, name: str) -> Path:
        return self.folder / name / "proxied.log"

    def proxied(self, name: str) -> list[int]:
        """Statuses that an nginx has answered with."""
        return sorted(int(line.split()[1]) for line in self.log(name).read_text().splitlines())

    def ask(self, url: str) -> None:
        """One connection for all that a URL with a range stands for."""
        self.places["client"].run(["curl", "-s", "-o", f"{self.folder}/answer", f"http://127.0.0.1:{url}"])

    def finish(self) -> dict[str, int]:
        """What the application was asked, when it has ended."""
        out, _ = self.app.communicate(timeout=10)
        found: dict[str, int] = json.loads(out)
        return found

    def name(self, workload: str) -> str:
        return next(name for name, place in self.places.items() if place.workload == workload)

    def edges(self, document: str) -> dict[tuple[str, str, str, int], dict[str, Any]]:
        """Of a JSON document, those of the chain's workloads."""
        mine = {place.workload for place in self.places.values()}
        found = {}
        for edge in json.loads(document)["edges"]:
            client, server = edge["client"]["name"], edge["server"]["name"]
            if {client, server} & mine:
                found[self.name(client), self.name(server), edge["protocol"], edge["port"]] = edge
        return found


@pytest.fixture
def chain(stack: ExitStack, tmp_path: Path) -> Iterator[Chain]:
    yield Chain(stack, tmp_path)


@needs("nginx", "curl")
def test_a_chain_is_exactly_its_edges_with_exact_counts(
    agent: Agent, chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, count in ASKED.items():
        chain.ask(f"{FIRST}/{path}?[1-{count}]")
    page = agent.settled(*chain.places.values())
    words = ["--agent", f"http://127.0.0.1:{agent.port}", "--seconds", "0", "--format", "json"]
    assert topology.main(words) == 0
    edges = chain.edges(capsys.readouterr().out)

    statuses = sorted([200] * (ASKED["kept"] + ASKED["new"]) + [500] * ASKED["broken"] + [404] * ASKED["absent"])
    assert chain.proxied("first") == chain.proxied("second") == statuses
    assert set(edges) == {
        ("client", "first", "http", FIRST),
        ("first", "second", "http", SECOND),
        ("second", "app", "http", APP),
        ("app", "kept", "tcp", KEPT),
        ("app", "new", "tcp", NEW),
    }
    failed = ASKED["broken"] + ASKED["absent"]
    for (client, *_, port), edge in edges.items():
        assert set(edge["told_by"]) == {"client", "server"}
        sides = edge["told_by"]["client"], edge["told_by"]["server"]
        calls = {KEPT: 1, NEW: ASKED["new"], FIRST: len(ASKED)}.get(port, ALL)
        assert [side["connections"] for side in sides] == [calls, calls], client
        assert edge["connections"] == calls
        if edge["protocol"] == "http":
            assert [side["requests"] for side in sides] == [ALL, ALL] == [edge["requests"]] * 2
            assert [side["errors"] for side in sides] == [failed, ASKED["broken"]]
            assert edge["error_share"] == round(failed / ALL, 6)
        else:
            assert [side["requests"] for side in sides] == [0, 0]
        assert sides[0]["bytes_sent"] == sides[1]["bytes_sent"] > 0
        assert sides[0]["bytes_received"] == sides[1]["bytes_received"] > 0
    peers_add_up(page, chain.places.values())
    assert chain.finish() == ASKED


def peers_add_up(page: Page, places: Any) -> None:
    """Over all peers there are as many requests, errors and seconds as the workload has in all."""
    for place in places:
        mine = page.only(workload=place.workload)
        for role in ("client", "server"):
            family = f"http_{role}_request_duration_seconds"
            flows = "bpfleet_flow_http_requests_total"
            assert mine.value(flows, role=role) == mine.value(f"{family}_count")
            errors = sum(count for labels, count in mine.where(f"{family}_count") if labels["error_type"])
            assert mine.value(flows, role=role, result="error") == errors
            seconds = mine.value("bpfleet_flow_http_request_duration_seconds_sum", role=role)
            assert seconds == pytest.approx(mine.value(f"{family}_sum"), rel=1e-9)


@needs("nginx", "curl")
def test_what_is_silent_between_two_looks_is_no_edge(agent: Agent, chain: Chain) -> None:
    chain.ask(f"{FIRST}/kept?[1-3]")
    agent.settled(*chain.places.values())

    def meanwhile(_: float) -> None:
        chain.ask(f"{OTHER}/?[1-11]")
        agent.settled(*chain.places.values())

    server = Server(f"http://127.0.0.1:{agent.port}")
    found, notes = topology.asked([server], 1.0, time.monotonic, meanwhile)
    assert notes == []
    client, first = chain.places["client"].workload, chain.places["first"].workload
    mine = [edge for edge in found.edges if client in (edge.key.client.name, edge.key.server.name)]
    assert [(edge.key.client.name, edge.key.server.name, edge.key.port) for edge in mine] == [(client, first, OTHER)]
    assert (mine[0].tally.requests, mine[0].tally.connections) == (11, 1)


# An agent with a cluster, few rows and names for what is outside: one for what follows

PODS = {"web": "web-7d9f8b6c5d-aaaaa", "cart": "cart-7d9f8b6c5d-bbbbb"}
HERE, THERE, SERVICE = "198.51.100.1", "198.51.100.2", "10.96.0.7"
NAT = (
    "add table ip n; add chain ip n o { type nat hook output priority -100; };"
    f"add rule ip n o ip daddr {SERVICE} tcp dport 80 dnat to {THERE}:8080"
)
SETTINGS = {
    "BPFLEET_LIMITS_HTTP_FLOWS": "16",
    "BPFLEET_IDENTITY_ZONE": "eu-1",
    "BPFLEET_IDENTITY_EXTERNAL": "partner=203.0.113.0/24,far=203.0.113.2/31@eu-2",
}


def container_id(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def uid(name: str) -> str:
    return f"7a3f5c1e-0000-4000-8000-{name.encode().hex():0>12}"


@pytest.fixture(scope="module")
def clustered(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """It is told of two pods, and of a Service of which one is the backend."""
    api = KubernetesApi(tmp_path_factory.mktemp("api"))
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    spec = {"clusterIPs": [SERVICE], "ports": ports}
    api.add("services", {"metadata": {"name": "cart", "namespace": "shop"}, "spec": spec})
    labels = {"kubernetes.io/service-name": "cart"}
    endpoint = {
        "addresses": [THERE],
        "nodeName": NODE,
        "targetRef": {"kind": "Pod", "namespace": "shop", "name": PODS["cart"]},
    }
    slices = {"ports": [ports[0] | {"port": 8080}], "endpoints": [endpoint]}
    api.add("endpointslices", {"metadata": {"name": "cart-1", "namespace": "shop", "labels": labels}, **slices})
    addresses = {"addresses": [{"address": "192.0.2.200"}]}
    api.add("nodes", {"metadata": {"name": NODE}, "spec": {"podCIDRs": ["198.51.100.0/24"]}, "status": addresses})
    for name, address in (("web", HERE), ("cart", THERE)):
        api.add_pod(PODS[name], uid(name), container_id(name), address)
    api.start()
    house.empty()
    with Agent(environment=SETTINGS | api.environment()) as agent:
        yield agent
    api.stop()


def counted(agent: Agent) -> Topology:
    """All since the agent's start."""
    found, notes = topology.asked([Server(f"http://127.0.0.1:{agent.port}")], 0.0, time.monotonic)
    assert notes == []
    return found


@needs("nginx", "curl", "nft")
def test_a_service_is_one_edge_with_its_real_backend(
    clustered: Agent, stack: ExitStack, pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    """The client connects to the Service's address, which the kernel translates: its own side knows the Service, the
    backend's the client. Witness: nginx's log."""
    kubelet = stack.enter_context(Cgroup("kubepods"))
    places = {}
    for name, space in zip(PODS, pair, strict=True):
        pod = stack.enter_context(Cgroup(f"{kubelet.workload[1:]}/pod{uid(name)}", exact_name=True))
        whole = f"{pod.workload[1:]}/{container_id(name)}"
        places[name] = stack.enter_context(Cgroup(whole, space, exact_name=True))
    pair[0].ip(f"route add {SERVICE} dev veth0")
    pair[0].run(["nft", NAT])
    nginx = Nginx(places["cart"], tmp_path, 8080)
    places["web"].run(["curl", "-s", f"http://{SERVICE}/?[1-23]"])
    places["web"].run(["curl", "-s", f"http://{SERVICE}/absent?[1-5]"])
    clustered.settled(*places.values())
    assert len(nginx.served()) == 28
    (edge,) = (edge for edge in counted(clustered).edges if "shop" in (edge.key.client[1], edge.key.server[1]))
    assert edge.key == (("Deployment", "shop", "web"), ("service", "shop", "cart"), "tcp", 80, True)
    assert edge.backends == {("Deployment", "shop", "cart")}
    for side, errors in (("client", 5), ("server", 0)):
        tally = edge.told[side]
        assert (tally.requests, tally.errors, tally.connections) == (28, errors, 2)
    assert edge.told["client"].sent == edge.told["server"].sent > 0


@needs("nginx", "curl")
def test_peers_without_room_lose_their_name_and_no_request(
    clustered: Agent, place: Place, stack: ExitStack, tmp_path: Path
) -> None:
    """16 rows for 53 servers: the rest is in the workload's `other` row, and that is said."""
    space = stack.enter_context(Namespace("many"))
    client, server = place("client", space), place("server", space)
    Nginx(server, tmp_path)
    lost = clustered.settled().value("bpfleet_lost_total", channel="http_peers")
    client.run(["curl", "-s", *(f"http://127.1.0.{number}/" for number in range(1, 54))])
    page = clustered.settled(client, server)
    peers_add_up(page, (client, server))
    lost = clustered.page().value("bpfleet_lost_total", channel="http_peers") - lost
    assert page.value("bpfleet_flow_http_requests_total", peer_kind="unknown", peer_name="_other") == lost > 0
    assert page.value("bpfleet_flow_http_requests_total", role="client", workload=client.workload) == 53


def test_a_network_outside_has_its_name_and_its_zone(clustered: Agent, place: Place, stack: ExitStack) -> None:
    near, far = (stack.enter_context(Namespace(name)) for name in ("near", "far"))
    stack.enter_context(veth_pair(near, far, subnet=1))
    client, server = place("client", near), place("server", far)
    server.serve("203.0.113.2", 5001, mode="echo")
    client.talk("connect", "203.0.113.2", 5001, count=7, size=1000, shutdown=True, read=True)
    mine = clustered.settled(client).only(peer_kind="external", peer_name="far", zone="eu-1", peer_zone="eu-2")
    assert mine.value("bpfleet_flow_tcp_connects_total", port="5001", result="success") == 7
    (edge,) = (edge for edge in counted(clustered).edges if edge.key.client.name == client.workload)
    assert edge.key.server == ("external", "", "far")
    sent = mine.value("bpfleet_flow_bytes_total")
    assert edge.tally.across_zones == edge.tally.sent + edge.tally.received == sent > 14 * 1000
