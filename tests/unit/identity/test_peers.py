from typing import Any

import pytest

from agent.identity import addresses
from agent.identity.model import Owner, Peer
from agent.identity.peers import MAX_BACKENDS, ClusterPeers, HostPeers
from agent.identity.pods import Pods
from bpfleet.metrics import Flow

HOST = Owner("_host", workload="sshd.service", workload_kind="SystemdUnit", zone="z")
POD = Owner("shop", pod="web-1", container="c", workload="web", workload_kind="Deployment", zone="z")
HOST_NETWORK_POD = Owner("shop", pod="exporter-1", workload="exporter", zone="z", host_network=True)


def flow(address: str, port: int = 1, transport: str = "tcp") -> Flow:
    packed = addresses.parse(address)
    assert packed
    return Flow(packed, port, transport)


def service(name: str, *ips: str, port: int = 80, **spec: Any) -> dict[str, Any]:
    ports = [{"port": port, "protocol": "TCP", "nodePort": spec.pop("node_port", None)}]
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"clusterIPs": list(ips), "ports": ports, **spec}}


def endpoint(address: str, pod: str = "", zone: str = "", node: str = "") -> dict[str, Any]:
    target = {"targetRef": {"kind": "Pod", "namespace": "shop", "name": pod}} if pod else {}
    return {"addresses": [address], "zone": zone, "nodeName": node, **target}


def endpoint_slice(name: str, *endpoints: dict[str, Any], port: int = 8080, protocol: str = "TCP") -> dict[str, Any]:
    labels = {"kubernetes.io/service-name": name.partition("-")[0]}
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "ports": [{"port": port, "protocol": protocol}],
        "endpoints": list(endpoints),
    }


def node(name: str, address: str, zone: str = "", *networks: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "spec": {"podCIDRs": list(networks)},
        "status": {"addresses": [{"address": address}, {"address": name}]},
    }


@pytest.fixture
def peers(clock) -> ClusterPeers:
    peers = ClusterPeers(Pods(clock), clock, node="node0")
    peers.nodes.put(node("node0", "192.168.0.1", "z", "10.244.0.0/24"))
    peers.nodes.put(node("node1", "192.168.0.2", "y", "10.244.1.0/24", "fd00:1::/64"))
    peers.services.put(service("web", "10.96.0.7", "fd00:96::7", node_port=30080, externalIPs=["203.0.113.7"]))
    peers.services.put(service("db", "None", port=3306))
    peers.slices.put(
        endpoint_slice("web-1", endpoint("10.244.0.3", "web-1", "z"), endpoint("10.244.1.3", "web-2", "y"))
    )
    peers.slices.put(endpoint_slice("exporter-1", endpoint("192.168.0.2", "exporter-2", "y"), port=9100))
    peers.slices.put(endpoint_slice("dns-1", endpoint("10.244.1.4", "dns-1"), port=53, protocol="UDP"))
    peers.slices.put(endpoint_slice("kubernetes-1", endpoint("192.168.0.1"), port=6443))
    peers.refresh()
    return peers


WEB = Peer("service", "shop", "web")
CASES = {
    ("10.96.0.7", 80, "tcp"): WEB,
    ("fd00:96::7", 80, "tcp"): WEB,
    ("203.0.113.7", 80, "tcp"): WEB,
    ("10.96.0.7", 81, "tcp"): WEB,
    ("10.96.0.7", 0, "icmp"): WEB,
    ("192.168.0.2", 30080, "tcp"): WEB,
    ("192.168.0.2", 30080, "udp"): Peer("node", "", "node1", "y"),
    ("10.244.1.3", 8080, "tcp"): Peer("pod", "shop", "web-2", "y"),
    ("10.244.1.3", 50000, "udp"): Peer("pod", "shop", "web-2", "y"),
    ("10.244.1.4", 53, "udp"): Peer("pod", "shop", "dns-1"),
    ("10.244.1.77", 80, "tcp"): Peer("pod", "", "", "y"),
    ("fd00:1::77", 80, "tcp"): Peer("pod", "", "", "y"),
    ("192.168.0.2", 9100, "tcp"): Peer("pod", "shop", "exporter-2", "y"),
    ("192.168.0.2", 9100, "udp"): Peer("node", "", "node1", "y"),
    ("192.168.0.1", 6443, "tcp"): Peer("service", "shop", "kubernetes"),
    ("192.168.0.1", 22, "tcp"): Peer("node", "", "node0", "z"),
    ("192.0.2.1", 443, "tcp"): Peer("external"),
    ("10.5.0.1", 443, "tcp"): Peer("external"),
    ("2001:db8::1", 443, "tcp"): Peer("external"),
    ("::", 0, "other"): Peer("unknown"),
    ("0.0.0.0", 0, "other"): Peer("unknown"),
    ("224.0.0.251", 5353, "udp"): Peer("unknown"),
    ("fe80::1", 1, "tcp"): Peer("unknown"),
}


