"""Does nothing stay in the kernel when the agent ends, in whatever way and at whatever moment?

Witness: bpftool's list of programs, maps and links before and after.
"""

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.agents import COMPILES, WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.kernel_objects import all_objects, left_of
from tests.support.marks import needs
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

KILLS = 10
LONGEST_LIFE_SECONDS = 4.0
GONE_SECONDS = 1.0
READY_AGAIN_SECONDS = 15.0
V4 = "198.51.100.2"


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.undisturbed
@needs("bpftool")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_of_an_agent_that_ends(alone: House, how: int) -> None:
    before = all_objects()
    with Agent() as agent:
        assert {made.kind for made in all_objects() - before} == {"prog", "map", "link"}
        status = agent.stop(how)
    assert left_of(before, GONE_SECONDS) == set()
    assert status == (-signal.SIGKILL if how == signal.SIGKILL else 0)


@pytest.mark.undisturbed
@needs("bpftool")
def test_nothing_stays_of_one_that_is_killed_at_any_moment(alone: House) -> None:
    """Also while the child compiles, loads, attaches or hands over."""
    before, moments = all_objects(), random.Random(23)
    for _ in range(KILLS):
        agent = Agent(environment=COMPILES).start()
        time.sleep(moments.uniform(0, LONGEST_LIFE_SECONDS))
        children = children_of(agent.process.pid) if agent.process.poll() is None else []
        agent.stop(signal.SIGKILL)
        assert left_of(before, GONE_SECONDS) == set()
        assert [pid for pid in children if Path(f"/proc/{pid}/exe").exists()] == []
    with Agent(environment=COMPILES) as agent:
        assert time.monotonic() - agent.started < READY_AGAIN_SECONDS


def test_an_agent_that_starts_again_counts_from_zero(alone: House, place: Place, pair: Pair) -> None:
    """A counter goes back to 0, never to something in between: that is the reset which Prometheus understands."""
    client = place("client", pair[0])
    for _ in range(2):
        with Agent(environment=WITHOUT_HTTP) as agent:
            client.talk("udp_burst", V4, 9, count=211, size=64, unconnected=True)
            page = agent.settled(client)
            assert page.value("bpfleet_network_io_packets_total", direction="transmit", transport="udp") == 211
            agent.stop(signal.SIGKILL)


def test_the_loader_child_is_gone_once_the_agent_counts(alone: House) -> None:
    with Agent(environment=WITHOUT_HTTP | COMPILES) as agent:
        assert children_of(agent.process.pid) == []
        assert "libbcc" not in Path(f"/proc/{agent.process.pid}/maps").read_text()


def test_a_stuck_scraper_does_not_keep_the_agent_from_ending(alone: House) -> None:
    with Agent(environment=WITHOUT_HTTP) as agent, socket.create_connection(("127.0.0.1", agent.port)) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n")
        began = time.monotonic()
        assert agent.stop() == 0
        assert time.monotonic() - began < 5
    assert not os.path.exists(f"/proc/{agent.process.pid}/exe")
