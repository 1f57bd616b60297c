"""C3: what do collectors cost a process that nobody watches?

A process makes system calls as fast as it can; the hooks go on and off. CPU per call, from schedstat. The default
collectors have a goal. Those of security events are off unless asked for, and their price is told: by which hooks a
kernel has them says the row's `hooks`.
"""

import mmap
import multiprocessing
import os
import struct
import time
from collections.abc import Iterator

from bench import rows
from bench.requests import cpu_ns
from bench.rows import Row
from bench.switches import Nothing, Switch, paired

from agent.collectors.chmod import Chmod
from agent.collectors.exec import Exec
from agent.collectors.file_open import FileOpen
from agent.collectors.ptrace import Ptrace
from bpfleet.api import Collector

CALLS_A_ROUND = 1000
WINDOW_SECONDS = 0.1
LIMIT = 1.02

SECURITY: tuple[tuple[type[Collector], ...], ...] = ((Exec,), (FileOpen, Ptrace), (FileOpen, Chmod, Ptrace))
"""What is switched on together. chmod has a hook more, where the kernel has no function tracing."""


def loop(counter: mmap.mmap) -> None:
    """getppid() is the shortest call; the count stands in shared memory."""
    call, rounds = os.getppid, 0
    while True:
        for _ in range(CALLS_A_ROUND):
            call()
        rounds += 1
        counter[:8] = struct.pack("=Q", rounds * CALLS_A_ROUND)


def measure(pairs: int) -> Iterator[Row]:
    counter = mmap.mmap(-1, mmap.PAGESIZE)
    process = multiprocessing.get_context("fork").Process(target=loop, args=(counter,), daemon=True)
    process.start()
    assert process.pid
    pid = process.pid

    def calls() -> int:
        return int(struct.unpack("=Q", counter[:8])[0])

    def window() -> float:
        """CPU nanoseconds a call."""
        before = calls(), cpu_ns(pid)
        after = before
        while after[0] == before[0] or after[1] == before[1]:  # it may not have had its turn
            time.sleep(WINDOW_SECONDS)
            after = calls(), cpu_ns(pid)
        return (after[1] - before[1]) / (after[0] - before[0])

    def prices(switch: Nothing | Switch, what: str, **facts: object) -> Iterator[Row]:
        found = paired(switch, pairs, window)
        yield rows.of("C3", f"{what}, nobody watches: CPU a call", "1", [on / off for off, on in found], **facts)
        yield rows.of("C3", f"{what}, nobody watches: added a call", "ns", [on - off for off, on in found], **facts)

    try:
        with Switch() as switch:
            aa = [on / off for off, on in paired(Nothing(), pairs, window)]
            yield rows.of("A/A", "CPU a system call, process that nobody watches", "1", aa)
            found = [on / off for off, on in paired(switch, pairs, window)]
            yield rows.of("C3", "CPU a system call, process that nobody watches", "1", found, LIMIT)
        yield from prices(Nothing(), "A/A")
        for kinds in SECURITY:
            with Switch(*(kind.name for kind in kinds)) as security:
                names = ", ".join(kind.name for kind in kinds)
                yield from prices(security, names, hooks=[hook.tracepoint for hook in security.hooks])
    finally:
        process.kill()
        process.join()
