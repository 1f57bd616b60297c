"""Collectors of the tests' own on the real kernel, attached to a cgroup that the test makes."""

import json
import struct
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.cgroups import Cgroup
from tests.support.made_collectors import made_collector

from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from bpfleet.api import Collector, Histogram, Packet, RawTracepoint, TracingTracepoint

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = REPOSITORY / "tests/support/programs"
PACKETS = ("cgroup_skb/ingress", "cgroup_skb/egress")
WAIT = Histogram("wait", "How long.", unit="s", bounds="wait_seconds")
BOUNDS = {"wait_seconds": (0.0001, 0.00012)}
HEADERS_SIZE = 20 + 8
UDP = """
import socket, sys
count, size = int(sys.argv[1]), int(sys.argv[2])
sink, source = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
sink.bind(("127.0.0.1", 0))
for _ in range(count):
    source.sendto(bytes(size), sink.getsockname())
    sink.recv(size)
"""
TCP = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
for _ in range(int(sys.argv[1])):
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    client.sendall(b"x"); accepted.recv(1)
    client.close(); assert accepted.recv(1) == b""; accepted.close()
"""


def sizes() -> Collector:
    return made_collector(PROGRAMS, "sizes", defines={"MAX_SIZES": "64"}, metrics=(WAIT,))


def ends() -> Collector:
    state = TracingTracepoint("on_end", tracepoint="inet_sock_set_state")
    return made_collector(PROGRAMS, "ends", Packet("on_packet_ends"), state)


def records() -> Collector:
    return made_collector(PROGRAMS, "records")


def calls() -> Collector:
    return made_collector(PROGRAMS, "calls", RawTracepoint("on_exec", tracepoint="sched_process_exec"), base=None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Opened:
    """Loads collectors onto a cgroup for the time of a test."""

    def __init__(self, cgroup: Cgroup, stack: ExitStack) -> None:
        self.cgroup = cgroup
        self.clock = Clock()
        self._stack = stack

    def load(self, *collectors: Collector, **settings: Any) -> Loaded:
        chosen = KernelSettings(cgroup_root=str(self.cgroup.path), bounds=BOUNDS, **settings)
        loaded = KernelDoor(self.clock).load(collectors, chosen)
        self._stack.callback(loaded.close)
        return loaded

    def send(self, count: int, size: int = 100) -> None:
        """Datagrams from one socket of the cgroup to another: each is two packets."""
        self.cgroup.run([sys.executable, "-I", "-c", UDP, str(count), str(size)])

    @property
    def key(self) -> bytes:
        return struct.pack("=Q", self.cgroup.path.stat().st_ino)


def grown(loaded: Loaded, collector: str, name: str) -> dict[bytes, tuple[int, ...]]:
    loaded.begin_drain()
    return dict(loaded.maps(collector).growth(name))


LOAD = """
import json, sys
from contextlib import ExitStack
sys.path[:0] = [{source!r}, {repository!r}]
from tests.support.doors import *
from bpfleet.errors import BpfleetError

def resident_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

said, before_kib = {{}}, resident_kib()
try:
    settings = KernelSettings(cgroup_root={cgroup!r}, bounds=BOUNDS)
    loaded = KernelDoor().load([*({collectors},)], settings)
    said["up"] = sum(outcome.up for outcome in loaded.outcomes.values())
    said["headers"] = loaded.headers
except BpfleetError as error:
    said[type(error).__name__] = str(error)
said["mapped"] = sorted({{line.split()[-1] for line in open("/proc/self/maps")}})
said["grown_kib"] = resident_kib() - before_kib
print(json.dumps(said), flush=True)
sys.stdin.read()
"""


def loading(opened: Opened, collectors: str) -> list[str]:
    text = LOAD.format(
        source=str(REPOSITORY / "src"),
        repository=str(REPOSITORY),
        cgroup=str(opened.cgroup.path),
        collectors=collectors,
    )
    return [sys.executable, "-c", text]


def in_another_process(opened: Opened, collectors: str, prefix: list[str] | None = None) -> dict[str, Any]:
    command = [*(prefix or []), *loading(opened, collectors)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said
