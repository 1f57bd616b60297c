"""C1, C1b, C2: what do the default collectors cost an HTTP server and its client, both on this host?

nginx with one worker and wrk, each pinned to a CPU, 34-byte replies over loopback: a worst case, because hardly any
work is done per packet. One long wrk run; the hooks go on and off every quarter of a second. Requests come from
nginx's stub_status, CPU from schedstat of the worker and of wrk. The A/A rows do the same without touching a hook.
"""

import contextlib
import http.client
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import rows
from bench.rows import Row
from bench.switches import Nothing, Switch, paired
from tests.support.agents import free_port
from tests.support.cgroups import Cgroup

WINDOW_SECONDS = 0.25
REST_SECONDS = 0.02
"""After a switch, before counting: what was in flight has passed."""

WARM_SECONDS = 1.0
NANOSECONDS = 1e9
CONNECTIONS = 16
SERVER_CPU, CLIENT_CPU = "0", "1"

CONFIGURATION = """
worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; daemon off; user root;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  server {{ listen 127.0.0.1:{status}; location /status {{ stub_status; }} }}
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "hello world, this is a small body\\n"; }} }}
}}
"""


class Window(NamedTuple):
    """requests a second, and CPU nanoseconds a request of the server and of the client."""

    rate: float
    server_ns: float
    client_ns: float

    @property
    def both_ns(self) -> float:
        return self.server_ns + self.client_ns


def cpu_ns(pid: int) -> int:
    """On-CPU time of all threads of a process (Documentation/scheduler/sched-stats.rst)."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


class Load:
    """nginx and wrk under way, for the time of a `with`. keep_alive: else each request has a connection of its own.
    script: of wrk, in Lua."""

    def __init__(self, folder: Path, keep_alive: bool, seconds: float, script: str = "") -> None:
        self.folder, self.seconds = folder, seconds
        self.script = script if keep_alive else 'wrk.headers["Connection"] = "close"\n'

    def __enter__(self) -> "Load":
        with contextlib.ExitStack() as stack:
            server, client = (stack.enter_context(Cgroup(f"bench-{name}")) for name in ("server", "client"))
            port, status = free_port(), free_port()
            configuration = self.folder / "nginx.conf"
            configuration.write_text(CONFIGURATION.format(folder=self.folder, port=port, status=status))
            nginx = server.start(["taskset", "-c", SERVER_CPU, "nginx", "-c", str(configuration)])
            self.worker = self._worker_of(nginx.pid)
            self.status = http.client.HTTPConnection("127.0.0.1", status)
            stack.callback(self.status.close)
            script = self.folder / "wrk.lua"
            script.write_text(self.script)
            scripted = ["-s", str(script)] if self.script else []
            load = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{self.seconds:.0f}s", *scripted, f"http://127.0.0.1:{port}/"]
            self.wrk = client.start(["taskset", "-c", CLIENT_CPU, *load], stdout=subprocess.DEVNULL).pid
            time.sleep(WARM_SECONDS)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    @staticmethod
    def _worker_of(master: int) -> int:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.05)
        raise TimeoutError("nginx has no worker")

    def requests(self) -> int:
        self.status.request("GET", "/status")
        found = re.search(r"\n\s*\d+\s+\d+\s+(\d+)", self.status.getresponse().read().decode())
        assert found
        return int(found[1])

    def window(self) -> Window:
        time.sleep(REST_SECONDS)
        before = self.requests(), cpu_ns(self.worker), cpu_ns(self.wrk), time.perf_counter()
        time.sleep(WINDOW_SECONDS)
        after = self.requests(), cpu_ns(self.worker), cpu_ns(self.wrk), time.perf_counter()
        served, server, client, seconds = (late - early for late, early in zip(after, before, strict=True))
        return Window(served / seconds, server / served, client / served)


def measure(folder: Path, pairs: int) -> Iterator[Row]:
    """The A/A rows too with everything loaded, so that a second agent is refused at once and not half-way."""
    with Switch() as switch:
        for keep_alive in (True, False):
            seconds = 4 * pairs * (WINDOW_SECONDS + 3 * REST_SECONDS) + WARM_SECONDS + 60
            with Load(folder, keep_alive, seconds) as load:
                yield from _rows("A/A", keep_alive, paired(Nothing(), pairs, load.window))
                yield from _rows("C", keep_alive, paired(switch, pairs, load.window))


def _rows(kind: str, keep_alive: bool, found: list[tuple[Window, Window]]) -> Iterator[Row]:
    """Ratios on / off of each pair, and what a request costs more."""
    how = "keep-alive" if keep_alive else "a connection a request"
    real = kind == "C"
    base = {
        "base_rate": rows.of("", "", "", [off.rate for off, _ in found]).median,
        "base_cpu_ns": rows.of("", "", "", [off.both_ns for off, _ in found]).median,
    }
    first, second = ("C1" if keep_alive else "C1b", "C2" if keep_alive else "C1b") if real else (kind, kind)
    goal = real and keep_alive
    rates = [on.rate / off.rate for off, on in found]
    both = [on.both_ns / off.both_ns for off, on in found]
    server_more = [on.server_ns - off.server_ns for off, on in found]
    both_more = [on.both_ns - off.both_ns for off, on in found]
    yield rows.of(first, f"requests a second, {how}", "1", rates, 0.90 if goal else None, True, **base)
    yield rows.of(second, f"CPU a request, {how}", "1", both, 1.09 if goal else None, **base)
    yield rows.of(second, f"CPU a request more, server, {how}", "ns", server_more, 700.0 if goal else None, **base)
    yield rows.of(second, f"CPU a request more, both ends, {how}", "ns", both_more, **base)
