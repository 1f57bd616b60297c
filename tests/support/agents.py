"""The agent as a user starts it: `bpfleet agent` in the foreground, a child of the test."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import fast_starts
from tests.support.cgroups import Cgroup
from tests.support.pages import Page

from agent.security.stage import UNWATCHED

REPOSITORY = Path(__file__).parents[2]
READY_SECONDS = 60.0
COMPILE_SECONDS = 180.0
"""For all collectors at once, which nobody has kept compiled, beside other tests."""

STOP_SECONDS = 20.0

DRAIN_SECONDS = 0.1
SCRAPE_SECONDS = 0.3
"""Shorter than anybody would set them: a test waits for two drains and for the zero that precedes a first event."""

SETTLE_SECONDS = 3.0
"""At the latest: this host's own traffic may bring new series for ever."""

QUIET_SECONDS = 0.3
"""For so long nothing more comes: TCP may hold an acknowledgement back for 0.2 s (TCP_DELACK_MAX)."""

WITHOUT_HTTP = {"BPFLEET_COLLECTORS": "-http"}
"""The collector that takes as long to compile and verify as all the others: for agents of a test's own that is about
something else. The shared agent, and the tests of capabilities and of what stays behind, have the default set."""

COMPILES = {"BPFLEET_KERNEL_CACHE": ""}
"""Where the compiler is what a test is about, or its time."""

COUNTS = "metrics at "
"""What an agent's log says when its programs are attached."""

