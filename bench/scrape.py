"""What does a scrape cost? Goals C5 (CPU at 10,000 and 100,000 series, compressed: <= 15 and <= 150 ms) and the page's
part of C6 (memory at 10,000 series).

A node of 50 pods (250 at 100,000 series, the most that a kubelet runs) with every series of its containers, and flows
up to the number of lines. The page is made as a scrape makes it; sending 1 to 2 % of it compressed costs nothing that
can be measured beside. Rows are JSON, one a line; the A/A row compares the same thing with itself, in turns.

Usage: python -m bench.scrape [--quick]
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

PODS = {10_000: 50, 100_000: 250}
LIMIT_MS = {10_000: 15.0, 100_000: 150.0}
ROUNDS = {10_000: 40, 100_000: 12}
BASE_MS = 1e3
KIB = 1024


class Owner(NamedTuple):
    labels: tuple[str, ...]
    key: str
    node: str = "node-17"
    image: str = "registry.example/shop/service:1.23.4"
    zone: str = "zone-a"
    settled: bool = True


class Peer(NamedTuple):
    kind: str
    namespace: str
    name: str
    zone: str = "zone-b"


class Node:
    """A resolver of invented pods; a flow's port says which service it is."""

    def __init__(self, pods: int) -> None:
        self.owners = {
            number: Owner(
                (
                    f"team-{number % 20}",
                    f"service-{number}-7d9f8b6c5d-{number:05x}",
                    "main",
                    f"service-{number}",
                    "Deployment",
                ),
                f"containerd://{number:064x}",
            )
            for number in range(1, pods + 1)
        }

    def owner(self, cgroup_id: int) -> Owner:
        return self.owners[cgroup_id]

    final_owner = owner

    def peer(self, flow: Any, owner: Owner) -> Peer:
        return Peer("service", f"team-{flow.port % 20}", f"backend-{flow.port}")

    def living(self) -> Collection[Owner]:
        return self.owners.values()

    def ended(self, owner: Owner) -> bool:
        return False


def build(lines: int) -> tuple[Callable[[], bytes], int]:
    """A function that makes the compressed page, and how many lines the workloads' part really has."""
    from agent.metrics.accumulate import Accumulator
    from agent.metrics.exposition import Form
    from agent.metrics.health import Build, Health, Reloads
    from agent.metrics.page import Page
    from agent.settings import Settings
    from bpfleet import catalogue
    from bpfleet.metrics import Distribution, Flow, Histogram, Sample, Scope

    settings = Settings()
    bounds = vars(settings.histograms)
    pods = PODS[lines]
    dice = random.Random(23)
    totals = Accumulator(Node(pods), catalogue.ALL, bounds, series=10 * lines, series_per_metric=10 * lines)
    totals.tick()

    def workload_samples() -> Iterator[Sample]:
        for metric in catalogue.ALL:
            if metric.scope is not Scope.WORKLOAD or metric is catalogue.CONTAINER_INFO:
                continue
            for cgroup_id in range(1, pods + 1):
                own = tuple(dice.choice(values) for values in metric.values)
                if isinstance(metric, Histogram):
                    counts = tuple(dice.randrange(10_000) for _ in range(len(bounds[metric.bounds]) + 1))
                    yield Sample(metric, Distribution(counts, dice.random() * 1e4), cgroup_id, own)
                else:
                    yield Sample(metric, dice.randrange(2**40), cgroup_id, own)

    def flow_samples(count: int) -> Iterator[Sample]:
        for number in range(count // 4):
            peer = Flow(bytes(12) + number.to_bytes(4, "big"), 1 + number // pods, "tcp")
            for metric in (catalogue.FLOW_BYTES, catalogue.FLOW_PACKETS):
                for direction in catalogue.DIRECTIONS:
                    yield Sample(metric, dice.randrange(2**40), 1 + number % pods, (direction,), peer)

    totals.add(workload_samples())
    totals.add(flow_samples(lines - totals.standing().exposed))
    totals.tick()
    health = Health(totals.standing, Build("0", "0", "btf"), lambda: Reloads(True, 0.0, 0), dict)
    page = Page(totals, health.registry())
    return lambda: page.render(Form.OPENMETRICS, compress=True, live=True), totals.standing().exposed


def cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * BASE_MS


def row(goal: str, name: str, unit: str, values: list[float], limit: float | None = None, **facts: object) -> None:
    low, median, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
    shown = {"goal": goal, "name": name, "unit": unit, "median": median, "q1": low, "q3": high, "n": len(values)}
    print(json.dumps({**shown, "limit": limit, **facts}), flush=True)


def scrape(lines: int, rounds: int) -> None:
    render, exposed = build(lines)
    size = len(render())
    row("C5", f"CPU of a scrape, {lines} series, gzip", "ms", [cpu_ms(render) for _ in range(rounds)], LIMIT_MS[lines],
        lines=exposed, bytes=size)  # fmt: skip


def same_with_itself(rounds: int) -> None:
    render, _ = build(10_000)
    render()
    row("A/A", "the same scrape in turns, ratio", "1", [cpu_ms(render) / cpu_ms(render) for _ in range(rounds)])


def resident_mib() -> float:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / KIB


def memory(lines: int) -> float:
    """MiB of a process that holds the page's machinery and nothing else of the agent, after ten scrapes over HTTP."""
    from urllib.request import Request, urlopen

    from agent.metrics.exposition import Form
    from agent.server import Application, Server

    render, _ = build(lines)

    class Page:
        def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
            return render()

    server = Server(Application(Page(), str, str, dict), ("127.0.0.1", 0))
    request = Request("http://{}:{}/metrics".format(*server.address), headers={"Accept-Encoding": "gzip"})
    for _ in range(10):
        with urlopen(request, timeout=30) as answer:
            answer.read()
    server.close()
    return resident_mib()


def memory_in_a_new_process(lines: int) -> float:
    command = [sys.executable, "-m", "bench.scrape", "--memory", str(lines)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds")
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory is not None:
        print(memory(options.memory))
        return 0
    share = 4 if options.quick else 1
    same_with_itself(ROUNDS[10_000] // share)
    for lines, rounds in ROUNDS.items():
        scrape(lines, rounds // share)
    values = [memory_in_a_new_process(10_000) for _ in range(3)]
    row("C6", "RSS of page and server alone, 10000 series", "MiB", values, 45.0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
