"""Does a connection that does not come about fail once, with the reason that the application was told?

Witness: the errno of each connect() call, and TcpAttemptFails of the namespace.
"""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace
from tests.support.pages import Page
from tests.support.puppets import ACK, RST, SYN, Puppet, Segment
from tests.support.relay import Relay

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
CLOSED_PORT = 9
FAILED = "bpfleet_tcp_connections_failed_total"
OPENED = "bpfleet_tcp_connections_opened_total"
ACTIVE = "bpfleet_tcp_connections_active"


def reasons(page: Page) -> dict[str, int]:
    """Failures by reason, those that happened; and checks that nothing was opened or stays open."""
    assert page.value(OPENED) == 0
    assert page.value(ACTIVE) == 0
    return {labels["reason"]: int(value) for labels, value in page.where(FAILED) if value}


@pytest.mark.parametrize("address", [V4, V6])
def test_50_connects_to_a_closed_port_are_50_refused(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    client = place("client", pair[0])
    assert client.talk("connect", address, CLOSED_PORT, count=50) == "done ECONNREFUSED=50"

    page = agent.settled(client)
    assert reasons(page) == {"refused": 50}
    assert pair[0].counters()["TcpAttemptFails"] == 50
    assert page.value("bpfleet_flow_tcp_connects_total", result="refused", port=str(CLOSED_PORT)) == 50
    assert page.value("bpfleet_tcp_connect_duration_seconds_count") == 0


def test_a_peer_that_never_answers_is_a_timeout(agent: Agent, place: Place, relay: Relay) -> None:
    relay.a.write("net/ipv4/tcp_syn_retries", 1)
    relay.a.write("net/ipv4/tcp_syn_linear_timeouts", 0)
    relay.use(ab={"drop": "1/1", "match": ["tcp_syn"]})
    client = place("client", relay.a)
    assert client.talk("connect", V4, 5001, count=2) == "done ETIMEDOUT=2"

    assert reasons(agent.settled(client)) == {"timeout": 2}


@pytest.mark.parametrize(
    ("address", "route", "error"),
    [("198.18.0.9", "198.18.0.0/24", "EHOSTUNREACH"), ("2001:db8:9::9", "2001:db8:9::/48", "ENETUNREACH")],
)
def test_a_router_that_knows_no_way_is_unreachable(
    agent: Agent, place: Place, relay: Relay, address: str, route: str, error: str
) -> None:
    """Over the relay, because over veth the ICMP comes back while connect() still holds the socket: heeded a second
    later, when the SYN is sent again. Five, because a router says so in a burst of five, then once a second."""
    relay.b.write("net/ipv4/ip_forward", 1)
    relay.b.write("net/ipv6/conf/all/forwarding", 1)
    relay.b.write("net/ipv4/icmp_ratelimit", 0)
    relay.b.write("net/ipv6/icmp/ratelimit", 0)
    relay.b.ip(f"route add unreachable {route}")
    relay.a.ip(f"route add {route} via {V6 if ':' in address else V4}")
    client = place("client", relay.a)
    assert client.talk("connect", address, 5001, count=5) == f"done {error}=5"

    assert reasons(agent.settled(client)) == {"unreachable": 5}


def test_a_client_that_gives_up_has_abandoned(agent: Agent, place: Place, relay: Relay) -> None:
    relay.use(ab={"drop": "1/1", "match": ["tcp_syn"]})
    client = place("client", relay.a)
    client.talk("abandon", V4, 5001, count=41, pause=0.1)

    assert reasons(agent.settled(client)) == {"abandoned": 41}


def open_too_then_reset(segment: Segment) -> list[Segment]:
    """A SYN is crossed by a SYN; the SYN-ACK that answers it is reset."""
    if segment.flags == SYN:
        return [segment.reply(SYN, sequence=1000)]
    if segment.flags == SYN | ACK:
        return [segment.reply(RST, sequence=1001)]
    return []


def test_a_reset_while_both_sides_open_is_a_reset(agent: Agent, place: Place, stack: ExitStack) -> None:
    """Two sockets that connect to each other pass SYN_RECV (RFC 9293 3.5); an RST there is ECONNRESET."""
    space = stack.enter_context(Namespace("a"))
    stack.enter_context(Puppet(space, open_too_then_reset))
    client = place("client", space)
    assert client.talk("connect", V4, 5001, count=3) == "done ECONNRESET=3"

    assert reasons(agent.settled(client)) == {"reset": 3}


def test_a_listener_with_a_full_backlog_accepts_what_fits(agent: Agent, place: Place, pair: Pair) -> None:
    """SYNs beyond the backlog are dropped: nobody is accepted twice, nobody fails while the client still tries."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="deaf", backlog=3)
    client.talk("abandon", V4, 5001, count=10, pause=0.5)

    page = agent.settled(server, client)
    accepted = page.value("bpfleet_tcp_connections_accepted_total", workload=server.workload)
    assert accepted == pair[1].counters()["TcpPassiveOpens"]
    opened = page.value(OPENED, workload=client.workload)
    failed = page.value(FAILED, workload=client.workload)
    assert opened + failed == 10
    assert page.value(FAILED, workload=client.workload, reason="abandoned") == failed


def test_no_route_fails_before_there_is_a_connection(agent: Agent, place: Place, pair: Pair) -> None:
    """A documented blind spot: the kernel refuses before SYN_SENT, nothing leaves and nothing is counted."""
    client = place("client", pair[0])
    assert client.talk("connect", "198.18.0.9", 5001, count=5) == "done ENETUNREACH=5"

    assert reasons(agent.settled(client)) == {}