@pytest.mark.parametrize(("where", "expected"), CASES.items())
def test_an_address_a_port_and_a_protocol_name_a_peer(
    peers: ClusterPeers, where: tuple[str, int, str], expected: Peer
) -> None:
    assert peers.find(flow(*where), POD) == expected


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "127.3.2.1"])
def test_loopback_is_whoever_owns_the_network(peers: ClusterPeers, address: str) -> None:
    assert peers.find(flow(address), POD) == Peer("pod", "shop", "web-1", "z")
    for owner in (HOST, HOST_NETWORK_POD):
        assert peers.find(flow(address), owner) == Peer("node", "", "node0", "z")


def test_a_peer_that_is_gone_is_known_for_five_minutes(peers: ClusterPeers, clock) -> None:
    peers.slices.remove(endpoint_slice("web-1"))
    peers.refresh()
    clock.pass_by(300)
    peers.refresh()
    assert peers.find(flow("10.244.1.3", 8080), POD) == Peer("pod", "shop", "web-2", "y")
    clock.pass_by(1)
    peers.refresh()
    assert peers.find(flow("10.244.1.3", 8080), POD) == Peer("pod", "", "", "y")


def test_an_address_that_is_used_again_belongs_to_the_new_pod(peers: ClusterPeers) -> None:
    peers.slices.remove(endpoint_slice("web-1"))
    peers.refresh()
    peers.slices.put(endpoint_slice("db-1", endpoint("10.244.1.3", "db-0", "y"), port=3306))
    peers.refresh()
    for port in (3306, 8080, 50000):
        assert peers.find(flow("10.244.1.3", port), POD) == Peer("pod", "shop", "db-0", "y")


def test_an_endpoint_of_two_services_stays_when_one_is_deleted(peers: ClusterPeers) -> None:
    peers.slices.put(endpoint_slice("canary-1", endpoint("10.244.1.3", "web-2", "y")))
    peers.refresh()
    peers.slices.keep({"shop/canary-1"})
    peers.refresh()
    assert peers.find(flow("10.244.1.3", 8080), POD) == Peer("pod", "shop", "web-2", "y")


def test_without_pod_ranges_a_private_address_may_be_a_pod(clock) -> None:
    peers = ClusterPeers(Pods(clock), clock, node="node0")
    peers.nodes.put(node("node0", "192.168.0.1"))
    peers.refresh()
    assert peers.find(flow("10.5.0.1"), POD) == Peer("unknown")
    assert peers.find(flow("192.0.2.1"), POD) == Peer("external")


def test_without_nodes_nobody_is_called_external(clock) -> None:
    peers = ClusterPeers(Pods(clock), clock, node="node0")
    peers.refresh()
    assert peers.find(flow("192.0.2.1"), POD) == Peer("unknown")


def test_a_heartbeat_of_a_node_is_no_change(peers: ClusterPeers) -> None:
    before = peers.nodes.version
    peers.nodes.put(node("node0", "192.168.0.1", "z", "10.244.0.0/24"))
    assert peers.nodes.version == before


def test_the_zone_of_this_node_follows_its_label(peers: ClusterPeers) -> None:
    assert peers.zone() == "z"
    peers.nodes.put(node("node0", "192.168.0.1", "x"))
    assert peers.zone() == "x"
    peers.nodes.remove(node("node0", ""))
    assert peers.zone() == ""


