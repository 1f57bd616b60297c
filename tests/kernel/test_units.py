"""Collectors with programs of their own, switched on and off beside others that run: what does each of them count?

Witness: how many programs the test has started, how many datagrams it has sent.
"""

import collections
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from tests.support.cgroups import Cgroup
from tests.support.doors import BOUNDS, Opened, calls, sizes
from tests.support.made_collectors import made_collector
from tests.support.pages import Page

from agent.agent import Agent
from agent.configuration import Configuration
from agent.credentials import Credentials
from agent.events.routing import Router
from agent.identity import resolver
from agent.identity.model import Owner
from agent.kernel.door import KernelDoor, KernelSettings
from agent.metrics import exposition
from agent.metrics.accumulate import Accumulator
from agent.metrics.exposition import Form
from agent.metrics.health import Report
from agent.protocols.routes import Routes
from agent.requests.policy import Policies
from agent.requests.stage import RequestStage
from agent.running import Running
from agent.settings import build
from bpfleet.api import Collector, Counter, Maps, Metric, RawTracepoint, Sample

EXECS = Counter("test.calls", "Programs that were started.")
PACKETS = Counter("test.packets", "Packets of the cgroup.")
DATAGRAMS = 200_003
BROKEN = """/* Does not compile. */
int on_it(void *ctx) { return nonsense; }
"""


def counting(made: Collector, metric: Metric) -> Collector:
    """The first member of each row of the map that is called like the collector, by cgroup."""

    def collect(maps: Maps) -> Iterator[Sample]:
        for key, (count, *_) in maps.growth(made.name):
            yield Sample(metric, count, *struct.unpack("=Q", key))

    type(made).metrics = (*made.metrics, metric)
    made.collect = collect  # type: ignore[method-assign]
    return made


class Bench:
    """An agent of `sizes`, part of packet programs on a cgroup of the test's own; `calls` can be switched."""

    def __init__(self, cgroup: Cgroup, stack: ExitStack) -> None:
        self.opened, self.cgroup = Opened(cgroup, stack), cgroup
        self.identity = resolver.assemble(cgroup.path.parent, node="box", kubernetes="off", docker=False)
        self.totals: Accumulator[Owner] = Accumulator(self.identity, [PACKETS], BOUNDS, scrape_interval=1.0)
        self.reports: list[Report] = []
        door, kernel = KernelDoor(), KernelSettings(cgroup_root=str(cgroup.path), bounds=BOUNDS)
        first = [counting(sizes(), PACKETS)]
        loaded = door.load(first, kernel)
        events = Router(self.identity, [], [], 10_000)
        self.agent = Agent(loaded, first, self.identity, self.totals, events, self.reports.append, self.opened.clock)
        stack.callback(self.agent.close)
        before = self._asked(())
        self.kinds: dict[str, Callable[[], Collector]] = {"calls": lambda: counting(calls(), EXECS)}
        doors = (door, kernel, self.agent, self.identity, self.totals)
        requests = RequestStage(Policies(before.settings.requests), Routes({}, 100))
        self.running = Running(before.settings, self.kinds, *doors, Credentials(before), lambda settings: {}, requests)

    @staticmethod
    def _asked(collectors: tuple[str, ...]) -> Configuration:
        return Configuration(build({"collectors": collectors}), {})

    def switch(self, *collectors: str) -> None:
        asked = self._asked(collectors)
        self.running.apply(asked, asked.settings)

    def start_programs(self, count: int) -> None:
        """The shell that starts the others is one of them."""
        self.cgroup.run(["sh", "-c", f"i=1; while [ $i -lt {count} ]; do /bin/true; i=$((i + 1)); done"])

    def counted(self, metric: Counter) -> float:
        self.agent.drain()
        with self.totals.view(live=True) as view:
            page = Page.parse("".join(exposition.lines(view, Form.TEXT)))
        return page.value(metric.family, workload=self.cgroup.workload)


@pytest.fixture
def bench(place: Callable[..., Cgroup], stack: ExitStack) -> Iterator[Bench]:
    cgroup = place("units")
    with ExitStack() as inner:
        yield Bench(cgroup, inner)


def test_one_is_switched_on_beside_programs_that_run_and_both_count_exactly(bench: Bench) -> None:
    bench.opened.send(23)
    assert bench.counted(PACKETS) == 46
    bench.start_programs(5)
    bench.switch("calls")
    assert bench.counted(EXECS) == 0, "it counts from now on"
    bench.start_programs(23)
    assert bench.counted(EXECS) == 23
    bench.opened.send(7)  # by one program
    assert (bench.counted(PACKETS), bench.counted(EXECS)) == (60, 24)
    assert bench.reports[-1].collectors["calls"].hooks == ("raw_tracepoint/sched_process_exec",)


def test_what_was_counted_right_before_the_end_is_there(bench: Bench) -> None:
    held = descriptors()
    bench.switch("calls")
    bench.start_programs(23)
    bench.switch()
    assert bench.counted(EXECS) == 23
    assert descriptors() == held, "programs and maps are let go"
    bench.start_programs(19)
    bench.switch("calls")
    bench.start_programs(7)
    assert bench.counted(EXECS) == 30, "on again soon, its series goes on; what came in between is not there"


def test_packets_are_counted_once_however_often_another_collector_is_switched(bench: Bench) -> None:
    switched = bursts = 0
    while switched <= 2:  # on a slow machine a switch takes as long as a burst
        sender = threading.Thread(target=bench.opened.send, args=(DATAGRAMS,))
        sender.start()
        bursts += 1
        while sender.is_alive():
            bench.switch(*["calls"] * (switched % 2 == 0))
            bench.agent.drain()
            switched += 1
        sender.join()
    assert bench.counted(PACKETS) == 2 * bursts * DATAGRAMS


def test_one_that_does_not_compile_is_off_with_file_and_line_and_the_others_count(bench: Bench, tmp_path: Path) -> None:
    hook = RawTracepoint("on_it", tracepoint="sched_switch")
    broken = made_collector(tmp_path, "broken", hook, base=None, text=BROKEN)
    bench.kinds["broken"] = lambda: broken
    bench.switch("broken")
    bench.opened.send(23)
    assert bench.counted(PACKETS) == 46
    state = bench.reports[-1].collectors["broken"]
    assert not state.up and "broken.bpf.c:2: " in state.reason


def descriptors() -> collections.Counter[str]:
    """Of this process, in the kernel's BPF."""
    found: collections.Counter[str] = collections.Counter()
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the directory itself
            found[os.readlink(f"/proc/self/fd/{descriptor}")] += 1
    return collections.Counter({link: count for link, count in found.items() if "bpf" in link})
