import os
import select
import socket
import subprocess
import sys
import time

import pytest

from agent.child import DEFAULT_PORT, START_SECONDS, Child, port
from bpfleet.errors import HostError

STAYS = "import sys, time; print('here', flush=True); time.sleep(600)"


def child(code: str) -> Child:
    return Child(["--listen=127.0.0.1:0"], [sys.executable, "-c", code])


def nothing(_: float) -> None:
    """A wait that takes no time."""


def test_the_port_is_the_documented_one_or_another_that_is_free() -> None:
    found = port()
    with socket.create_server(("127.0.0.1", found)):
        other = port()
    assert found != other
    assert DEFAULT_PORT in (found, other) or found > 1024


def test_leaving_ends_the_agent() -> None:
    with child(STAYS) as running:
        pid = running.pid
        running.check()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_agent_that_ends_is_told_with_its_last_words() -> None:
    with child("import sys; print('bpfleet: needs root: \\x1b[2J'); sys.exit(1)") as running:
        with pytest.raises(HostError) as caught:
            running.wait_ready(lambda: False, time.monotonic, time.sleep)
    assert str(caught.value) == "the agent ended (exit code 1):\n  bpfleet: needs root: \\x1b[2J"


def test_an_agent_that_is_killed_is_told_by_the_signals_name() -> None:
    with child("import os; os.kill(os.getpid(), 9)") as running:
        with pytest.raises(HostError, match=r"the agent ended \(SIGKILL\):\n  \(it said nothing\)"):
            running.wait_ready(lambda: False, time.monotonic, time.sleep)


def test_an_agent_that_never_gets_ready_is_given_up() -> None:
    times = iter([0.0, 1.0, START_SECONDS + 1])
    with child(STAYS) as running:
        with pytest.raises(HostError, match="the agent is not ready after 60 s:"):
            running.wait_ready(lambda: False, lambda: next(times), nothing)


def test_ready_is_ready() -> None:
    with child(STAYS) as running:
        running.wait_ready(lambda: True, time.monotonic, nothing)


def test_an_agent_whose_parent_is_killed_ends() -> None:
    """The parent prints the child's pid, then dies by SIGKILL; the pipe that the child holds closes with it."""
    code = (
        "import os, sys; from agent.child import Child\n"
        "grandchild = Child([], [sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(grandchild.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    parent = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=30)
    pid = int(parent.stdout)
    descriptor = None
    try:
        descriptor = os.pidfd_open(pid)
        assert select.select([descriptor], [], [], 10)[0], "still there 10 s after its parent"
    except ProcessLookupError:
        pass
    finally:
        if descriptor is not None:
            os.close(descriptor)