def test_a_machines_own_addresses_are_read_twice_a_minute(clock) -> None:
    current: set[bytes] = set()
    peers = HostPeers(lambda: set(current), clock, "box")
    peers.refresh()
    current.update(addresses.parse_all(["192.168.0.9"]))
    for seconds, kind in ((29, "external"), (1, "host")):
        clock.pass_by(seconds)
        peers.refresh()
        assert peers.find(flow("192.168.0.9"), HOST).kind == kind


def test_outside_kubernetes_there_are_this_host_and_the_others(clock) -> None:
    peers = HostPeers(lambda: set(addresses.parse_all(["192.168.0.1"])), clock, "box")
    peers.refresh()
    expected = {
        "192.168.0.1": Peer("host", "", "box"),
        "127.0.0.1": Peer("host", "", "box"),
        "::1": Peer("host", "", "box"),
        "192.0.2.1": Peer("external"),
        "10.0.0.1": Peer("external"),
        "::": Peer("unknown"),
        "255.255.255.255": Peer("unknown"),
    }
    assert {address: peers.find(flow(address), HOST) for address in expected} == expected


def test_the_pods_of_this_node_that_stand_behind_a_service_are_known(clock) -> None:
    """By the port's name; not those of other nodes, nor of a Service that has no address."""
    peers = ClusterPeers(Pods(clock), clock, node="node0")
    web = service("web", "10.96.0.7")
    web["spec"]["ports"] = [{"name": "http", "port": 80}, {"name": "admin", "port": 81, "protocol": "TCP"}]
    slices = endpoint_slice(
        "web-1", endpoint("10.244.0.3", "web-1", node="node0"), endpoint("10.244.1.3", "web-2", node="node1")
    )
    slices["ports"] = [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "admin", "port": 9090}]
    peers.services.put(web)
    peers.services.put(service("db", "None", port=3306))
    peers.slices.put(slices)
    peers.slices.put(endpoint_slice("db-1", endpoint("10.244.0.4", "db-1", node="node0"), port=3306))
    peers.refresh()
    assert sorted(peers.backends) == [
        ("shop", "web", "tcp", "80", "web-1", "8080"),
        ("shop", "web", "tcp", "81", "web-1", "9090"),
    ]
    assert peers.backends_left_out == 0
    peers.slices.remove(slices)
    peers.refresh()
    assert peers.backends == ()


def test_backends_beyond_the_limit_are_counted(clock) -> None:
    peers = ClusterPeers(Pods(clock), clock, node="node0")
    peers.services.put(service("web", "10.96.0.7", port=8080))
    pods = [endpoint(f"10.244.{number >> 8}.{number & 255}", f"web-{number}", node="node0") for number in range(5000)]
    peers.slices.put(endpoint_slice("web-1", *pods))
    peers.refresh()
    assert (len(peers.backends), peers.backends_left_out) == (MAX_BACKENDS, 5000 - MAX_BACKENDS)


def test_services_are_reached_at_their_own_addresses_and_their_endpoints(clock) -> None:
    peers = ClusterPeers(Pods(clock), clock, "node0")
    peers.services.put(service("web", "10.96.0.1"))
    peers.services.put(service("db", "None"))
    for item in (
        endpoint_slice("web-1", endpoint("10.244.1.2", "web-1")),
        endpoint_slice("db-1", endpoint("10.244.1.3", "db-1"), endpoint("10.244.1.2", "web-1")),
    ):
        peers.slices.put(item)
    peers.refresh()

    def at(address: str) -> frozenset[str]:
        return peers.services_at(addresses.parse(address) or b"")

    assert at("10.96.0.1") == {"shop/web"}
    assert at("10.244.1.2") == {"shop/web", "shop/db"}
    assert at("10.244.1.3") == {"shop/db"}
    assert at("192.0.2.1") == frozenset()
    wanted = set(peers.addresses_of(lambda name: name == "shop/web"))
    assert wanted == {addresses.parse("10.96.0.1"), addresses.parse("10.244.1.2")}
    before = peers.reached
    peers.slices.remove(endpoint_slice("db-1"))
    peers.refresh()
    assert peers.reached != before and at("10.244.1.3") == frozenset() and at("10.244.1.2") == {"shop/web"}
