"""Does `bpfleet top` show this host's own traffic, and does Ctrl-C leave nothing behind?

Witness: bpftool's list of programs, maps and links before and after; the processes of the terminal's session.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.kernel_objects import all_objects, left_of
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.terminals import BPFLEET, Terminal

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

FIRST_ROW_SECONDS = 10.0
GONE_SECONDS = 1.0
FLAGS = ("--interval", "0.5", "--identity-kubernetes", "off")


def children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.undisturbed
@needs("bpftool")
@pytest.mark.parametrize("key", ["\x03", "q"])
def test_own_traffic_shows_within_ten_seconds_and_nothing_stays(
    alone: House, place: Place, pair: Pair, key: str
) -> None:
    before = all_objects()
    server, client = place("server", pair[0]), place("client", pair[1])
    server.serve("198.51.100.1", 5001, mode="echo")
    with Terminal("top", *FLAGS) as terminal:
        terminal.wait_for("workloads by traffic", FIRST_ROW_SECONDS)
        assert client.talk("connect", "198.51.100.1", 5001, count=23).startswith("done")
        terminal.wait_for("bpfleet-test-client", FIRST_ROW_SECONDS)
        agents = children_of(terminal.process.pid)
        assert len(agents) == 1
        terminal.press(key)
        assert terminal.end() == 0
    assert not Path(f"/proc/{agents[0]}").exists()
    assert left_of(before, GONE_SECONDS) == set()


def test_a_second_agent_is_refused_with_the_reason(agent: Agent) -> None:
    told = subprocess.run([*BPFLEET, "top", "--once"], capture_output=True, text=True, timeout=RUN_SECONDS)
    assert told.returncode == 1
    assert "another bpfleet agent runs on this node" in told.stderr


def test_an_agent_that_runs_is_asked_and_a_pipe_gets_plain_rows(agent: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[0]), place("client", pair[1])
    server.serve("198.51.100.1", 5001, mode="hold")
    client.begin("hold", "198.51.100.1", 5001, count=7)
    words = [*BPFLEET, "top", "--once", "--url", f"http://127.0.0.1:{agent.port}", "--interval", "2"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=RUN_SECONDS, check=True)
    rows = {line.split()[1]: line.split() for line in told.stdout.splitlines() if line.startswith("_host")}
    assert rows[client.workload][2] == "Cgroup"
    assert {row[7] for row in (rows[client.workload], rows[server.workload])} == {"7"}
