"""Do the books balance: is everything that entered a channel either counted or known to be lost?

Witnesses: the interface, and the sums over all series.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack

from tests.support.agents import WITHOUT_HTTP, Agent
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace
from tests.support.pages import Page

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4 = "198.51.100.2"
PACKETS = "bpfleet_network_io_packets_total"
FLOW_PACKETS = "bpfleet_flow_packets_total"
DATAGRAMS = 50_000
TINY = WITHOUT_HTTP | {"BPFLEET_LIMITS_FLOWS": "64", "BPFLEET_LIMITS_CGROUPS": "16"}
PORTS = 1_009


def unbalanced(page: Page) -> dict[str, float]:
    """seen - delivered - lost by channel, where it is not 0."""
    channels = {labels["channel"] for labels, _ in page.where("bpfleet_seen_total")}
    assert channels
    differences = {
        channel: page.value("bpfleet_seen_total", channel=channel)
        - page.value("bpfleet_delivered_total", channel=channel)
        - page.value("bpfleet_lost_total", channel=channel)
        for channel in channels
    }
    return {channel: difference for channel, difference in differences.items() if difference}


def balanced(agent: Agent) -> Page:
    """The page at a moment when nothing is between the kernel and the agent; this host's own traffic never rests, so
    a few tries are made. Raises AssertionError with what stays open."""
    for _ in range(10):
        page = agent.settled()
        if not unbalanced(page):
            return page
    raise AssertionError(f"the books do not balance: {unbalanced(page)}")


def test_the_books_balance_after_a_burst(agent: Agent, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, 5001)
    client.talk("udp_burst", V4, 9, count=DATAGRAMS, size=64, unconnected=True)
    client.talk("connect", V4, 5001, count=503, shutdown=True, read=True)

    page = balanced(agent)
    assert agent.lost() == {}
    assert page.value(PACKETS, workload=client.workload, transport="udp", direction="transmit") == DATAGRAMS


def test_a_full_flow_map_costs_names_but_no_packet(alone: object, stack: ExitStack, place: Place, pair: Pair) -> None:
    """64 rows for 1,009 peers: the rest goes to the workload's `other` row, and exactly that is said. The agent looks
    at a part of the tree where nobody else sends, so that what was sent is known."""
    root = place("root")
    with Agent(environment={**TINY, "BPFLEET_KERNEL_CGROUP_ROOT": str(root.path)}) as agent:
        client = stack.enter_context(Cgroup(f"{root.workload[1:]}/client", pair[0], exact_name=True))
        before = pair[0].interface("veth0")
        client.talk("udp_ports", V4, 20_000, count=PORTS, size=64)
        sent = (pair[0].interface("veth0") - before).tx_packets
        assert sent == PORTS

        page = balanced(agent)
        mine = page.only(workload="/client", direction="transmit", transport="udp")
        assert mine.value(PACKETS) == mine.value(FLOW_PACKETS) == sent
        named = sum(value for labels, value in mine.where(FLOW_PACKETS) if labels["port"] not in ("", "0"))
        assert 0 < named <= 64
        assert page.value("bpfleet_lost_total", channel="peers", reason="map_full") == sent - named
        assert page.value("bpfleet_lost_total", channel="packets") == 0


def test_connections_beyond_a_full_flow_map_are_counted(alone: object, place: Place, pair: Pair) -> None:
    with Agent(environment=TINY) as agent:
        client, server = place("client", pair[0]), place("server", pair[1])
        client.talk("udp_ports", V4, 20_000, count=PORTS, size=64)
        server.serve(V4, 5001)
        client.talk("connect", V4, 5001, count=211, size=23, shutdown=True, read=True)

        page = balanced(agent)
        assert page.value("bpfleet_tcp_connections_opened_total", workload=client.workload) == 211
        assert page.value("bpfleet_tcp_connections_accepted_total", workload=server.workload) == 211
        assert page.value("bpfleet_tcp_connections_active", workload=client.workload) == 0
        segments = page.value("bpfleet_tcp_segments_total", workload=client.workload, direction="transmit")
        assert segments == pair[0].counters()["TcpOutSegs"]


def test_a_stopped_agent_catches_up(alone: object, place: Place, pair: Pair) -> None:
    """The kernel goes on counting while the agent does not read."""
    with Agent(environment=WITHOUT_HTTP) as agent:
        client = place("client", pair[0])
        os.kill(agent.process.pid, signal.SIGSTOP)
        try:
            client.talk("udp_burst", V4, 9, count=DATAGRAMS, size=64, unconnected=True)
        finally:
            os.kill(agent.process.pid, signal.SIGCONT)

        page = balanced(agent)
        assert page.value(PACKETS, workload=client.workload, transport="udp", direction="transmit") == DATAGRAMS
        assert agent.lost() == {}


def test_each_program_says_how_often_it_ran(agent: Agent, place: Place, pair: Pair) -> None:
    before = agent.settled()
    client = place("client", pair[0])
    client.talk("udp_burst", V4, 9, count=DATAGRAMS, size=64, unconnected=True)
    after = agent.settled()
    name = "bpfleet_program_runs_total"
    assert after.value(name, program="on_egress") - before.value(name, program="on_egress") >= DATAGRAMS
    assert after.value("bpfleet_program_run_seconds_total") > 0
