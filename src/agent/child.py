"""An agent of one's own: `python -m agent` as a child that never outlives its parent."""

import ctypes
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from bpfleet.errors import HostError

DEFAULT_PORT = 9436
START_SECONDS = 60.0
"""Compiling and loading takes 1 to 3 s; a starved machine gets twenty times that."""

STOP_SECONDS = 10.0
"""The agent closes links and a server, which takes milliseconds; after this it is killed, and links die with it."""

LOOK_SECONDS = 0.2
LOG_LINES = 200
TOLD_LINES = 20
PR_SET_PDEATHSIG = 1


def port() -> int:
    """The documented port when it is free, else any free one. Loopback only."""
    for wanted in (DEFAULT_PORT, 0):
        try:
            with socket.create_server(("127.0.0.1", wanted)) as probe:
                found: int = probe.getsockname()[1]
                return found
        except OSError:
            continue
    raise HostError("no free TCP port on 127.0.0.1")


class Child:
    """Use as a context: leaving it ends the agent. command: without the agent's flags."""

    def __init__(self, flags: Sequence[str], command: Sequence[str] = (sys.executable, "-P", "-m", "agent")) -> None:
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        # A process group of its own: Ctrl-C reaches the parent only, which ends the child in order.
        self._process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            preexec_fn=_die_with_parent,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.pid = self._process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        if self._process.stdout:
            self._process.stdout.close()

    def check(self) -> None:
        """Raises HostError with the agent's last words if it is gone."""
        if self._process.poll() is None:
            return
        self._reader.join(STOP_SECONDS)
        code = self._process.returncode
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        raise HostError("\n".join([f"the agent ended ({how}):", *self._last_words()]))

    def wait_ready(
        self, ready: Callable[[], bool], clock: Callable[[], float], wait: Callable[[float], object]
    ) -> None:
        """Returns when ready() does; raises HostError when the agent ends before or takes START_SECONDS."""
        deadline = clock() + START_SECONDS
        while not ready():
            self.check()
            if clock() > deadline:
                told = [f"the agent is not ready after {START_SECONDS:g} s:", *self._last_words()]
                raise HostError("\n".join(told))
            wait(LOOK_SECONDS)

    def _last_words(self) -> list[str]:
        return [f"  {line}" for line in list(self._log)[-TOLD_LINES:]] or ["  (it said nothing)"]

    def _read_log(self) -> None:
        for line in self._process.stdout or ():
            self._log.append("".join(c if c.isprintable() else ascii(c)[1:-1] for c in line.rstrip("\n")))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
