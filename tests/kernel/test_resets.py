"""Is each TCP reset counted where it is sent and where it is received?

Witnesses: TcpOutRsts of the sender's namespace; tcpdump's count on the wire.
"""

from collections.abc import Callable

import pytest
from tests.support.agents import Agent
from tests.support.captures import Capture
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
CLOSED_PORT = 9
RESETS = "bpfleet_tcp_resets_total"


@needs("tcpdump")
@pytest.mark.parametrize("address", [V4, V6])
def test_a_client_that_aborts_sends_one_and_the_server_receives_it(
    agent: Agent, place: Place, pair: Pair, address: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(address, 5001, mode="echo")
    rule = "tcp[13] & 4 != 0" if address == V4 else "ip6[53] & 4 != 0"
    with Capture(pair[1], "veth0", rule) as capture:
        client.talk("connect", address, 5001, count=37, abort=True, pause=0.001)

    page = agent.settled(client, server)
    assert capture.packets() == pair[0].counters()["TcpOutRsts"] == 37
    assert page.value(RESETS, workload=client.workload, direction="transmit") == 37
    assert page.value(RESETS, workload=server.workload, direction="receive") == 37
    assert page.value(RESETS) == 74


@pytest.mark.parametrize("address", [V4, V6])
def test_a_server_that_aborts_sends_one_and_the_client_receives_it(
    agent: Agent, place: Place, pair: Pair, address: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(address, 5001, mode="reset")
    assert client.talk("connect", address, 5001, count=31, size=1, read=True) == "done ECONNRESET=31"

    page = agent.settled(client, server)
    assert pair[1].counters()["TcpOutRsts"] == 31
    assert page.value(RESETS, workload=server.workload, direction="transmit") == 31
    assert page.value(RESETS, workload=client.workload, direction="receive") == 31
    assert page.value(RESETS) == 62


@pytest.mark.parametrize("address", [V4, V6])
def test_a_closed_port_resets_without_a_socket_and_the_client_receives_it(
    agent: Agent, place: Place, pair: Pair, address: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(address, 5001)
    client.talk("connect", address, CLOSED_PORT, count=43)

    page = agent.settled(client, server)
    assert pair[1].counters()["TcpOutRsts"] == 43
    assert page.value(RESETS, workload=client.workload, direction="receive") == 43
    assert page.value(RESETS) == 43
