"""Does each way in which `connections` can follow sockets count the same, also the one of older kernels?

This kernel has all of them; which one an older kernel uses is in docs/kernels.md. Witness: the client's own count.
"""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.agents import LOOK_SECONDS, SETTLE_SECONDS
from tests.support.cgroups import Cgroup, tell
from tests.support.namespaces import Namespace

from agent.collectors.connections import Connections
from agent.collectors.traffic import Traffic
from agent.kernel.door import Loaded
from bpfleet import catalogue
from bpfleet.api import AnyOf, Collector, Probe, RawTracepoint, SocketIterator, TracingTracepoint

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, OLD_PORT, PORT, OLD_LOCAL_PORT = "198.51.100.2", 5003, 5001, 6001
COUNT = 101
STATE = "inet_sock_set_state"


def following(*probes: Probe) -> type[Connections]:
    walks = tuple(AnyOf((each,)) if isinstance(each, SocketIterator) else each for each in probes)

    class Following(Connections):
        probes = walks

    return Following


LISTENERS = SocketIterator("on_listening_socket")
IN_STORAGE = (LISTENERS, SocketIterator("on_old_socket"))
WAYS = {
    "by the socket's address": following(
        RawTracepoint("on_state_by_address", tracepoint=STATE),
        LISTENERS,
        SocketIterator("on_old_socket_by_address"),
    ),
    "all runs of the first program left out": following(
        TracingTracepoint("on_state_left_out", tracepoint=STATE), *IN_STORAGE
    ),
    "all runs of the second program left out": following(TracingTracepoint("on_state", tracepoint=STATE), *IN_STORAGE),
    "as it is": Connections,
}


def counted(collector: Collector, loaded: Loaded, places: dict[int, str], expected: dict[str, int]) -> Counter[str]:
    """`client opened`: of these cgroups, by the metric's last word. As soon as it is what is expected, or after a
    while: the server's side closes when it has been told."""
    words = {
        catalogue.CONNECTIONS_OPENED: "opened",
        catalogue.CONNECTIONS_ACCEPTED: "accepted",
        catalogue.CONNECTIONS_CLOSED: "closed",
        catalogue.CONNECTIONS_ACTIVE: "active",
        catalogue.CONNECTIONS_FAILED: "failed",
    }
    found: Counter[str] = Counter()
    end = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < end:
        loaded.begin_drain()
        for sample in collector.collect(loaded.maps(collector.name)):
            if sample.metric in words and sample.cgroup_id in places and isinstance(sample.value, int):
                found[f"{places[sample.cgroup_id]} {words[sample.metric]}"] += sample.value
        if found == Counter(expected):
            break
        time.sleep(LOOK_SECONDS)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_every_connection_is_counted_once(
    alone: object, place: Place, pair: Pair, door: Callable[..., Loaded], way: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, OLD_PORT, mode="echo")
    held = client.begin("hold", V4, OLD_PORT, count=3, size=1)
    server.serve(V4, PORT)
    collector = WAYS[way]()
    loaded = door(client, collector)
    assert loaded.outcomes["connections"].up
    client.talk("connect", V4, PORT, count=COUNT, size=1, shutdown=True, read=True)
    client.talk("connect", V4, PORT + 100, count=7)
    places = {client.path.stat().st_ino: "client", server.path.stat().st_ino: "server"}
    expected = {"client opened": COUNT, "client closed": COUNT, "client failed": 7, "client active": 3}
    expected |= {"server accepted": COUNT, "server closed": COUNT, "server active": 3}
    assert counted(collector, loaded, places, expected) == Counter(expected)

    tell(held, "close", "closed")
    ends = {"client closed": 3, "server closed": 3, "client active": -3, "server active": -3}
    assert counted(collector, loaded, places, ends) == Counter(ends)


def test_what_is_known_of_a_socket_ends_with_it(
    alone: object, place: Place, pair: Pair, door: Callable[..., Loaded]
) -> None:
    """By address nothing may stay behind: the next socket would be taken for this one."""
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, PORT)
    loaded = door(client, WAYS["by the socket's address"]())
    before = entries(loaded)
    client.talk("connect", V4, PORT, count=COUNT, size=1, shutdown=True, read=True)
    client.talk("connect", V4, PORT + 100, count=COUNT)
    assert entries(loaded) < before + COUNT


def entries(loaded: Loaded) -> int:
    """Rows of the sockets that are known by their address; other programs of this machine have some."""
    loaded.begin_drain()
    rows = loaded.maps("connections").growth("connection_sockets")
    list(rows)
    return next(table.entries for table in loaded.tables() if table.name == "connection_sockets")


def test_maps_that_no_program_in_use_needs_are_not_kept(
    alone: object, place: Place, door: Callable[..., Loaded]
) -> None:
    names = {table.name for table in door(place("any"), Connections()).tables()}
    assert "connection_sockets" not in names
    assert {"connection_flows", "sockets", "flows"} <= names


def test_packets_alone_know_which_side_is_the_server(
    alone: object, place: Place, pair: Pair, door: Callable[..., Loaded]
) -> None:
    """As without PERFMON, and before 5.11. Neither port is ephemeral, and the server's is the higher one."""
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, OLD_LOCAL_PORT, mode="echo")
    old = client.begin("hold", V4, OLD_LOCAL_PORT, count=1, size=1, local=OLD_PORT)
    collector = Traffic()
    loaded = door(client, collector)
    tell(old, "send", "sent")
    client.talk("connect", V4, OLD_LOCAL_PORT, size=1, local=OLD_PORT + 1, shutdown=True, read=True)
    loaded.begin_drain()
    mine = {client.path.stat().st_ino, server.path.stat().st_ino}
    flows = [sample.flow for sample in collector.collect(loaded.maps("traffic")) if sample.cgroup_id in mine]
    assert {flow.port for flow in flows if flow} == {OLD_LOCAL_PORT}
