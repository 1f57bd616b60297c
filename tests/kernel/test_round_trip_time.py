"""Do round-trip time and connect latency show the delay of the link, and nothing else?

Witnesses: the relay's delay, `ss -ti`.
"""

import re
import statistics
from collections.abc import Callable

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup, tell
from tests.support.pages import Page
from tests.support.relay import Relay

pytestmark = pytest.mark.undisturbed

Place = Callable[..., Cgroup]

V4, V6 = "198.51.100.2", "2001:db8::2"
RTT = "bpfleet_tcp_rtt_seconds"
FLOW_RTT = "bpfleet_flow_tcp_rtt_seconds"
CONNECT = "bpfleet_tcp_connect_duration_seconds"


def bucket(page: Page, family: str, seconds: float) -> int:
    """Which bucket of the family the value falls into."""
    bounds = [bound for bound, _ in page.buckets(family)]
    return next(place for place, bound in enumerate(bounds) if seconds <= bound)


def conversation(client: Cgroup, server: Cgroup, address: str, rounds: int) -> None:
    server.serve(address, 5001, mode="echo")
    held = client.begin("hold", address, 5001, count=4, size=100)
    for _ in range(rounds):
        tell(held, "send", "sent")
    tell(held, "close", "closed")


@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize(("there_ms", "back_ms"), [(10, 10), (45, 5)])
def test_the_median_round_trip_is_the_links_delay(
    agent: Agent, place: Place, relay: Relay, address: str, there_ms: int, back_ms: int
) -> None:
    relay.use(ab={"delay_ms": there_ms}, ba={"delay_ms": back_ms})
    client, server = place("client", relay.a), place("server", relay.b)
    conversation(client, server, address, rounds=20)

    page = agent.settled(client, server)
    delay = (there_ms + back_ms) / 1e3
    for cgroup in (client, server):
        mine = page.only(workload=cgroup.workload)
        assert mine.value(f"{RTT}_count") >= 8
        mean = mine.value(f"{RTT}_sum") / mine.value(f"{RTT}_count")
        assert delay <= mean < delay * 1.1
        assert bucket(mine, RTT, mine.quantile(RTT, 0.5)) == bucket(mine, RTT, delay * 1.001)
        flow = {"workload": cgroup.workload, "port": "5001"}
        count = page.value("bpfleet_flow_tcp_rtt_seconds_count", **flow)
        assert count == mine.value(f"{RTT}_count")
        assert page.value("bpfleet_flow_tcp_rtt_seconds_sum", **flow) == pytest.approx(
            mine.value(f"{RTT}_sum"), rel=1e-3
        )


def test_the_median_is_in_the_bucket_of_ss(agent: Agent, place: Place, relay: Relay) -> None:
    relay.use(ab={"delay_ms": 8})
    client, server = place("client", relay.a), place("server", relay.b)
    server.serve(V4, 5001, mode="echo")
    held = client.begin("hold", V4, 5001, count=8, size=100)
    for _ in range(20):
        tell(held, "send", "sent")
    shown = [float(found[1]) / 1e3 for line in relay.a.sockets("state", "established")
             if (found := re.search(r"\brtt:([\d.]+)/", line))]  # fmt: skip
    assert len(shown) == 8

    page = agent.settled(client)
    median = bucket(page, RTT, page.quantile(RTT, 0.5))
    assert abs(median - bucket(page, RTT, statistics.median(shown))) <= 1


def test_a_link_that_becomes_fast_shows_it_at_once(agent: Agent, place: Place, relay: Relay) -> None:
    relay.use(ab={"delay_ms": 20})
    slow, fast, server = place("slow", relay.a), place("fast", relay.a), place("server", relay.b)
    conversation(slow, server, V4, rounds=5)
    relay.use()
    server.stop()
    conversation(fast, server, V4, rounds=5)

    page = agent.settled(slow, fast)
    assert page.only(workload=slow.workload).quantile(RTT, 0.5) >= 0.02
    assert page.only(workload=fast.workload).quantile(RTT, 0.5) < 0.002


@pytest.mark.parametrize("address", [V4, V6])
def test_no_connect_is_faster_than_the_link(agent: Agent, place: Place, relay: Relay, address: str) -> None:
    relay.use(ab={"delay_ms": 30})
    client, server = place("client", relay.a), place("server", relay.b)
    server.serve(address, 5001)
    client.talk("connect", address, 5001, count=23, shutdown=True, read=True)

    page = agent.settled(client)
    assert page.value(f"{CONNECT}_count") == 23
    assert sum(count for bound, count in page.buckets(CONNECT) if bound <= 0.03) == 0
    mean = page.value(f"{CONNECT}_sum") / 23
    assert 0.03 <= mean < 0.033


def test_a_lost_syn_makes_a_connect_of_more_than_a_second(agent: Agent, place: Place, relay: Relay) -> None:
    relay.use(ab={"drop": "@1", "match": ["tcp_syn"]})
    client, server = place("client", relay.a), place("server", relay.b)
    server.serve(V4, 5001)
    client.talk("connect", V4, 5001, count=3)

    page = agent.settled(client)
    assert page.value(f"{CONNECT}_count") == 3
    assert sum(count for bound, count in page.buckets(CONNECT) if bound > 1) == 1
    assert 1 <= page.value(f"{CONNECT}_sum") < 1.5
