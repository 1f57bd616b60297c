"""C3 of exec: what does its hook cost a program's start, watched or not? And what does a flood of starts take?

A program starts the shortest one that there is, one after the other, while the hook goes on and off. CPU per start of
both, children included, as the kernel says it to who waits for them (wait4).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import requests, rows
from bench.agents import DEFAULTS
from bench.rows import Row
from bench.switches import Nothing, Switch, facts_of, paired
from tests.support import exec_witness
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.pages import Page

from agent.collectors.exec import Exec
from agent.events.routing import HOLDING_STAGE, OWNER_STAGE
from agent.kernel import syscalls
from agent.security.orders import Orders, Watch
from bpfleet.events import SECURITY_EXEC

ENABLE_STATS, RUN_TIME = 32, 0
"""BPF_ENABLE_STATS, BPF_STATS_RUN_TIME (uapi/linux/bpf.h): the kernel times each run, which adds some 30 ns to it."""

STARTS, ROUNDS = 500, 20
LIMIT = 1.02
NANOSECONDS = 1e9
ALL, FEW = Watch(per_second=1_000_000, burst=1_000_000), Watch(per_second=10, burst=10)

FLOOD, CALM = 50_000, 100
DRAIN_SECONDS = 5.0
CPU = 0.05
"""Of one, the chart's request."""

POLICY = """
version: 1
name: every-start
description: Every program that is started.
rules:
  - name: start
    description: Any.
    event: exec
    severity: info
    match:
      - binary: ["*"]
"""


def cpu_ns(cgroup: Cgroup, folder: Path, starts: int) -> float:
    """Nanoseconds a start."""
    command, _ = cgroup.command([str(folder / "witness"), str(folder / "nothing")])
    pid = os.posix_spawnp(command[0], command, {**os.environ, "WITNESS": str(starts)})
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"the starts ended with {status}")
    return (usage.ru_utime + usage.ru_stime) / starts * NANOSECONDS


def measure(folder: Path, pairs: int) -> Iterator[Row]:
    programs = exec_witness.compiled(folder)
    with Switch((Exec,)) as switch, Cgroup("bench-execs") as cgroup, Cgroup("bench-calm") as calm:
        exec, maps = Exec(), switch.loaded.maps("exec")
        number = cgroup.path.stat().st_ino

        def window() -> float:
            found = cpu_ns(cgroup, programs, STARTS)
            switch.loaded.begin_drain()
            for _ in exec.events(maps):
                pass
            return found

        def ratio(goal: str, name: str, switch: Switch | Nothing, limit: float | None = None) -> Row:
            found = paired(switch, pairs, window)
            ratios = [on / off for off, on in found]
            added = sorted(on - off for off, on in found)[len(found) // 2]
            off_ns = sorted(off for off, _ in found)[len(found) // 2]
            return rows.of(goal, name, "1", ratios, limit, added_ns=round(added), off_ns=round(off_ns))

        yield ratio("A/A", "CPU a start of a program", Nothing())
        exec.steer(maps, Orders())
        yield ratio("C3", "CPU a start, nobody is watched", switch, LIMIT)
        exec.steer(maps, Orders({"exec": {calm.path.stat().st_ino: ALL}}))
        yield ratio("C3", "CPU a start, others are watched", switch, LIMIT)
        exec.steer(maps, Orders({"exec": {number: ALL}}))
        yield ratio("", "CPU a start that is told", switch)
        exec.steer(maps, Orders({"exec": {number: FEW}}))
        yield ratio("", "CPU a start beyond the workload's share", switch)


def runs(folder: Path) -> Iterator[Row]:
    """What the hook's program takes, by the kernel's own clock: a start takes so much longer that it is lost in it."""
    programs = exec_witness.compiled(folder)
    with Switch((Exec,)) as switch, Cgroup("bench-execs") as cgroup:
        exec, maps, number = Exec(), switch.loaded.maps("exec"), cgroup.path.stat().st_ino
        (hook,) = switch.hooks
        switch.on()
        stats = syscalls.Attributes().call(ENABLE_STATS, "=I", RUN_TIME)
        try:
            for name, watches in (
                ("nobody is watched", {}),
                ("others are watched", {1: ALL}),
                ("told", {number: ALL}),
                ("beyond the workload's share", {number: FEW}),
            ):
                exec.steer(maps, Orders({"exec": watches}))
                found = []
                for _ in range(ROUNDS):
                    before = facts_of(hook.program)
                    cpu_ns(cgroup, programs, STARTS)
                    after = facts_of(hook.program)
                    count, taken = (int(after[name]) - int(before[name]) for name in ("run_cnt", "run_time_ns"))
                    found.append(taken / count)
                    switch.loaded.begin_drain()
                    for _ in exec.events(maps):
                        pass
                yield rows.of("", f"hook of exec, {name}", "ns", found)
        finally:
            os.close(stats)


def flood(folder: Path) -> Iterator[Row]:
    """50,000 starts of one workload beside 100 of another, told by the real agent with a rule for each of them."""
    programs = exec_witness.compiled(folder)
    policies, events = folder / "policies", folder / "events.jsonl"
    policies.mkdir()
    (policies / "every-start.yaml").write_text(POLICY)
    flags = ["--collectors", "+exec", "--security-watch", "all", "--security-policies", str(policies)]
    with (
        Cgroup("bench-flood") as noisy,
        Cgroup("bench-calm") as calm,
        Agent(*flags, "--sinks-jsonl-path", str(events), environment=DEFAULTS) as agent,
    ):
        words = [str(programs / "witness"), str(programs / "nothing")]
        time.sleep(2 * DRAIN_SECONDS)  # both are known, and have orders of their own
        cpu, began = requests.cpu_ns(agent.process.pid), time.monotonic()
        flooding = noisy.start(words, env={"WITNESS": str(FLOOD)})
        calm.run(words, env={"WITNESS": str(CALM)})
        if flooding.wait():
            raise RuntimeError("the flood did not come to its end")
        took = time.monotonic() - began
        time.sleep(2 * DRAIN_SECONDS)
        used = (requests.cpu_ns(agent.process.pid) - cpu) / NANOSECONDS / (time.monotonic() - began)
        page = Page.parse(agent.get("/metrics?view=live")[1].decode())

        def told(cgroup: Cgroup) -> float:
            return page.value("bpfleet_security_events_total", workload=cgroup.workload)

        def refused(cgroup: Cgroup) -> float:
            return page.value("bpfleet_security_suppressed_total", workload=cgroup.workload, event="exec")

        facts = {"told": told(noisy), "refused": refused(noisy), "starts_a_second": round(FLOOD / took)}
        yield rows.of("", f"agent's CPU while one workload starts {FLOOD:,} programs", "1", [used], CPU, **facts)
        counted = {name: told(place) + refused(place) for name, place in (("flood", noisy), ("calm", calm))}
        yield rows.of("", "of the flood: told + refused - started", "1", [counted["flood"] - FLOOD - 1], 0.0)
        yield rows.of("", "of the other workload: told - started", "1", [told(calm) - CALM - 1], 0.0)
        delivered = page.value("bpfleet_delivered_total", channel="exec")
        outcomes = page.value("bpfleet_events_total", event=SECURITY_EXEC)
        waiting = sum(page.value("bpfleet_events_waiting", stage=stage) for stage in (OWNER_STAGE, HOLDING_STAGE))
        yield rows.of("", "of the node: delivered - events - waiting", "1", [delivered - outcomes - waiting], 0.0)
