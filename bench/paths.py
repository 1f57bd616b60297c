"""How long does each path of the packet programs take, and what does a full request log cost?

Paths: bytes that are no HTTP (redis' own benchmark), one request a segment (wrk) and pipelines (wrk with a script),
each with the collector `http` and without. Times are the programs' own: one run in 1,024 is timed by the program, so a
window of half a million runs has some 500 of them. The other programs on the path are in the run that they share.

The log: one long wrk run, while the agent's settings go from no log to all requests and back; all that the log does,
in the kernel and in the agent, competes with the load for the two CPUs.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import rows
from bench.requests import CLIENT_CPU, CONNECTIONS, SERVER_CPU, Load
from bench.rows import Row
from bench.switches import Nothing, paired
from tests.support.agents import WITHOUT_HTTP, Agent, free_port
from tests.support.cgroups import Cgroup
from tests.support.servers import await_listener

NANOSECONDS = 1e9
WINDOW_SECONDS = 2.0
WINDOWS, QUICK_WINDOWS = 12, 3
LOG_PAIRS, QUICK_LOG_PAIRS = 20, 4
SETTLE_SECONDS = 0.5
"""After the log was switched: the programs learn of it at the next drain."""

DEPTH = 8
"""Requests of a pipeline: within what the collector pairs (16)."""

PROGRAMS = {"to the socket": ("on_ingress", "on_http_ingress"), "from it": ("on_egress", "on_http_egress")}
"""The second is the part of a run that a tail call went on with: its time belongs to the first one's run."""

PIPELINE = f"""
init = function() one = wrk.format(); all = string.rep(one, {DEPTH}) end
request = function() return all end
"""

Start = Callable[[contextlib.ExitStack, Path, float], None]
"""Begins a load that lasts so many seconds at least, or until the stack closes."""


def no_http(stack: contextlib.ExitStack, folder: Path, seconds: float) -> None:
    server, client = (stack.enter_context(Cgroup(f"bench-{name}")) for name in ("server", "client"))
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    words = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server.start(["taskset", "-c", SERVER_CPU, "redis-server", *words], **quiet)
    await_listener(server, port)
    load = ["redis-benchmark", "-p", str(port), "-t", "ping_mbulk", "-c", str(CONNECTIONS), "-n", "1000000000", "-q"]
    client.start(["taskset", "-c", CLIENT_CPU, *load], **quiet)


def first_head(stack: contextlib.ExitStack, folder: Path, seconds: float) -> None:
    stack.enter_context(Load(folder, keep_alive=True, seconds=seconds))


def pipelined(stack: contextlib.ExitStack, folder: Path, seconds: float) -> None:
    stack.enter_context(Load(folder, keep_alive=True, seconds=seconds, script=PIPELINE))


PATHS: dict[str, Start] = {"no HTTP": no_http, "a request a segment": first_head, f"{DEPTH} requests": pipelined}


def run_times(agent: Agent, windows: int) -> dict[str, list[float]]:
    """By direction: nanoseconds a run, of each window."""
    found: dict[str, list[float]] = {direction: [] for direction in PROGRAMS}
    before = agent.page()
    for _ in range(windows):
        time.sleep(WINDOW_SECONDS)
        agent.drained()
        after = agent.page()
        for direction, programs in PROGRAMS.items():
            runs = after.value("bpfleet_program_runs_total", program=programs[0])
            runs -= before.value("bpfleet_program_runs_total", program=programs[0])
            seconds = sum(
                page.value("bpfleet_program_run_seconds_total", program=program) * sign
                for program in programs
                for page, sign in ((after, 1), (before, -1))
                if any(labels["program"] == program for labels, _ in page.where("bpfleet_program_run_seconds_total"))
            )
            if runs:
                found[direction].append(seconds / runs * NANOSECONDS)
        before = after
    return found


def paths(folder: Path, windows: int) -> Iterator[Row]:
    for which, environment in (("with http", {}), ("without http", WITHOUT_HTTP)):
        with Agent(environment=environment) as agent:
            for name, start in PATHS.items():
                with contextlib.ExitStack() as stack:
                    start(stack, folder, windows * (WINDOW_SECONDS + 1) + 10)
                    for direction, values in run_times(agent, windows).items():
                        yield rows.of("path", f"{name}, {which}, {direction}: a run", "ns", values)


class Log:
    """The request log, for `paired`: on tells of every request into a file, off of none."""

    def __init__(self, folder: Path) -> None:
        self.settings, self.out = folder / "agent.yaml", folder / "requests.jsonl"

    def __enter__(self) -> "Log":
        self._write("all")  # what is off at the start has no programs to switch
        self.agent = Agent("--config", str(self.settings)).__enter__()
        self.off()
        return self

    def __exit__(self, *_: object) -> None:
        self.agent.__exit__()

    def _write(self, mode: str) -> None:
        self.settings.write_text(
            f"requests: {{log: {mode}, per_second: 1000000}}\n"
            f'sinks: {{jsonl: {{path: ""}}, file: {{path: {self.out}, max_bytes: 100000000, files: 1}}}}\n'
        )

    def _switch(self, mode: str) -> None:
        self._write(mode)
        told = self.agent.reload()
        if not told["successful"]:
            raise RuntimeError(f"the agent does not take its settings: {told}")
        time.sleep(SETTLE_SECONDS)

    def on(self) -> None:
        self._switch("all")

    def off(self) -> None:
        self._switch("off")

    def books(self) -> dict[str, float]:
        """Of the log, since the start: told, and lost by reason."""
        page = self.agent.page()
        told = {f"told {labels['sink']}": value for labels, value in page.where("bpfleet_sink_events_total") if value}
        return told | {f"lost {reason}": value for reason, value in self.agent.lost().items()}


def log(folder: Path, pairs: int) -> Iterator[Row]:
    seconds = 2 * pairs * (WINDOW_SECONDS + 4) + 60
    with Log(folder) as switch, Load(folder, keep_alive=True, seconds=seconds) as load:
        same = paired(Nothing(), pairs, load.window)
        found = paired(switch, pairs, load.window)
        facts = switch.books()
        for name, windows in (("A/A", same), ("log", found)):
            what = "" if name == "A/A" else "log at all over log off: "
            rate = [on.rate / off.rate for off, on in windows]
            cpu = [on.both_ns - off.both_ns for off, on in windows]
            yield rows.of(name, f"{what}requests a second", "1", rate, **facts)
            yield rows.of(name, f"{what}CPU a request more, both ends", "ns", cpu)


def measure(folder: Path, quick: bool) -> Iterator[Row]:
    yield from paths(folder, QUICK_WINDOWS if quick else WINDOWS)
    yield from log(folder, QUICK_LOG_PAIRS if quick else LOG_PAIRS)
