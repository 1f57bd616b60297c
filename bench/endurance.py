"""R1, A5, R5 in full size: 200 kills, 1,000 cgroups at 10 a second, 1,000,000 peers.

The same code as in tests/kernel, longer. A row's value is what must be 0, but for R5's memory.
"""

import random
import signal
import time
from collections.abc import Iterator

from bench import rows
from bench.agents import resident_mib
from bench.rows import Row
from tests.support.agents import Agent
from tests.support.cgroups import PREFIX, Cgroup
from tests.support.churn import Churn
from tests.support.kernel_objects import all_objects, left_of
from tests.support.namespaces import Namespace, veth_pair

LONGEST_LIFE_SECONDS = 3.0
GONE_SECONDS = 1.0
HOST = "198.51.100.2"
SETTLE_SECONDS = 4.0
R5_MIB = 20.0


def kills(count: int) -> Iterator[Row]:
    before, moments, left = all_objects(), random.Random(23), 0
    for _ in range(count):
        agent = Agent().start()
        time.sleep(moments.uniform(0, LONGEST_LIFE_SECONDS))
        agent.stop(signal.SIGKILL)
        left += len(left_of(before, GONE_SECONDS))
    yield rows.of("R1", f"programs, links and maps left by {count} kills", "1", [float(left)], 0.0)
    begun = time.monotonic()
    with Agent():
        again = time.monotonic() - begun
    yield rows.of("R1", "ready again after the last kill", "s", [again], 15.0)


def churn(count: int) -> Iterator[Row]:
    names = [f"{PREFIX}churn-{number}" for number in range(count // 4)]
    with Namespace("a") as first, Namespace("b") as second, veth_pair(first, second):
        with Agent(environment={"BPFLEET_SCRAPE_INTERVAL_SECONDS": "30"}) as agent:
            lives = Churn(first, HOST, names, lives=4, per_second=10, read=agent.page, last_reads_seconds=36.0)
            lives.run()
    wrong = sum(abs(lives.highest.get(f"/{name}", 0.0) - sent) for name, sent in lives.sent.items()) + lives.strays
    yield rows.of("A5", f"events on a wrong workload, {count} cgroups at 10 a second", "1", [wrong], 0.0,
                  sent=sum(lives.sent.values()))  # fmt: skip


def peers(count: int) -> Iterator[Row]:
    """Datagrams to `count` different addresses of a network that leads nowhere."""
    with Namespace("a") as first, Namespace("b") as second, veth_pair(first, second):
        first.ip("route add 198.18.0.0/15 dev lo", "route add 10.0.0.0/8 via 198.51.100.2")
        with Agent() as agent, Cgroup("bench-peers", first) as cgroup:
            cgroup.talk("udp_peers", "10.0.0.0", 9, count=1000, size=64)
            before = resident_mib(agent.process.pid)
            cgroup.talk("udp_peers", "10.1.0.0", 9, count=count, size=64, timeout=120.0)
            page = agent.settled(cgroup)
            after = resident_mib(agent.process.pid)
            whole = agent.page()
        sums = [
            page.value(name, direction="transmit", transport="udp")
            for name in ("bpfleet_network_io_packets_total", "bpfleet_flow_packets_total")
        ]
    facts = {"packets": sums, "series": whole.value("bpfleet_series", state="exposed"), "before_mib": before}
    missed = max(abs(one - count - 1000) for one in sums)
    yield rows.of("R5", f"packets not counted among {count:,} peers", "1", [missed], 0.0, **facts)
    yield rows.of("R5", f"agent's memory more after {count:,} peers", "MiB", [after - before], R5_MIB, **facts)


def measure(quick: bool) -> Iterator[Row]:
    yield from peers(100_000 if quick else 1_000_000)
    yield from churn(100 if quick else 1000)
    yield from kills(10 if quick else 200)
