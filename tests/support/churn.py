"""Cgroups that come and go, each sending a known number of datagrams, and what the agent says of each meanwhile."""

import threading
import time
from collections.abc import Callable, Sequence

from tests.support.cgroups import PREFIX, Cgroup
from tests.support.namespaces import Namespace
from tests.support.pages import Page

PACKETS = "bpfleet_network_io_packets_total"
READ_SECONDS = 0.5

SEND = """
import os, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
    folder, host, count = line.split()
    child = os.fork()
    if not child:
        with open(folder + "/cgroup.procs", "w") as procs: procs.write("0")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for _ in range(int(count)): sock.sendto(b"x" * 23, (host, 9))
        os._exit(0)
    os.waitpid(child, 0)
    print(flush=True)
"""
"""One process that forks the senders: a process id is used again, a start takes no 20 ms."""


class Churn:
    """Each name lives `lives` times and sends number + 1 datagrams, number being its place in `names`.

    last_reads_seconds: after the last one; the zero before a first event (1.1 scrape intervals) and two drains.
    highest: the largest count seen on any page by workload. strays: packets of test names that nobody should have."""

    def __init__(
        self,
        namespace: Namespace,
        host: str,
        names: Sequence[str],
        lives: int,
        per_second: float,
        read: Callable[[], Page],
        last_reads_seconds: float = 8.0,
    ) -> None:
        self.namespace, self.host, self.names, self.lives = namespace, host, names, lives
        self.pause_seconds, self.read = 1 / per_second, read
        self.last_reads_seconds = last_reads_seconds
        self.sent = {name: lives * (place + 1) for place, name in enumerate(names)}
        self.highest: dict[str, float] = {}
        self.strays = 0.0

    def run(self) -> None:
        done = threading.Event()
        reader = threading.Thread(target=self._watch, args=(done,))
        reader.start()
        try:
            self._live()
            time.sleep(self.last_reads_seconds)
        finally:
            done.set()
            reader.join()

    def _live(self) -> None:
        with Cgroup("parent", self.namespace) as parent:
            sender = parent.start(["/usr/bin/env", "python3", "-u", "-I", "-c", SEND])
            assert sender.stdin is not None and sender.stdout is not None
            due = time.monotonic()
            for _ in range(self.lives):
                for place, name in enumerate(self.names):
                    with Cgroup(name, exact_name=True) as cgroup:
                        sender.stdin.write(f"{cgroup.path} {self.host} {place + 1}\n")
                        sender.stdin.flush()
                        sender.stdout.readline()
                    due += self.pause_seconds
                    time.sleep(max(0.0, due - time.monotonic()))

    def _watch(self, done: threading.Event) -> None:
        while not done.wait(READ_SECONDS):
            for labels, value in self.read().where(PACKETS, direction="transmit", transport="udp"):
                workload = labels["workload"]
                if workload[1:] in self.sent:
                    self.highest[workload] = max(self.highest.get(workload, 0.0), value)
                elif workload.startswith(f"/{PREFIX}"):
                    self.strays = max(self.strays, value)
