"""Cgroups of our own under the v2 mount, and processes that live in them."""

import contextlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.support.namespaces import RUN_SECONDS, Namespace

PREFIX = "bpfleet-test-"
REMOVE_SECONDS = 5.0
SWEEP_SECONDS = 0.05
TALK = Path(__file__).with_name("talk.py")
ENTER = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
"""The shell opens no socket before it has moved: a socket belongs to the cgroup that its maker was in."""

_numbers = itertools.count(1)


def v2_root() -> Path:
    """Where cgroup v2 is mounted (hybrid hosts have it beside v1). Raises LookupError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if right.split()[0] == "cgroup2":
            return Path(left.split()[4])
    raise LookupError("cgroup v2 is not mounted")


def sweep() -> None:
    """Remove what a run that was killed left behind: its process id is in the name."""
    for path in v2_root().glob(f"{PREFIX}*"):
        numbers = path.name.split("-")[-2:]
        if len(numbers) == 2 and all(map(str.isdigit, numbers)) and not Path("/proc", numbers[0]).exists():
            with contextlib.suppress(OSError):
                (path / "cgroup.kill").write_text("1")
                time.sleep(SWEEP_SECONDS)
                path.rmdir()


class Cgroup:
    """A cgroup and, if given, the network namespace that its processes run in. Removed with the `with`.

    workload: what the agent calls it, the path from the v2 root."""

    def __init__(self, name: str, namespace: Namespace | None = None, exact_name: bool = False) -> None:
        unique = name if exact_name else f"{PREFIX}{name}-{os.getpid()}-{next(_numbers)}"
        self.path = v2_root() / unique
        self.workload = f"/{unique}"
        self.namespace = namespace
        self.started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Cgroup":
        self.path.mkdir(exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.remove()

    def command(self, argv: Sequence[str]) -> tuple[list[str], tuple[int, ...]]:
        inside = self.namespace.command(argv) if self.namespace else list(argv)
        return ["sh", "-c", ENTER, str(self.path), *inside], (self.namespace.fd,) if self.namespace else ()

    def run(self, argv: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        command, passed = self.command(argv)
        defaults: dict[str, Any] = {"check": True, "text": True, "capture_output": True, "timeout": RUN_SECONDS}
        return subprocess.run(command, pass_fds=passed, **(defaults | options))

    def start(self, argv: Sequence[str], ready: str = "", **options: Any) -> "subprocess.Popen[str]":
        """A process that is ended with the `with`. ready: text of the line on stdout to wait for."""
        command, passed = self.command(argv)
        defaults: dict[str, Any] = {"text": True, "stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "bufsize": 1}
        process = subprocess.Popen(command, pass_fds=passed, **(defaults | options))
        self.started.append(process)
        if ready:
            await_line(process.stdout, ready)
        return process

    def contain(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        """As start(), as process 1 of a process namespace that somebody in another cgroup has made, as runtimes do."""
        made = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER, str(self.path), *argv]
        defaults: dict[str, Any] = {"text": True, "stdout": subprocess.PIPE, "stdin": subprocess.PIPE, "bufsize": 1}
        process = subprocess.Popen(made, **(defaults | options))
        self.started.append(process)
        return process

    def serve(self, host: str, port: int, **options: Any) -> "subprocess.Popen[str]":
        """A server of talk.py that listens when this returns, e.g. serve(host, 5001, mode="banner", size=100)."""
        return self.start(talking("serve", host, port, options), ready="ready")

    def talk(self, command: str, host: str, port: int, **options: Any) -> str:
        """A client of talk.py, to its end; its last line, e.g. "done ok=500"."""
        timeout = options.pop("timeout", RUN_SECONDS)
        return self.run(talking(command, host, port, options), timeout=timeout).stdout.splitlines()[-1]

    def begin(self, command: str, host: str, port: int, **options: Any) -> "subprocess.Popen[str]":
        """A client of talk.py that says ready and then waits for its stdin."""
        return self.start(talking(command, host, port, options), ready="ready")

    def stop(self) -> None:
        """End every process of the cgroup."""
        for process in self.started:
            process.terminate()
        for process in self.started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(REMOVE_SECONDS)
        with contextlib.suppress(OSError):  # cgroup.kill came with Linux 5.14
            (self.path / "cgroup.kill").write_text("1")
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
        self.started.clear()

    def remove(self) -> None:
        """The kernel needs a moment after the last process."""
        end = time.monotonic() + REMOVE_SECONDS
        while True:
            try:
                return self.path.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)


def talking(command: str, host: str, port: int, options: dict[str, Any]) -> list[str]:
    """size=3, read=True -> --size 3 --read."""
    words = []
    for name, value in options.items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return [sys.executable, "-I", str(TALK), command, host, str(port), *words]


def tell(process: "subprocess.Popen[str]", line: str, answer: str) -> str:
    """Write a line to a waiting client and wait for what it says."""
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return await_line(process.stdout, answer)


def await_line(stream: IO[str] | None, text: str) -> str:
    """The first line that contains the text. Raises EOFError when the process ends before."""
    assert stream is not None
    for line in stream:
        if text in line:
            return line
    raise EOFError(f"the process ended without saying {text!r}")
