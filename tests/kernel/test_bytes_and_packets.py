"""Do the bytes and packets of a namespace's workloads add up to what its interface carried?

Witness: /proc/net/dev of the namespace, less 14 bytes of link header a packet. A client that closes first
may leave a FIN and an ACK without a socket: tests that cannot avoid that allow for whole pairs of them.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.agents import Agent
from tests.support.balances import BYTES, NOTHING, PACKETS, Remainder, remainder
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.servers import Nginx, start_dnsmasq

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
FIN_BYTES = {V4: 52, V6: 72}
"""A TCP segment without data, with the time stamp option."""

HUNDRED_MIB = 104_857_600
MORE_THAN_32_BITS = 4_400_000_000


def is_pairs_of_fin(left: Remainder, connections: int, address: str) -> bool:
    """FIN to TIME_WAIT and its ACK: as many on one side as on the other, at most one pair a connection."""
    size = FIN_BYTES[address]
    return (
        0 <= left.rx_packets == left.tx_packets <= connections
        and left.rx_bytes == left.rx_packets * size
        and left.tx_bytes == left.tx_packets * size
    )


def url(address: str, name: str = "") -> str:
    return f"http://[{address}]/{name}" if ":" in address else f"http://{address}/{name}"


@needs("nginx", "curl")
@pytest.mark.parametrize("address", [V4, V6])
def test_a_file_of_100_mib_is_all_there(agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    nginx = Nginx(server, tmp_path)
    nginx.file("large", HUNDRED_MIB)
    before = [side.interface("veth0") for side in pair]
    client.run(["curl", "-sSf", "-o", "/dev/null", url(address, "large")])

    page = agent.settled(server, client)
    carried = [side.interface("veth0") - start for side, start in zip(pair, before, strict=True)]
    family = "ipv6" if ":" in address else "ipv4"
    sent = page.value(BYTES, workload=server.workload, direction="transmit", transport="tcp", family=family)
    assert sent > HUNDRED_MIB
    assert nginx.served()[0][2] == str(HUNDRED_MIB)
    assert remainder(carried[1], page.only(workload=server.workload)) == NOTHING
    assert is_pairs_of_fin(remainder(carried[0], page.only(workload=client.workload)), 1, address)
    assert page.value(BYTES, transport="udp") == page.value(BYTES, transport="other") == 0


def test_counters_do_not_wrap_at_4_gib(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001)
    before = pair[1].interface("veth0")
    client.talk("connect", V4, 5001, size=MORE_THAN_32_BITS, shutdown=True, read=True)

    page = agent.settled(server, client)
    assert page.value(BYTES, workload=server.workload, direction="receive") > MORE_THAN_32_BITS
    assert page.value("bpfleet_flow_bytes_total", workload=client.workload, direction="transmit") > MORE_THAN_32_BITS
    assert remainder(pair[1].interface("veth0") - before, page.only(workload=server.workload)) == NOTHING


@pytest.mark.parametrize("address", [V4, V6])
def test_a_thousand_small_messages_are_all_there(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001, mode="echo")
    before = [side.interface("veth0") for side in pair]
    client.talk("connect", address, 5001, size=23, count=211, shutdown=True, read=True)

    page = agent.settled(server, client)
    for side, start, cgroup in zip(pair, before, (client, server), strict=True):
        assert remainder(side.interface("veth0") - start, page.only(workload=cgroup.workload)) == NOTHING


@needs("ping")
@pytest.mark.parametrize("address", [V4, V6])
def test_200_pings_are_200_packets_each_way(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    client = place("client", pair[0])
    before = pair[0].interface("veth0")
    client.run(["ping", "-c", "200", "-i", "0.005", "-s", "56", address])

    page = agent.settled(client)
    for direction in ("receive", "transmit"):
        assert page.value(PACKETS, direction=direction, transport="icmp") == 200
    assert page.value(PACKETS) == 400
    assert remainder(pair[0].interface("veth0") - before, page) == NOTHING


@needs("dnsmasq")
@pytest.mark.parametrize("address", [V4, V6])
def test_questions_to_dnsmasq_are_counted_on_both_sides(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    start_dnsmasq(server)
    before = [side.interface("veth0") for side in pair]
    assert client.talk("dns", address, 53, count=503) == "answers 503"

    page = agent.settled(server, client)
    family = "ipv6" if ":" in address else "ipv4"
    for cgroup in (server, client):
        for direction in ("receive", "transmit"):
            labels = {"workload": cgroup.workload, "direction": direction, "transport": "udp", "family": family}
            assert page.value(PACKETS, **labels) == 503
    for side, start, cgroup in zip(pair, before, (client, server), strict=True):
        assert remainder(side.interface("veth0") - start, page.only(workload=cgroup.workload)) == NOTHING


@needs("dnsmasq", "dig")
@pytest.mark.parametrize("address", [V4, V6])
def test_dig_is_one_datagram_each_way(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    start_dnsmasq(server)
    answer = client.run(["dig", "+short", "+tries=1", f"@{address}", "name.test", "A"]).stdout
    assert answer.strip() == "192.0.2.99"

    page = agent.settled(server, client)
    for cgroup in (server, client):
        assert page.value(PACKETS, workload=cgroup.workload, transport="udp") == 2


@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize("unconnected", [False, True])
def test_a_burst_of_datagrams_is_counted_one_by_one(
    agent: Agent, place: Place, pair: Pair, address: str, unconnected: bool
) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    receiver = server.begin("udp_sink", address, 5002)
    before = pair[0].interface("veth0")
    client.talk("udp_burst", address, 5002, count=10_007, size=64, **({"unconnected": True} if unconnected else {}))
    client.talk("udp_burst", address, 5002, count=1, size=1)
    assert receiver.stdout is not None
    received = int(receiver.stdout.readline().split()[1])

    page = agent.settled(server, client)
    header = 48 if ":" in address else 28
    assert page.value(PACKETS, workload=client.workload, direction="transmit", transport="udp") == 10_008
    assert page.value(BYTES, workload=client.workload, direction="transmit") == 10_007 * (64 + header) + 1 + header
    assert page.value(PACKETS, workload=server.workload, direction="receive", transport="udp") == received + 1
    assert remainder(pair[0].interface("veth0") - before, page.only(workload=client.workload)) == NOTHING


@pytest.mark.parametrize("address", [V4, V6])
def test_what_is_neither_tcp_udp_nor_icmp_is_other(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    """Protocol 253 is for experiments (RFC 3692)."""
    client = place("client", pair[0])
    before = pair[0].interface("veth0")
    client.talk("raw_burst", address, 253, count=23, size=64)

    page = agent.settled(client)
    assert page.value(PACKETS, direction="transmit", transport="other") == 23
    assert page.value(PACKETS, direction="transmit") == 23
    assert (pair[0].interface("veth0") - before).tx_packets == 23


def test_a_server_of_both_families_counts_ipv4_as_ipv4(agent: Agent, place: Place, pair: Pair) -> None:
    """Its socket is an IPv6 one whose peer is ::ffff:a.b.c.d."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve("::", 5001, mode="echo", dual=True)
    before = pair[1].interface("veth0")
    client.talk("connect", V4, 5001, count=7, size=1009, shutdown=True, read=True)

    page = agent.settled(server, client)
    of_server = page.only(workload=server.workload)
    assert of_server.value(PACKETS, family="ipv6") == 0
    assert of_server.value("bpfleet_tcp_connections_accepted_total") == 7
    assert remainder(pair[1].interface("veth0") - before, of_server) == NOTHING
    for cgroup in (server, client):
        assert page.value("bpfleet_flow_bytes_total", workload=cgroup.workload, port="5001") > 7 * 2 * 1009
        assert page.value("bpfleet_tcp_rtt_seconds_count", workload=cgroup.workload) >= 7


def test_loopback_counts_each_packet_on_both_ends(agent: Agent, place: Place, pair: Pair) -> None:
    """The counters of lo are without a link header."""
    both = place("both", pair[0])
    both.serve("127.0.0.1", 5001, mode="echo")
    before = pair[0].interface("lo")
    both.talk("connect", "127.0.0.1", 5001, size=100_003, shutdown=True, read=True)

    page = agent.settled(both)
    assert remainder(pair[0].interface("lo") - before, page, link_header=0) == NOTHING
