"""The agent as an unprivileged pod with three capabilities counts what pods do, under the names that Kubernetes has."""

import json
from pathlib import Path

import pytest
from tests.cluster.conftest import OPTIONAL, eventually
from tests.cluster.pods import IMAGE, Cluster
from tests.support.pages import Page

from agent.collectors import BUILT_IN

pytestmark = [
    # the whole client leaves its connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

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
    info = page.value("bpfleet_container_info", pod="client", image=IMAGE)
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
    assert page.value("bpfleet_collector_up") == sum(kind.default for kind in BUILT_IN) + len(OPTIONAL)
    lost = {(labels["channel"], labels["reason"]): value for labels, value in page.where("bpfleet_lost_total") if value}
    lost.pop(("http_requests", "no_request"), None)  # a probe that was under way when the programs were attached
    lost.pop(("events", "policy"), None)  # requests of namespaces that want no log
    assert lost == {}
    # Probes go on meanwhile: between reading the rows and reading the books a packet may pass.
    eventually(lambda: balanced(cluster.page()), "seen = delivered + lost in every channel", 20)
    assert page.value("bpfleet_seen_total", channel="packets") >= REQUESTS
