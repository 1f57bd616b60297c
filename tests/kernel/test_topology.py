"""Are requests by peer those of the workload, and does `bpfleet topology` show who calls whom, and nobody else?

Witnesses: nginx's access logs, what the application has done, what Redis and MariaDB count, and wrk.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import calling_app
from tests.support.agents import SCRAPE_SECONDS, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.kubernetes_api import NODE, KubernetesApi
from tests.support.marks import needs
from tests.support.namespaces import Namespace, veth_pair
from tests.support.pages import Page
from tests.support.servers import Nginx, start_mariadb, start_redis

from agent import topology
from agent.polling import Server
from agent.topology_forms import FORMS, Topology

Place = Callable[..., Cgroup]

FIRST, SECOND, APP, REDIS, MARIADB, OTHER = 8081, 8082, 8083, 6380, 3307, 8084
"""None that another test of this agent uses at the same address: of two servers there nobody can say which was called.
"""

PROXY = (
    "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{to}; access_log {log} served; }} }}"
)
ASKED = {"redis": 23, "mariadb": 7, "broken": 5, "absent": 3}
"""Requests by path."""

ALL = sum(ASKED.values())
LOADED, LOAD_SECONDS = 211, 6
STOP = "local n = 0; function response() n = n + 1; if n == {count} then wrk.thread:stop() end end"
"""For wrk, which otherwise goes on until its time is over and leaves a request without its answer."""

WRK_CONNECTIONS = 2
"""It tries the address before it begins."""

ROUNDED = 0.001
"""Of a rate in JSON."""

IDLE_SECONDS, GONE_SECONDS = 4.0 * SCRAPE_SECONDS, 20.0
"""No shorter window is allowed."""


class Chain:
    """client -> nginx -> nginx -> application -> Redis and MariaDB, each in a cgroup of its own, in one network."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.folder = folder
        self.space = space = stack.enter_context(Namespace("chain"))
        self.places = {
            name: stack.enter_context(Cgroup(name, space))
            for name in ("client", "first", "second", "app", "redis", "mariadb")
        }
        start_redis(self.places["redis"], folder / "redis", REDIS)
        start_mariadb(self.places["mariadb"], folder / "mariadb", MARIADB)
        words = [sys.executable, calling_app.__file__, *map(str, (APP, REDIS, MARIADB))]
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

    def load(self, url: str, count: int) -> None:
        """So many requests of wrk's, over one connection: it takes LOAD_SECONDS whatever it has to do."""
        script = self.folder / "stop.lua"
        script.write_text(STOP.format(count=count))
        words = ["wrk", "-t1", "-c1", f"-d{LOAD_SECONDS}s", "-s", str(script), f"http://127.0.0.1:{url}"]
        said = self.places["client"].run(words).stdout
        assert f"{count} requests in" in said and "Non-2xx" not in said and "errors" not in said, said

    def counted(self) -> tuple[int, int]:
        """What Redis and MariaDB have done, as their own clients are told."""
        redis = self.space.run(["redis-cli", "-p", str(REDIS), "get", calling_app.KEY]).stdout
        words = ["mariadb", "--no-defaults", "-h127.0.0.1", f"-P{MARIADB}", "--skip-ssl", "-N", "-e"]
        mariadb = self.space.run([*words, "show global status like 'Com_select'"]).stdout
        return int(redis), int(mariadb.split()[1])

    def finish(self) -> dict[str, int]:
        """What the application was asked, when it has ended."""
        out, _ = self.app.communicate(timeout=10)
        found: dict[str, int] = json.loads(out)
        return found

    def name(self, workload: str) -> str:
        """A workload of no place of the chain has its own."""
        return next((name for name, place in self.places.items() if place.workload == workload), workload)

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


