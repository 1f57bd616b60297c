"""Are connections that are half-way when the agent starts counted on the right side, once?

Witnesses: the client's own sockets, TcpPassiveOpens of the server's namespace. A packet filter holds the handshakes
back.
"""

import signal
import sys
from collections.abc import Callable

from tests.support.agents import WITHOUT_HTTP, Agent
from tests.support.cgroups import Cgroup, tell
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

SERVER, PORT, COUNT = "198.51.100.2", 5001, 7
CHAIN = "add chain inet t i { type filter hook input priority 0; }"
DEAF = f"add table inet t; {CHAIN}; add rule inet t i tcp dport {PORT} drop"
IPPROTO_MPTCP = 262

CONNECTING = f"""
import errno, select, socket, sys
socks = []
for _ in range(int(sys.argv[1])):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex(("{SERVER}", {PORT})) == errno.EINPROGRESS
    socks.append(sock)
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "wait":
        for sock in socks:
            select.select([], [sock], [])
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        print("established", flush=True)
    else:
        for sock in socks:
            sock.close()
        print("closed", flush=True)
"""

MULTIPATH = f"""
import socket, time
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, {IPPROTO_MPTCP})
listener.bind(("", {PORT}))
listener.listen(64)
print("ready", flush=True)
held = []
while True:
    held.append(listener.accept())
"""


def connecting(client: Cgroup) -> object:
    return client.start([sys.executable, "-c", CONNECTING, str(COUNT)], ready="ready")


def counts(page: Page, cgroup: Cgroup) -> dict[str, float]:
    words = ("opened_total", "accepted_total", "closed_total", "failed_total", "active")
    return {word: page.value(f"bpfleet_tcp_connections_{word}", workload=cgroup.workload) for word in words}


def ports(page: Page, cgroup: Cgroup) -> set[str]:
    return {labels["port"] for labels, _ in page.where("bpfleet_flow_packets_total", workload=cgroup.workload)}


@needs("nft")
def test_a_client_that_was_connecting_is_a_client(alone: object, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(SERVER, PORT, mode="echo")
    pair[1].run(["nft", DEAF])
    process = connecting(client)
    with Agent(environment=WITHOUT_HTTP) as agent:
        pair[1].run(["nft", "delete table inet t"])
        tell(process, "wait", "established")
        page = agent.settled(server, client)
        zero = {"closed_total": 0, "failed_total": 0, "active": COUNT}
        assert counts(page, client) == {"opened_total": COUNT, "accepted_total": 0, **zero}
        assert counts(page, server) == {"opened_total": 0, "accepted_total": COUNT, **zero}
        assert pair[1].counters()["TcpPassiveOpens"] == COUNT
        assert ports(page, client) == ports(page, server) == {str(PORT)}


@needs("nft")
def test_a_client_that_was_connecting_and_gives_up_has_failed_itself(alone: object, place: Place, pair: Pair) -> None:
    client = place("client", pair[0])
    pair[1].run(["nft", DEAF])
    process = connecting(client)
    with Agent(environment=WITHOUT_HTTP) as agent:
        tell(process, "close", "closed")
        page = agent.settled()
        labels = {"reason": "abandoned", "workload": client.workload}
        assert page.value("bpfleet_tcp_connections_failed_total", **labels) == COUNT
        assert page.value("bpfleet_tcp_connections_failed_total", namespace="_other") == 0


def test_connections_of_a_multipath_listener_are_its_servers(alone: object, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.start([sys.executable, "-c", MULTIPATH], ready="ready")
    process = connecting(client)
    tell(process, "wait", "established")
    with Agent(environment=WITHOUT_HTTP) as agent:
        tell(process, "close", "closed")
        page = agent.settled(server, client)
        assert ports(page, client) == ports(page, server) == {str(PORT)}
        assert counts(page, client)["closed_total"] == COUNT


def test_without_the_hosts_processes_old_connections_are_not_active_but_end(
    alone: object, place: Place, pair: Pair
) -> None:
    """As in a pod without hostPID: the walk sees the sockets of the agent's own process namespace only."""
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(SERVER, PORT, mode="echo")
    held = client.begin("hold", SERVER, PORT, count=COUNT, size=1)
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    agent = Agent(prefix=prefix, environment=WITHOUT_HTTP).start()
    try:
        agent.ready()
        before = agent.settled(server, client)
        tell(held, "close", "closed")
        after = agent.settled(server, client)
    finally:
        agent.stop(signal.SIGKILL)
    for cgroup in (client, server):
        assert counts(before, cgroup)["active"] == 0
        assert counts(after, cgroup) == {
            "opened_total": 0,
            "accepted_total": 0,
            "closed_total": COUNT,
            "failed_total": 0,
            "active": 0,
        }
