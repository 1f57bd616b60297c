"""Which packets does an interface carry that belong to no workload's socket? Each kind, with its exact number.

These are the agent's blind spots, as the docs of the traffic collector list them. What is left of the interface's
counters after them is 0.
"""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.support.agents import Agent
from tests.support.balances import NOTHING, PACKETS, Remainder, remainder
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace, veth_pair

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
ADDRESSES = [V4, V6]
IP_HEADER = {V4: 20, V6: 40}
TCP_HEADER, UDP_HEADER, ICMP_HEADER = 20, 8, 8
TIMESTAMPS = 12
SYN_OPTIONS = 20
CLOSED_PORT = 9

LATE_SECONDS = 0.08
"""When FIN and ACK arrive together the socket is still there: the server has to be late."""


@pytest.mark.parametrize("address", ADDRESSES)
def test_fin_to_time_wait_and_its_ack(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001, mode="late", pause=LATE_SECONDS)
    before = [side.interface("veth0") for side in pair]
    client.talk("connect", address, 5001, count=20)

    page = agent.settled(server, client)
    size = IP_HEADER[address] + TCP_HEADER + TIMESTAMPS
    of_client = remainder(pair[0].interface("veth0") - before[0], page.only(workload=client.workload))
    of_server = remainder(pair[1].interface("veth0") - before[1], page.only(workload=server.workload))
    assert of_client == Remainder(20, 20 * size, 20, 20 * size)
    assert of_server == NOTHING