LOOK_SECONDS = 0.05
OTHERS_SECONDS = 20.0
"""Another suite's agent, or one that just ends, may hold the lock."""
BASE = [sys.executable, "-m", "agent"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def fast_settings() -> dict[str, str]:
    return {
        "BPFLEET_DRAIN_INTERVAL_SECONDS": str(DRAIN_SECONDS),
        "BPFLEET_SCRAPE_INTERVAL_SECONDS": str(SCRAPE_SECONDS),
        "BPFLEET_IDENTITY_KUBERNETES": "off",
        "BPFLEET_KERNEL_CACHE": str(fast_starts.programs()),
    }


class Agent:
    """flags: further arguments. environment: settings on top of the fast ones. prefix: a command that runs the agent,
    e.g. setpriv. place: a cgroup to run it in. stdout: a descriptor, instead of what output() shows. ca_file: it speaks
    HTTPS, and this is whom to believe. token: what it asks for."""

    def __init__(
        self,
        *flags: str,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        place: Cgroup | None = None,
        port: int | None = None,
        stdout: int | None = None,
        ca_file: Path | None = None,
        token: str = "",
    ) -> None:
        self.stdout, self.ca_file, self.token = stdout, ca_file, token
        self.port = port or free_port()
        self.argv = [*prefix, *BASE, "--listen", f"127.0.0.1:{self.port}", *flags]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BPFLEET_")}
        self.environment = inherited | {"PYTHONPATH": str(REPOSITORY / "src")} | fast_settings() | (environment or {})
        self.place = place

    def start(self) -> "Agent":
        """Returns as soon as the process is there; see ready()."""
        self.asked = time.monotonic()
        self._launch()
        return self

    def _launch(self) -> None:
        self.started = time.monotonic()
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed in stop()
        argv, passed = self.place.command(self.argv) if self.place else (self.argv, ())
        stdout = self.log if self.stdout is None else self.stdout
        self.process = subprocess.Popen(
            argv, env=self.environment, pass_fds=passed, stdin=subprocess.DEVNULL, stdout=stdout, stderr=self.log
        )

    def ready(self, timeout_seconds: float = READY_SECONDS) -> float:
        """Wait until all collectors count; seconds since the start. Raises AssertionError with the agent's output.

        Nothing is asked before the log says so: a request that is under way when the programs are attached is one that
        the agent has to count as lost."""
        while (waited := time.monotonic() - self.started) < timeout_seconds:
            self.expect_alive()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if COUNTS in self.output() and self.get("/readyz")[0] == 200:
                    return waited
            time.sleep(0.05)
        raise AssertionError(f"not ready after {waited:.0f} s:\n{self.output()}")

    def answers_at_all(self, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait until it listens; its programs are compiled after that."""
        end = time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            self.expect_alive()
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.get("/healthz")
                return
            time.sleep(0.01)
        raise AssertionError(f"nobody listens:\n{self.output()}")

    def expect_alive(self) -> None:
        """Raises AssertionError with the agent's output if it ended; starts it again if it only came too early."""
        if self.process.poll() is None:
            return
        said = self.output()
        if "another bpfleet agent" not in said or time.monotonic() > self.asked + OTHERS_SECONDS:
            raise AssertionError(f"the agent ended with {self.process.returncode}:\n{said}")
        self.log.close()
        time.sleep(LOOK_SECONDS)
        self._launch()

    def answers(self, path: str, wanted: int, timeout_seconds: float = READY_SECONDS) -> None:
        """Wait for that status of a page once the programs are loaded. Raises AssertionError."""
        end, found = time.monotonic() + timeout_seconds, 0
        while time.monotonic() < end:
            self.expect_alive()
            with contextlib.suppress(OSError, http.client.HTTPException):
                found = self.get(path)[0]
                if found == wanted and list(self.page().where("bpfleet_collector_up")):
                    return
            time.sleep(0.05)
        raise AssertionError(f"{path} answers {found}, not {wanted}:\n{self.output()}")

    def output(self) -> str:
        self.log.flush()
        return Path(f"/proc/self/fd/{self.log.fileno()}").read_text()

    def stop(self, how: int = signal.SIGTERM) -> int:
        """The exit status. Raises AssertionError if it does not end."""
        self.process.send_signal(how)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"did not end on signal {how}:\n{self.output()}") from None
        finally:
            self.log.close()

    def ended(self, timeout_seconds: float = READY_SECONDS) -> tuple[int, str]:
        """For an agent that must refuse to run: its status and what it said."""
        try:
            status = self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            said = self.output()
            self.stop()
            raise AssertionError(f"still runs:\n{said}") from None
        said = self.output()
        self.log.close()
        return status, said

    def __enter__(self) -> "Agent":
        self.start()
        try:
            self.ready()
            self.page()  # the first scrape, from which the zero of later series counts
        except BaseException:
            with contextlib.suppress(AssertionError):
                self.stop(signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes, dict[str, str]]:
        connection = self._connection()
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            connection.request("GET", path, headers=token | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self.ca_file:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        trust = ssl.create_default_context(cafile=self.ca_file)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=trust)

    def reload(self) -> dict[str, Any]:
        """Have it read its settings again; what /status says of that when it is done."""
        before = self.status()["reload"]["attempts"]
        self.process.send_signal(signal.SIGHUP)
        return self.told_of_reloads(before + 1)

    def told_of_reloads(self, attempts: int) -> dict[str, Any]:
        """What /status says when so many were made."""
        end = time.monotonic() + READY_SECONDS
        while (found := self.status()["reload"])["attempts"] < attempts:
            self.expect_alive()
            assert time.monotonic() < end, f"no reload:\n{self.output()}"
            time.sleep(LOOK_SECONDS)
        told: dict[str, Any] = found
        return told

    def text(self) -> str:
        status, body, _ = self.get("/metrics")
        assert status == 200, body
        return body.decode()

    def page(self) -> Page:
        return Page.parse(self.text())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status")[1])
        return found

    def settled(self, *places: Cgroup) -> Page:
        """The page after everything that has happened is on it; of these workloads only, if any are given."""
        self.drained()
        end = time.monotonic() + SETTLE_SECONDS
        if not places:
            while self._waits() and time.monotonic() < end:
                time.sleep(LOOK_SECONDS)
            return self.page()
        text, since = self.text(), time.monotonic()
        while time.monotonic() < end:  # what the programs still do, closing for example, comes after them
            self.drained()
            text, before = self.text(), text
            if _lines(text, places) != _lines(before, places):
                since = time.monotonic()
            elif time.monotonic() > since + QUIET_SECONDS and self._shows(text, places):
                break
        wanted = {("workload", one.workload) for one in places}
        page = Page.parse(text)
        return Page({series: value for series, value in page.samples.items() if wanted & series[1]})

    def _shows(self, text: str, places: Sequence[Cgroup]) -> bool:
        """Nothing of these workloads waits: for a name (one that is on the page has it), or for the scrape after which
        a new series shows its value."""
        live = self.get("/metrics?view=live")[1].decode()
        if _lines(text, places) != _lines(live, places):
            return False
        return all(_lines(text, [one]) for one in places) or not self._waits()

    def drained(self) -> None:
        """Everything that has happened by now is read from the kernel: the drain under way and the next one are over.
        Raises AssertionError if the agent does not get there."""
        wanted, end = self.status()["drains"] + 2, time.monotonic() + READY_SECONDS
        time.sleep(DRAIN_SECONDS)
        while self.status()["drains"] < wanted:
            assert time.monotonic() < end, f"no two drains within {READY_SECONDS:.0f} s:\n{self.output()}"
            time.sleep(LOOK_SECONDS)

    def _waits(self) -> bool:
        """For the names of cgroups, or for the scrape after which a new series shows its value."""
        series = self.status()["series"]
        return bool(series["held"] or series["withheld"])

    def lost(self) -> dict[str, float]:
        """What the agent knows not to have counted, where it is not 0. What no security policy watches is not lost."""
        return {
            f"{labels['channel']}/{labels['reason']}": value
            for labels, value in self.page().where("bpfleet_lost_total")
            if value and labels["reason"] != UNWATCHED
        }


def _lines(text: str, places: Sequence[Cgroup]) -> list[str]:
    """Of a page: those of these workloads. Without parsing it, which takes longer than what is waited for."""
    marks = [f'{before}workload="{one.workload}"' for one in places for before in "{,"]
    return [line for line in text.splitlines() if any(mark in line for mark in marks)]


class House:
    """One agent at a time on this host: shared while the tests ask for the same one."""

    def __init__(self) -> None:
        self.agent: Agent | None = None

    def running(self) -> Agent:
        """An agent with the default collectors."""
        if self.agent and self.agent.process.poll() is not None:
            said = self.agent.output()
            self.agent = None
            raise AssertionError(f"the agent died:\n{said}")
        if not self.agent:
            self.agent = Agent().__enter__()
        return self.agent

    def empty(self) -> None:
        """No agent, for tests that start their own."""
        if self.agent:
            self.agent.__exit__()
            self.agent = None
