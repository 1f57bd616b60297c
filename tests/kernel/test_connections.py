"""Are TCP connections counted once each, on both sides, whatever they do or do not do?

Witnesses: TcpActiveOpens, TcpPassiveOpens of the namespaces, the server's log, `ss`.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.agents import WITHOUT_HTTP, Agent
from tests.support.cgroups import Cgroup, tell
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page
from tests.support.relay import Relay
from tests.support.servers import Nginx, start_mariadb

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
OPENED = "bpfleet_tcp_connections_opened_total"
ACCEPTED = "bpfleet_tcp_connections_accepted_total"
CLOSED = "bpfleet_tcp_connections_closed_total"
FAILED = "bpfleet_tcp_connections_failed_total"
ACTIVE = "bpfleet_tcp_connections_active"
LIFETIME = "bpfleet_tcp_connection_lifetime_seconds"
CONNECT = "bpfleet_tcp_connect_duration_seconds"


def of(page: Page, cgroup: Cgroup) -> dict[str, float]:
    names = {"opened": OPENED, "accepted": ACCEPTED, "closed": CLOSED, "failed": FAILED, "active": ACTIVE}
    return {word: page.value(name, workload=cgroup.workload) for word, name in names.items()}


def opened_and_closed(count: int) -> dict[str, float]:
    return {"opened": count, "accepted": 0, "closed": count, "failed": 0, "active": 0}


def accepted_and_closed(count: int) -> dict[str, float]:
    return {"opened": 0, "accepted": count, "closed": count, "failed": 0, "active": 0}


@needs("nginx", "curl")
@pytest.mark.parametrize("address", [V4, V6])
def test_500_requests_without_keep_alive_are_500_connections(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str
) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    nginx = Nginx(server, tmp_path, directives="keepalive_timeout 0;")
    url = f"http://[{address}]/?[1-500]" if ":" in address else f"http://{address}/?[1-500]"
    globbed = url.replace("[2001", "\\[2001").replace("::2]", "::2\\]")
    client.run(["curl", "-sSf", "-o", "/dev/null", globbed])

    page = agent.settled(server, client)
    assert len({connection for _, _, _, connection in nginx.served()}) == 500
    assert pair[1].counters()["TcpPassiveOpens"] == pair[0].counters()["TcpActiveOpens"] == 500
    assert of(page, client) == opened_and_closed(500)
    assert of(page, server) == accepted_and_closed(500)
    for name in (CONNECT, LIFETIME):
        assert page.value(f"{name}_count", workload=client.workload) == 500
    assert page.value(f"{LIFETIME}_count", workload=server.workload) == 500
    assert page.value(f"{CONNECT}_count", workload=server.workload) == 0


@pytest.mark.parametrize("address", [V4, V6])
def test_connections_that_say_nothing_are_counted(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    """A client that connects and closes at once: a life of less than a millisecond, no data either way."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001)
    assert client.talk("connect", address, 5001, count=499) == "done ok=499"

    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(499)
    assert of(page, server) == accepted_and_closed(499)


def test_connections_of_a_millisecond_have_their_life_time(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001)
    client.talk("connect", V4, 5001, count=211, size=23, shutdown=True, read=True)

    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(211)
    short = sum(count for bound, count in page.buckets(LIFETIME, workload=client.workload) if bound <= 0.1)
    assert short >= 200
    assert page.value(f"{LIFETIME}_count", workload=client.workload) == 211


@pytest.mark.parametrize("address", [V4, V6])
def test_a_client_that_only_receives_is_counted(agent: Agent, place: Place, pair: Pair, address: str) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(address, 5001, mode="banner", size=97)
    client.talk("connect", address, 5001, count=23, pause=0.01)

    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(23)
    received = page.value("bpfleet_network_io_bytes_total", workload=client.workload, direction="receive")
    assert received >= 23 * (97 + 20 + 20)


@needs("mariadbd")
def test_whoever_reads_the_greeting_of_mariadb_is_counted(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    start_mariadb(server, tmp_path)
    client.talk("connect", V4, 3306, count=7, pause=0.1)

    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(7)
    assert page.value(ACCEPTED, workload=server.workload) == 7
    assert page.value("bpfleet_network_io_bytes_total", workload=client.workload, direction="receive") > 7 * 120


def test_connections_that_nobody_accepts_are_accepted_by_the_kernel(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    deaf = server.serve(V4, 5001, mode="deaf")
    held = client.begin("hold", V4, 5001, count=13)
    page = agent.settled(server, client)
    assert of(page, server) == {"opened": 0, "accepted": 13, "closed": 0, "failed": 0, "active": 13}
    assert pair[1].counters()["TcpPassiveOpens"] == 13

    deaf.terminate()
    deaf.wait()
    held.terminate()
    held.wait()
    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(13)
    assert of(page, server) == accepted_and_closed(13)


def test_a_handshake_that_never_ends_is_no_connection_of_the_servers(agent: Agent, place: Place, relay: Relay) -> None:
    """Its last ACK is lost, again and again: for the client it is open, for the server it never was."""
    server, client = place("server", relay.b), place("client", relay.a)
    server.serve(V4, 5001, mode="hold")
    relay.use(ab={"drop": "1/1", "match": ["tcp_control", "tcp_data"]})
    held = client.begin("hold", V4, 5001, count=5)

    page = agent.settled(server, client)
    assert relay.b.counters()["TcpPassiveOpens"] == 0
    assert of(page, server) == {"opened": 0, "accepted": 0, "closed": 0, "failed": 0, "active": 0}
    assert of(page, client) == {"opened": 5, "accepted": 0, "closed": 0, "failed": 0, "active": 5}
    held.kill()


def test_active_connections_are_those_that_ss_lists(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    first, second = (client.begin("hold", V4, 5001, count=count) for count in (31, 12))

    page = agent.settled(server, client)
    assert len(pair[0].sockets("state", "established")) == 43
    for cgroup in (client, server):
        assert page.value(ACTIVE, workload=cgroup.workload) == 43

    tell(first, "close", "closed")
    page = agent.settled(server, client)
    assert len(pair[0].sockets("state", "established")) == 12
    assert page.value(ACTIVE, workload=client.workload) == 12
    assert page.value(CLOSED, workload=client.workload) == 31
    tell(second, "close", "closed")


def test_connections_older_than_the_agent_are_active_and_close(alone: object, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="echo")
    held = client.begin("hold", V4, 5001, count=17, size=101)
    with Agent(environment=WITHOUT_HTTP) as agent:
        page = agent.settled(server, client)
        for cgroup in (client, server):
            assert of(page, cgroup) == {"opened": 0, "accepted": 0, "closed": 0, "failed": 0, "active": 17}

        tell(held, "send", "sent")
        page = agent.settled(server, client)
        flow = {"workload": client.workload, "direction": "transmit", "port": "5001"}
        assert page.value("bpfleet_flow_bytes_total", **flow) >= 17 * 101

        tell(held, "close", "closed")
        page = agent.settled(server, client)
        for cgroup in (client, server):
            assert of(page, cgroup) == {"opened": 0, "accepted": 0, "closed": 17, "failed": 0, "active": 0}
            assert page.value(f"{LIFETIME}_count", workload=cgroup.workload) == 0


def test_a_reset_closes_a_connection(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="echo")
    client.talk("connect", V4, 5001, count=29, abort=True, pause=0.001)

    page = agent.settled(server, client)
    assert of(page, client) == opened_and_closed(29)
    assert of(page, server) == accepted_and_closed(29)
