"""Does each way in which `tcp_states` can be told of a change tell the same, also the one of older kernels?

This kernel has all of them; which one an older kernel uses is in docs/kernels.md. Witness: the number of connections.
"""

import time
from collections import Counter
from collections.abc import Callable

import pytest
from tests.support.agents import LOOK_SECONDS, SETTLE_SECONDS
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace

from agent.collectors.tcp_states import STATE_CHANGE, TcpStates
from agent.kernel.door import Loaded
from bpfleet.api import Probe, RawTracepoint, TracingTracepoint

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, PORT, COUNT = "198.51.100.2", 5001, 101
HOOK = "inet_sock_set_state"


def by(*only: Probe) -> type[TcpStates]:
    class By(TcpStates):
        probes = only

    return By


WAYS = {
    "all runs of the first program left out": by(TracingTracepoint("on_tcp_state_left_out", tracepoint=HOOK)),
    "all runs of the second program left out": by(TracingTracepoint("on_tcp_state", tracepoint=HOOK)),
    "without storage": by(RawTracepoint("on_tcp_state_without_storage", tracepoint=HOOK)),
    "as it is": TcpStates,
}


def told(collector: TcpStates, loaded: Loaded, cgroup: Cgroup, least: int) -> Counter[tuple[str, str]]:
    """Of this cgroup, as soon as there are so many, or after a while."""
    found: Counter[tuple[str, str]] = Counter()
    end = time.monotonic() + SETTLE_SECONDS
    while found.total() < least and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        for event in collector.events(loaded.maps(collector.name)):
            assert event.name == STATE_CHANGE
            if event.cgroup_id == cgroup.path.stat().st_ino:
                previous = str(event.attributes["bpfleet.network.connection.previous_state"])
                found[previous, str(event.attributes["network.connection.state"])] += 1
    return found


@pytest.mark.parametrize("way", WAYS)
def test_every_change_is_told_once(
    alone: object, place: Place, pair: Pair, door: Callable[..., Loaded], way: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, PORT)
    collector = WAYS[way]()
    loaded = door(client, collector)
    assert loaded.outcomes["tcp_states"].up
    client.talk("connect", V4, PORT, count=COUNT, size=1, shutdown=True, read=True)
    client.talk("connect", V4, PORT + 100, count=7)
    path = ("closed", "syn_sent", "established", "fin_wait_1", "fin_wait_2", "closed")
    expected = Counter(dict.fromkeys(zip(path, path[1:], strict=False), COUNT))
    expected += Counter({("closed", "syn_sent"): 7, ("syn_sent", "closed"): 7})
    assert told(collector, loaded, client, expected.total()) == expected
