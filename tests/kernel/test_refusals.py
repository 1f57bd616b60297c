"""What does the agent say when it cannot run, and does it leave what runs alone?"""

import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]


def refused(agent: Agent, *words: str) -> None:
    """It ends with a failure that one line explains, without a traceback."""
    status, said = agent.start().ended()
    assert status not in (0, None), said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_a_second_agent_is_refused_and_the_first_goes_on(agent: Agent, place: Place, pair: Pair) -> None:
    refused(Agent(), "another bpfleet agent")
    client = place("client", pair[0])
    client.talk("udp_burst", "198.51.100.2", 9, count=31, size=64, unconnected=True)
    page = agent.settled(client)
    assert page.value("bpfleet_network_io_packets_total", direction="transmit", transport="udp") == 31


def test_a_port_in_use_is_named(alone: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(Agent(port=port), str(port), "in use")


def test_without_any_capability_it_says_what_is_missing(alone: House) -> None:
    agent = Agent(prefix=["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
    refused(agent, "BPF")


def test_a_missing_cgroup_mount_is_named(alone: House, tmp_path: Path) -> None:
    refused(Agent(environment={"BPFLEET_KERNEL_CGROUP_ROOT": str(tmp_path)}), str(tmp_path), "cgroup")


def test_a_python_that_is_not_there_is_named(alone: House) -> None:
    refused(Agent(environment={"BPFLEET_KERNEL_PYTHON": "/nonexistent/python3"}), "/nonexistent/python3")


def test_a_header_tree_that_is_not_there_is_named(alone: House) -> None:
    refused(Agent(environment={"BPFLEET_KERNEL_HEADERS": "/nonexistent/headers"}), "/nonexistent/headers")
