"""C3: what do the default collectors cost a process that has nothing to do with the network?

A process makes system calls as fast as it can; the hooks go on and off. CPU per call, from schedstat.
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

CALLS_A_ROUND = 1000
WINDOW_SECONDS = 0.1
LIMIT = 1.02


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
        time.sleep(WINDOW_SECONDS)
        after = calls(), cpu_ns(pid)
        return (after[1] - before[1]) / (after[0] - before[0])

    try:
        with Switch() as switch:
            aa = [on / off for off, on in paired(Nothing(), pairs, window)]
            yield rows.of("A/A", "CPU a system call, process that nobody watches", "1", aa)
            found = [on / off for off, on in paired(switch, pairs, window)]
            yield rows.of("C3", "CPU a system call, process that nobody watches", "1", found, LIMIT)
    finally:
        process.kill()
        process.join()
