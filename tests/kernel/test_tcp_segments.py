"""Are segments, and those sent again, what the kernel's own counters say, also on a bad link?

Witnesses: TcpOutSegs, TcpInSegs and TcpRetransSegs of a namespace in which the workload is alone; the relay's tallies.
"""

import re
from collections.abc import Callable

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup, tell
from tests.support.namespaces import Namespace
from tests.support.relay import Relay

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
SEGMENTS = "bpfleet_tcp_segments_total"
RETRANSMISSIONS = "bpfleet_tcp_retransmissions_total"
SIZE = 1_500_000
"""About a thousand segments: a minute at most even with a tenth of them lost."""


def transfer(sides: Pair, place: Place, address: str = V4, **options: object) -> tuple[Cgroup, Cgroup]:
    """Client in the first namespace sends SIZE bytes to a server in the second; nobody is left with a TIME_WAIT that
    the other's FIN could find."""
    client, server = place("client", sides[0]), place("server", sides[1])
    server.serve(address, 5001)
    client.talk("connect", address, 5001, **({"size": SIZE, "shutdown": True, "read": True} | options))
    return client, server


@pytest.mark.parametrize("address", [V4, V6])
def test_segments_of_a_good_link_are_the_kernels(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    """What one side sent the other received, in super-packets of up to 64 KiB; TcpInSegs counts those as one."""
    client, server = transfer(pair, place, address, size=20_000_000)

    page = agent.settled(client, server)
    packets = "bpfleet_network_io_packets_total"
    of_client, of_server = (page.only(workload=cgroup.workload) for cgroup in (client, server))
    kernel = [side.counters() for side in pair]
    assert [one.value(RETRANSMISSIONS) for one in (of_client, of_server)] == [one["TcpRetransSegs"] for one in kernel]
    # A starved machine resends what was only late; all of it arrives.
    arriving = [one["TcpOutSegs"] + one["TcpRetransSegs"] for one in kernel]
    assert of_client.value(SEGMENTS, direction="transmit") == kernel[0]["TcpOutSegs"]
    assert of_server.value(SEGMENTS, direction="receive") == arriving[0]
    assert of_server.value(SEGMENTS, direction="transmit") == kernel[1]["TcpOutSegs"]
    assert of_client.value(SEGMENTS, direction="receive") == arriving[1]
    assert of_client.value(packets, direction="receive") == kernel[0]["TcpInSegs"]
    assert of_server.value(packets, direction="receive") == kernel[1]["TcpInSegs"]
    assert of_client.value(packets, direction="transmit") < kernel[0]["TcpOutSegs"] / 2


def test_segments_are_those_of_ss(agent: Agent, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, 5001, mode="echo")
    held = client.begin("hold", V4, 5001, count=1, size=60_000)
    for _ in range(7):
        tell(held, "send", "sent")

    page = agent.settled(client)
    (line,) = pair[0].sockets("state", "established")
    for direction, word in (("transmit", "segs_out"), ("receive", "segs_in")):
        found = re.search(rf"\b{word}:(\d+)", line)
        assert found and page.value(SEGMENTS, direction=direction) == int(found[1])


@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"drop": "0.05", "match": ["tcp_data"]}, id="5 % dropped"),
        pytest.param({"drop": "0.1", "delay_ms": 1}, id="10 % dropped, handshakes too"),
        pytest.param({"duplicate": "0.1"}, id="10 % doubled"),
        pytest.param({"reorder": "0.1", "delay_ms": 1, "match": ["tcp_data"]}, id="10 % reordered"),
        pytest.param({"drop": "0.05", "duplicate": "0.05", "reorder": "0.05", "delay_ms": 2}, id="all at once"),
    ],
)
def test_what_is_sent_again_is_the_kernels_count(
    agent: Agent, place: Place, relay: Relay, faults: dict[str, object], address: str
) -> None:
    relay.use(faults)
    sides = (relay.a, relay.b)
    client, server = transfer(sides, place, address)

    page = agent.settled(client, server)
    tallies = relay.settled()
    assert relay.overruns() == 0
    for side, cgroup in zip(sides, (client, server), strict=True):
        kernel = side.counters()
        assert page.value(RETRANSMISSIONS, workload=cgroup.workload) == kernel["TcpRetransSegs"]
        assert (
            page.value("bpfleet_flow_tcp_retransmissions_total", workload=cgroup.workload) == kernel["TcpRetransSegs"]
        )
    if "drop" in faults:
        assert page.value(RETRANSMISSIONS, workload=client.workload) >= tallies["ab"]["tcp_data"]["dropped"] > 0
    sent = sum(tally["passed"] + tally["dropped"] for kind, tally in tallies["ab"].items() if kind.startswith("tcp"))
    assert page.value(SEGMENTS, workload=client.workload, direction="transmit") <= sent


def test_syns_and_syn_acks_that_are_sent_again_are_counted(agent: Agent, place: Place, relay: Relay) -> None:
    relay.use(ab={"drop": "@1", "match": ["tcp_syn"]}, ba={"drop": "@1", "match": ["tcp_syn"]})
    client, server = transfer((relay.a, relay.b), place, size=1000)

    page = agent.settled(client, server)
    for side, cgroup in ((relay.a, client), (relay.b, server)):
        kernel = side.counters()["TcpRetransSegs"]
        assert kernel >= 1
        assert page.value(RETRANSMISSIONS, workload=cgroup.workload) == kernel


def test_a_long_run_of_losses_is_counted_to_the_end(agent: Agent, place: Place, relay: Relay) -> None:
    """Retransmission time-outs, each longer than the one before, until the link is whole again."""
    client, server = place("client", relay.a), place("server", relay.b)
    server.serve(V4, 5001, mode="echo")
    held = client.begin("hold", V4, 5001, count=1, size=10_000)
    relay.use(ab={"drop": "@1,2,3,4,5,6,7,8,9,10,11,12", "match": ["tcp_data"]})
    assert held.stdin is not None
    held.stdin.write("send\n")
    held.stdin.flush()
    assert held.stdout is not None
    assert held.stdout.readline() == "sent\n"

    page = agent.settled(client)
    assert page.value(RETRANSMISSIONS) == relay.a.counters()["TcpRetransSegs"] >= 12
