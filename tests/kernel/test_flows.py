"""Does each flow carry its peer, the service's port and the same amounts as the workload's own counters?"""

from collections.abc import Callable

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
ADDRESSES = [V4, V6]
FLOW_LABELS = {"transport", "port", "peer_kind", "peer_namespace", "peer_name", "zone", "peer_zone"}


@pytest.mark.parametrize("address", ADDRESSES)
def test_flows_add_up_to_the_workload(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    for port in (5001, 5002):
        server.serve(address, port, mode="echo")
        client.talk("connect", address, port, count=7, size=port, shutdown=True, read=True)
    client.talk("connect", address, 9, count=3)

    page = agent.settled(server, client)
    for cgroup in (server, client):
        mine = page.only(workload=cgroup.workload)
        for direction in ("receive", "transmit"):
            for flow, whole in (
                ("bpfleet_flow_bytes_total", "bpfleet_network_io_bytes_total"),
                ("bpfleet_flow_packets_total", "bpfleet_network_io_packets_total"),
                ("bpfleet_flow_tcp_segments_total", "bpfleet_tcp_segments_total"),
            ):
                assert mine.value(flow, direction=direction) == mine.value(whole, direction=direction) > 0
    sent = page.only(workload=client.workload, direction="transmit")
    assert sent.value("bpfleet_flow_bytes_total", port="5002") > 7 * 5002
    connects = "bpfleet_flow_tcp_connects_total"
    assert page.value(connects, workload=client.workload, port="5001", result="success") == 7
    assert page.value(connects, workload=client.workload, port="9", result="refused") == 3
    assert page.value(connects, workload=server.workload) == 0


def test_both_ends_name_the_port_of_the_service(agent: Agent, place: Place, pair: Pair) -> None:
    """Also where the client's port is the lower one, and where the service's lies among the ephemeral ports."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 40_001, mode="echo")
    client.talk("connect", V4, 40_001, size=100, shutdown=True, read=True, local=1023)

    page = agent.settled(server, client)
    ports = {labels["port"] for labels, value in page.where("bpfleet_flow_bytes_total") if value}
    assert ports == {"40001"}


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_peer_of_a_flow_is_known_as_far_as_it_can_be(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001, mode="echo")
    client.talk("connect", address, 5001, size=100, shutdown=True, read=True)

    page = agent.settled(client)
    flows = list(page.where("bpfleet_flow_bytes_total", workload=client.workload, port="5001"))
    assert flows
    for labels, _ in flows:
        assert set(labels) >= FLOW_LABELS
        assert labels["peer_kind"] == "external"
        assert labels["peer_name"] == labels["peer_namespace"] == labels["peer_zone"] == ""


def test_a_peer_on_loopback_is_the_host(agent: Agent, place: Place, pair: Pair) -> None:
    both = place("both", pair[0])
    both.serve("127.0.0.1", 5001, mode="echo")
    both.talk("connect", "127.0.0.1", 5001, size=100, shutdown=True, read=True)

    page = agent.settled(both)
    kinds = {labels["peer_kind"] for labels, value in page.where("bpfleet_flow_bytes_total", port="5001") if value}
    assert kinds == {"host"}
