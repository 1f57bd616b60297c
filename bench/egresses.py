"""C3 of egress: what do its hooks cost a connection, and a datagram, of somebody whom nobody watches, and of who is?

A program connects to itself, or sends to itself, on loopback and as fast as it can, while the hooks go on and off. CPU
of a call as the kernel says it to who waits for the program (wait4). Nothing is shorter than these calls, so the ratios
of those for datagrams are the worst that there are.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench import rows
from bench.execs import ENABLE_STATS, RUN_TIME
from bench.rows import Row
from bench.switches import Nothing, Switch, facts_of, paired
from tests.support.cgroups import Cgroup

from agent.collectors.egress import Egress
from agent.kernel import syscalls
from agent.security.orders import Orders, Watch

SOURCE = Path(__file__).parents[1] / "tests/support/connect_load.c"
LIMIT = 1.02
ROUNDS = 20
TOLD = 2_000
"""The ring has room for so many."""

NANOSECONDS = 1e9
CALLS = {
    "tcp": ("a TCP connection", 4_000),
    "udp": ("a datagram by sendto", 100_000),
    "connected": ("a UDP connect", 200_000),
}
ALL, FEW = Watch(per_second=1_000_000, burst=1_000_000, group=1), Watch(per_second=10, burst=10, group=2)
LOOPBACK = frozenset([(bytes(10) + b"\xff\xff\x7f\0\0\0", 104)])
LISTED = frozenset((bytes(10) + b"\xff\xff" + number.to_bytes(4, "big"), 128) for number in range(1000))


def compiled(folder: Path) -> Path:
    subprocess.run(["cc", "-O2", "-o", str(folder / "load"), str(SOURCE)], check=True)
    return folder / "load"


def cpu_ns(cgroup: Cgroup, program: Path, kind: str, turns: int) -> float:
    """Nanoseconds a turn."""
    command, _ = cgroup.command([str(program), kind, str(turns)])
    pid = os.posix_spawnp(command[0], command, dict(os.environ))
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{kind} ended with {status}")
    return (usage.ru_utime + usage.ru_stime) / turns * NANOSECONDS


def measure(folder: Path, pairs: int) -> Iterator[Row]:
    program = compiled(folder)
    with Switch((Egress,)) as switch, Cgroup("bench-egress") as cgroup, Cgroup("bench-calm") as calm:
        for kind in CALLS:
            yield from _of(kind, switch, pairs, cgroup, calm, program)


def _of(kind: str, switch: Switch, pairs: int, cgroup: Cgroup, calm: Cgroup, program: Path) -> Iterator[Row]:
    egress, maps = Egress(), switch.loaded.maps("egress")
    own, other = (each.path.stat().st_ino for each in (cgroup, calm))
    name, turns = CALLS[kind]
    limit = LIMIT if kind == "tcp" else None

    def ratio(goal: str, what: str, switch: Switch | Nothing, limit: float | None = None) -> Row:
        found = paired(switch, pairs, lambda: cpu_ns(cgroup, program, kind, turns))
        added = sorted(on - off for off, on in found)[len(found) // 2]
        off_ns = sorted(off for off, _ in found)[len(found) // 2]
        facts = {"added_ns": round(added), "off_ns": round(off_ns)}
        return rows.of(goal, f"CPU of {name}, {what}", "1", [on / off for off, on in found], limit, **facts)

    egress.steer(maps, Orders())
    yield ratio("A/A", "nothing changes", Nothing())
    yield ratio("C3", "nobody is watched", switch, limit)
    egress.steer(maps, Orders({"egress": {other: ALL}}))
    yield ratio("C3", "others are watched", switch, limit)
    egress.steer(maps, Orders({"egress": {own: ALL}}, {}, {1: LOOPBACK | LISTED, 2: LISTED}))
    yield ratio("", "watched, on a list of 1,001", switch)
    egress.steer(maps, Orders({"egress": {own: FEW}}))
    yield ratio("", "watched, beyond its share", switch)


def runs(folder: Path) -> Iterator[Row]:
    """What a run of the hooks' programs takes, by the kernel's own clock (it adds some 30 ns)."""
    program = compiled(folder)
    with Switch((Egress,)) as switch, Cgroup("bench-egress") as cgroup:
        egress, maps, own = Egress(), switch.loaded.maps("egress"), cgroup.path.stat().st_ino
        switch.on()
        stats = syscalls.Attributes().call(ENABLE_STATS, "=I", RUN_TIME)
        try:
            for name, orders in (
                ("nobody is watched", Orders()),
                ("others are watched", Orders({"egress": {1: ALL}})),
                ("on a list of 1,001", Orders({"egress": {own: ALL}}, {}, {1: LOOPBACK | LISTED})),
                ("told", Orders({"egress": {own: ALL}})),
                ("beyond the workload's share", Orders({"egress": {own: FEW}})),
            ):
                egress.steer(maps, orders)
                found = []
                for _ in range(ROUNDS):
                    before = _run_time(switch)
                    cpu_ns(cgroup, program, "connected", TOLD)
                    count, taken = (now - then for now, then in zip(_run_time(switch), before, strict=True))
                    found.append(taken / count)
                    switch.loaded.begin_drain()
                    for _ in egress.events(maps):
                        pass
                yield rows.of("", f"hook of egress, {name}", "ns", found)
        finally:
            os.close(stats)


def _run_time(switch: Switch) -> tuple[int, int]:
    """Of all hooks: runs, and nanoseconds."""
    told = [facts_of(hook.program) for hook in switch.hooks]
    return sum(int(each["run_cnt"]) for each in told), sum(int(each["run_time_ns"]) for each in told)
