"""C4, C6, C7, C9: what does the agent itself take: CPU under load, memory, time to start, kernel memory?

The real agent with its default settings, but for the shorter drain where growth is waited for.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from bench import rows
from bench.requests import Load, cpu_ns
from bench.rows import Row
from tests.support.agents import COMPILES, Agent
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace
from tests.support.pages import Page

DEFAULTS = COMPILES | {"BPFLEET_DRAIN_INTERVAL_SECONDS": "5", "BPFLEET_SCRAPE_INTERVAL_SECONDS": "15"}
SERIES = 10_000
FLOWS = 5_000
"""Each shows the bytes and the packets that were sent: two series."""

MIB = 1024.0
SETTLE_SECONDS = 8.0
LOOK_SECONDS = 0.01
C6_MIB, C6_PEAK_MIB, C7_SECONDS, C9_MIB = 45.0, 250.0, 5.0, 64.0


def resident_mib(pid: int) -> float:
    """0 where the process is gone."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / MIB
    return 0.0


def family_mib(pid: int) -> float:
    """Of a process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return resident_mib(pid) + sum(resident_mib(int(child)) for child in children)


def start_up(starts: int) -> Iterator[Row]:
    """Until /readyz says that all default collectors count; the peak is that of the agent and its loader together."""
    seconds, peaks, high = [], [], []
    for _ in range(starts):
        agent = Agent(environment=DEFAULTS).start()
        peak, above = 0.0, 0.0
        try:
            while True:
                agent.expect_alive()
                now = family_mib(agent.process.pid)
                peak, above = max(peak, now), above + LOOK_SECONDS * (now > C6_MIB)
                with contextlib.suppress(OSError):
                    if agent.get("/readyz")[0] == 200:
                        break
                time.sleep(LOOK_SECONDS)
            seconds.append(time.monotonic() - agent.started)
            peaks.append(peak)
            high.append(above)
        finally:
            agent.stop()
    yield rows.of("C7", "from start to all default collectors counting", "s", [max(seconds)], C7_SECONDS, times=seconds)
    yield rows.of("C6", "start: peak of agent and loader", "MiB", [max(peaks)], C6_PEAK_MIB, peaks=peaks)
    yield rows.of("C6", f"start: time above {C6_MIB:.0f} MiB", "s", [max(high)], 10.0)


def series_of(page: Page) -> float:
    return page.value("bpfleet_series", state="exposed")


def at_10_000_series() -> Iterator[Row]:
    with Agent(environment={**DEFAULTS, "BPFLEET_DRAIN_INTERVAL_SECONDS": "1"}) as agent, Namespace("a") as space:
        empty = resident_mib(agent.process.pid)
        with Cgroup("bench-flows", space) as cgroup:
            cgroup.talk("udp_ports", "127.0.0.1", 10_000, count=FLOWS, size=64)
            time.sleep(SETTLE_SECONDS)
            page = agent.page()
            memory = resident_mib(agent.process.pid)
            lines = len(page.samples)
        kernel = page.value("bpfleet_map_bytes")
        cpus = Path("/sys/devices/system/cpu/possible").read_text().strip()
        yield rows.of("C6", f"agent's memory at {SERIES:,} series, on a host", "MiB", [memory], C6_MIB,
                      lines=lines, series=series_of(page), empty_mib=empty)  # fmt: skip
        yield rows.of("C9", f"kernel memory of the maps, CPUs {cpus}", "MiB", [kernel / MIB / MIB], C9_MIB,
                      maps={have["map"]: value for have, value in page.where("bpfleet_map_bytes")})  # fmt: skip


def under_load(folder: Path, rounds: int, seconds: float) -> Iterator[Row]:
    """The same series before and during: nginx and wrk run from the start, wrk is stopped and goes on in turns."""
    with Agent(environment=DEFAULTS) as agent, Load(folder, True, 2 * rounds * seconds + 60) as load:
        time.sleep(SETTLE_SECONDS)

        def cpu_a_second() -> float:
            before = cpu_ns(agent.process.pid)
            time.sleep(seconds)
            return (cpu_ns(agent.process.pid) - before) / seconds / 1e6

        served, busy, idle = load.requests(), [], []
        for _ in range(rounds):
            busy.append(cpu_a_second())
            os.kill(load.wrk, signal.SIGSTOP)
            idle.append(cpu_a_second())
            os.kill(load.wrk, signal.SIGCONT)
        rate = (load.requests() - served) / seconds / rounds
        yield rows.of("C4", f"agent's CPU at {rate:,.0f} requests/s over idle", "1", [sum(busy) / sum(idle)], 1.2,
                      busy_ms_a_second=busy, idle_ms_a_second=idle, rate=rate)  # fmt: skip


def measure(folder: Path, quick: bool) -> Iterator[Row]:
    yield from start_up(2 if quick else 5)
    yield from at_10_000_series()
    yield from under_load(folder, 2 if quick else 4, 10.0 if quick else 15.0)