@pytest.mark.parametrize("address", ADDRESSES)
def test_syn_to_a_closed_port_and_its_reset(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    before = [side.interface("veth0") for side in pair]
    assert client.talk("connect", address, CLOSED_PORT, count=50) == "done ECONNREFUSED=50"

    page = agent.settled(server, client)
    syn, reset = (IP_HEADER[address] + TCP_HEADER + options for options in (SYN_OPTIONS, 0))
    of_client = remainder(pair[0].interface("veth0") - before[0], page.only(workload=client.workload))
    of_server = remainder(pair[1].interface("veth0") - before[1], page.only(workload=server.workload))
    assert of_server == Remainder(50, 50 * syn, 50, 50 * reset)
    assert of_client == NOTHING


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_datagram_to_a_closed_port_and_the_icmp_that_says_so(
    agent: Agent, place: Place, pair: Pair, address: str
) -> None:
    """The sender's socket gets the error, not the packet."""
    for side in pair:
        side.write("net/ipv4/icmp_ratelimit", 0)
        side.write("net/ipv6/icmp/ratelimit", 0)
    client = place("client", pair[0])
    before = [side.interface("veth0") for side in pair]
    client.talk("udp_burst", address, CLOSED_PORT, count=30, size=64, unconnected=True)

    page = agent.settled(client)
    datagram = IP_HEADER[address] + UDP_HEADER + 64
    error = IP_HEADER[address] + ICMP_HEADER + datagram
    of_client = remainder(pair[0].interface("veth0") - before[0], page)
    of_server = pair[1].interface("veth0") - before[1]
    assert of_client == Remainder(30, 30 * error, 0, 0)
    assert (of_server.rx_packets, of_server.tx_packets) == (30, 30)


@needs("ping")
@pytest.mark.parametrize("address", ADDRESSES)
def test_pings_that_the_kernel_answers(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001)
    before = pair[1].interface("veth0")
    client.run(["ping", "-c", "17", "-i", "0.01", "-s", "56", address])

    page = agent.settled(server)
    echo = IP_HEADER[address] + ICMP_HEADER + 56
    assert remainder(pair[1].interface("veth0") - before, page) == Remainder(17, 17 * echo, 17, 17 * echo)


def test_arp(agent: Agent, place: Place, stack: ExitStack) -> None:
    first, second = stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b"))
    stack.enter_context(veth_pair(first, second, known_neighbours=False))
    server, client = place("server", second), place("client", first)
    server.begin("udp_sink", V4, 5002)
    before = [side.interface("veth0") for side in (first, second)]
    client.talk("udp_burst", V4, 5002, count=11, size=64)

    page = agent.settled(server, client)
    arp = 28
    of_client = remainder(first.interface("veth0") - before[0], page.only(workload=client.workload))
    of_server = remainder(second.interface("veth0") - before[1], page.only(workload=server.workload))
    assert of_client == Remainder(1, arp, 1, arp)
    assert of_server == Remainder(1, arp, 1, arp)


def test_neighbour_discovery(agent: Agent, place: Place, stack: ExitStack) -> None:
    first, second = stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b"))
    stack.enter_context(veth_pair(first, second, known_neighbours=False))
    server, client = place("server", second), place("client", first)
    server.begin("udp_sink", V6, 5002)
    before = [side.interface("veth0") for side in (first, second)]
    client.talk("udp_burst", V6, 5002, count=11, size=64)

    page = agent.settled(server, client)
    solicitation = 40 + 24 + 8  # header, solicitation or advertisement, link-layer address
    of_client = remainder(first.interface("veth0") - before[0], page.only(workload=client.workload))
    of_server = remainder(second.interface("veth0") - before[1], page.only(workload=server.workload))
    assert of_client == Remainder(1, solicitation, 1, solicitation)
    assert of_server == Remainder(1, solicitation, 1, solicitation)


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_fragmentation_adds(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    """A datagram is one packet to its socket; the interface carries it in four, each with a header of its own."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.begin("udp_sink", address, 5002)
    before = pair[0].interface("veth0")
    client.talk("udp_burst", address, 5002, count=19, size=5000)

    page = agent.settled(server, client)
    for cgroup, direction in ((client, "transmit"), (server, "receive")):
        assert page.value(PACKETS, workload=cgroup.workload, direction=direction, transport="udp") == 19
    # Each IPv6 fragment also has a fragment header of 8 bytes, the first one too (RFC 8200 4.5).
    more = 19 * (3 * 20 if address == V4 else 3 * 40 + 4 * 8)
    assert remainder(pair[0].interface("veth0") - before, page.only(workload=client.workload)) == Remainder(
        0, 0, 19 * 3, more
    )


def test_what_a_namespace_forwards(agent: Agent, place: Place, stack: ExitStack) -> None:
    first, router, last = (stack.enter_context(Namespace(name)) for name in ("a", "router", "b"))
    stack.enter_context(veth_pair(first, router, ("veth0", "left")))
    stack.enter_context(veth_pair(router, last, ("right", "veth0"), subnet=1))
    router.write("net/ipv4/ip_forward", 1)
    first.ip("route add 203.0.113.0/24 via 198.51.100.2")
    last.ip("route add 198.51.100.0/24 via 203.0.113.1")
    client, middle, server = place("client", first), place("middle", router), place("server", last)
    server.serve("203.0.113.2", 5001, mode="echo")
    middle.serve("198.51.100.2", 5001)
    before = router.interface("left")
    client.talk("connect", "203.0.113.2", 5001, size=1009, shutdown=True, read=True)

    page = agent.settled(client, middle, server)
    forwarded = router.interface("left") - before
    assert forwarded.rx_packets == page.value(PACKETS, workload=client.workload, direction="transmit") >= 4
    assert forwarded.tx_packets == page.value(PACKETS, workload=client.workload, direction="receive") >= 4
    assert page.value(PACKETS, workload=middle.workload) == 0


def test_the_kernels_own_sockets_are_nobodys_but_for_neighbour_discovery(
    agent: Agent, place: Place, stack: ExitStack
) -> None:
    """The kernel makes control sockets with each namespace. Resets and ICMP errors that leave through them count for
    nobody; neighbour discovery and multicast reports count for the cgroup that made the namespace (a container
    runtime), because nothing that a packet program may read tells that socket from a process' own."""
    maker = place("maker")
    process = maker.start(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], ready="ready")
    first, second = stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b", made_by=process.pid))
    stack.enter_context(veth_pair(first, second, known_neighbours=False))
    client = place("client", first)
    for address in ADDRESSES:
        assert client.talk("connect", address, CLOSED_PORT, count=5) == "done ECONNREFUSED=5"
        client.talk("udp_burst", address, CLOSED_PORT, count=3, size=64, unconnected=True)
        client.run(["ping", "-c", "3", "-i", "0.01", address])

    page = agent.settled(maker)
    kernel = second.counters()
    assert (kernel["TcpOutRsts"], kernel["Icmp6OutEchoReplies"], kernel["Icmp6OutDestUnreachs"]) == (10, 3, 3)
    own = kernel["Icmp6OutNeighborAdvertisements"] + kernel["Icmp6OutNeighborSolicits"] + kernel["Icmp6OutMLDv2Reports"]
    assert page.value(PACKETS, direction="transmit", transport="icmp", family="ipv6") == own > 0
    assert page.value(PACKETS) == own