@needs("nginx", "curl", "redis-server", "mariadbd")
def test_a_chain_is_exactly_its_edges_with_exact_counts(
    agent: Agent, chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    for path, count in ASKED.items():
        chain.ask(f"{FIRST}/{path}?[1-{count}]")
    page = agent.settled(*chain.places.values())
    words = ["--agent", f"http://127.0.0.1:{agent.port}", "--seconds", "0", "--format", "json"]
    assert topology.main(words) == 0
    edges = chain.edges(capsys.readouterr().out)

    statuses = sorted([200] * (ASKED["redis"] + ASKED["mariadb"]) + [500] * ASKED["broken"] + [404] * ASKED["absent"])
    assert chain.proxied("first") == chain.proxied("second") == statuses
    assert set(edges) == {
        ("client", "first", "http", FIRST),
        ("first", "second", "http", SECOND),
        ("second", "app", "http", APP),
        ("app", "redis", "tcp", REDIS),
        ("app", "mariadb", "tcp", MARIADB),
    }
    failed = ASKED["broken"] + ASKED["absent"]
    for (client, *_, port), edge in edges.items():
        assert set(edge["told_by"]) == {"client", "server"}
        sides = edge["told_by"]["client"], edge["told_by"]["server"]
        calls = {REDIS: 1, MARIADB: ASKED["mariadb"], FIRST: len(ASKED)}.get(port, ALL)
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
    assert chain.counted() == (ASKED["redis"], ASKED["mariadb"])
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


@needs("nginx", "curl", "redis-server", "mariadbd")
def test_what_is_silent_between_two_looks_is_no_edge(agent: Agent, chain: Chain) -> None:
    chain.ask(f"{FIRST}/redis?[1-3]")
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

PODS = {"web": "web-7d9f8b6c5d-aaaaa", "cart": "cart-7d9f8b6c5d-bbbbb", "idle": "idle-7d9f8b6c5d-ccccc"}
HERE, THERE, ELSEWHERE, SERVICE = "198.51.100.1", "198.51.100.2", "198.51.100.3", "10.96.0.7"
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
    """It is told of three pods, and of a Service of which one is the backend."""
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
    for name, address in zip(PODS, (HERE, THERE, ELSEWHERE), strict=True):
        api.add_pod(PODS[name], uid(name), container_id(name), address)
    api.start()
    house.empty()
    file = tmp_path_factory.mktemp("settings") / "settings.yaml"
    file.write_text("{}\n")
    with Agent("--config", str(file), environment=SETTINGS | api.environment()) as agent:
        yield agent
    api.stop()


def pods(stack: ExitStack, spaces: dict[str, Namespace | None]) -> dict[str, Cgroup]:
    """Where a kubelet would put them."""
    kubelet = stack.enter_context(Cgroup("kubepods"))
    places = {}
    for name, space in spaces.items():
        pod = stack.enter_context(Cgroup(f"{kubelet.workload[1:]}/pod{uid(name)}", exact_name=True))
        whole = f"{pod.workload[1:]}/{container_id(name)}"
        places[name] = stack.enter_context(Cgroup(whole, space, exact_name=True))
    return places


@contextmanager
def idle_after(agent: Agent, seconds: float) -> Iterator[None]:
    """The agent's window for flows without traffic."""
    file = Path(agent.argv[agent.argv.index("--config") + 1])
    file.write_text(f"flow_idle_seconds: {seconds}\n")
    assert agent.reload()["error"] == ""
    try:
        yield
    finally:
        file.write_text("{}\n")
        assert agent.reload()["error"] == ""


def counted(agent: Agent) -> Topology:
    """All since the agent's start."""
    found, notes = topology.asked([Server(f"http://127.0.0.1:{agent.port}")], 0.0, time.monotonic)
    assert notes == []
    return found


@needs("nginx", "wrk", "redis-server", "mariadbd")
def test_load_is_four_edges_with_its_rates_which_go_when_their_time_is_over(
    clustered: Agent, chain: Chain, stack: ExitStack
) -> None:
    """wrk -> nginx -> application -> Redis and MariaDB, on a node that has a pod, too."""
    pods(stack, {"idle": None})
    clustered.settled(*chain.places.values())  # the application has its connection to Redis
    took = []

    def meanwhile(_: float) -> None:
        begun = time.monotonic()
        chain.load(f"{SECOND}/both", LOADED)
        clustered.settled(*chain.places.values())
        took.append(time.monotonic() - begun)

    begun = time.monotonic()
    server = Server(f"http://127.0.0.1:{clustered.port}")
    found, notes = topology.asked([server], 1.0, time.monotonic, meanwhile)
    took.append(time.monotonic() - begun)
    assert notes == []
    document = "".join(FORMS["json"](found))
    edges = chain.edges(document)
    assert {key: (edge["requests"], edge["connections"]) for key, edge in edges.items()} == {
        ("client", "second", "http", SECOND): (LOADED, WRK_CONNECTIONS),
        ("second", "app", "http", APP): (LOADED, LOADED),
        ("app", "redis", "tcp", REDIS): (0, 0),  # it has its connection since before
        ("app", "mariadb", "tcp", MARIADB): (0, LOADED),
    }
    assert took[0] <= found.seconds <= took[1]
    for edge in edges.values():
        assert edge["bytes_sent"] and edge["bytes_received"]
        for name, rate in edge["per_second"].items():
            assert rate * found.seconds == pytest.approx(edge[name], abs=found.seconds * ROUNDED)

    def since_the_start() -> set[tuple[str, str, str, int]]:
        return set(chain.edges("".join(FORMS["json"](counted(clustered)))))

    assert since_the_start() == set(edges)
    with idle_after(clustered, IDLE_SECONDS):
        end = time.monotonic() + GONE_SECONDS
        while since_the_start() and time.monotonic() < end:
            clustered.drained()
        assert since_the_start() == set()
    assert len(chain.proxied("second")) == LOADED and chain.counted() == (LOADED, LOADED)


@needs("nginx", "curl", "nft")
def test_a_service_is_one_edge_with_its_real_backend(
    clustered: Agent, stack: ExitStack, pair: tuple[Namespace, Namespace], tmp_path: Path
) -> None:
    """The client connects to the Service's address, which the kernel translates: its own side knows the Service, the
    backend's the client. Witness: nginx's log."""
    places = pods(stack, {"web": pair[0], "cart": pair[1]})
    pair[0].ip(f"route add {SERVICE} dev veth0")
    pair[0].run(["nft", NAT])
    nginx = Nginx(places["cart"], tmp_path, 8080)
    places["web"].run(["curl", "-s", f"http://{SERVICE}/?[1-23]"])
    places["web"].run(["curl", "-s", f"http://{SERVICE}/absent?[1-5]"])
    clustered.settled(*places.values())
    assert len(nginx.served()) == 28
    found = [edge for edge in counted(clustered).edges if "shop" in (edge.key.client[1], edge.key.server[1])]
    assert len(found) == 1, [(edge.key, edge.told) for edge in found]
    edge = found[0]
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
