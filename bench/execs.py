"""C3 of exec: what does its hook cost a program's start, watched or not? And what does a flood of starts take?

A program starts the shortest one that there is, one after the other, while the hook goes on and off. CPU per start of
both, children included, as the kernel says it to who waits for them (wait4).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import rows
from bench.rows import Row
from bench.switches import Nothing, Switch, facts_of, paired
from tests.support import exec_witness
from tests.support.cgroups import Cgroup

from agent.collectors.exec import Exec
from agent.kernel import syscalls
from agent.security.orders import Orders, Watch

ENABLE_STATS, RUN_TIME = 32, 0
"""BPF_ENABLE_STATS, BPF_STATS_RUN_TIME (uapi/linux/bpf.h): the kernel times each run, which adds some 30 ns to it."""

STARTS, ROUNDS = 500, 20
LIMIT = 1.02
NANOSECONDS = 1e9
ALL, FEW = Watch(per_second=1_000_000, burst=1_000_000), Watch(per_second=10, burst=10)

FLOOD, CALM = 50_000, 100
SHARE = Watch(per_second=50, burst=200)
DRAIN_SECONDS = 5.0


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
    """50,000 starts of one workload and 100 of another, read as the agent does: what that takes, and the books."""
    programs = exec_witness.compiled(folder)
    with Switch((Exec,)) as switch, Cgroup("bench-flood") as noisy, Cgroup("bench-calm") as calm:
        exec, maps = Exec(), switch.loaded.maps("exec")
        both = {cgroup.path.stat().st_ino: SHARE for cgroup in (noisy, calm)}
        exec.steer(maps, Orders({"exec": both}))
        switch.on()
        words = [str(programs / "witness"), str(programs / "nothing")]
        began, reading, told, refused = time.monotonic(), 0.0, dict.fromkeys(both, 0), dict.fromkeys(both, 0)
        flooding = noisy.start(words, env={"WITNESS": str(FLOOD)})
        calm.run(words, env={"WITNESS": str(CALM)})
        ended = False
        while not ended:
            due = time.monotonic() + DRAIN_SECONDS
            while not ended and time.monotonic() < due:
                ended = flooding.poll() is not None
                time.sleep(0.01)
            before = time.thread_time()
            switch.loaded.begin_drain()
            for sample in exec.collect(maps):
                refused[int(str(sample.cgroup_id))] += int(str(sample.value))
            for event in exec.events(maps):
                told[event.cgroup_id] += 1
            reading += time.thread_time() - before
        seconds = time.monotonic() - began
        seen, *lost = switch.loaded.books()["exec"]
        of_noisy, of_calm = both
        exact = seen == FLOOD + CALM + 2 == sum(told.values()) + sum(lost) and sum(refused.values()) == lost[0]
        facts = {"seen": seen, "told": sum(told.values()), "refused": lost[0], "ring_full": lost[1]}
        yield rows.of("", f"{FLOOD:,} starts of one workload: CPU of reading", "1", [reading / seconds], **facts,
                      seconds=round(seconds, 1), starts_a_second=round(FLOOD / seconds))  # fmt: skip
        yield rows.of("", "books are exact, told + refused = seen", "1", [float(exact)], 1.0, at_least=True)
        untouched = told[of_calm] == CALM + 1 and not refused[of_calm]
        yield rows.of("", "another workload's share is untouched", "1", [float(untouched)], 1.0, at_least=True,
                      told=told[of_calm], of_flood=told[of_noisy])  # fmt: skip
