"""Does the agent count this host's traffic from inside its container, with three capabilities and nothing else?

Witness: what the client sent and the counters of its namespace.
"""

import time

import pytest
from tests.image.conftest import Start
from tests.support.cgroups import Cgroup, await_line
from tests.support.dockers import Container
from tests.support.images import FAST
from tests.support.pages import Page

DATAGRAMS, DATAGRAM_BYTES = 211, 100
HEADERS_BYTES = 20 + 8
"""Of IPv4 and UDP."""

CONNECTIONS = 23
END_SECONDS = 20.0
LOOK_SECONDS = 0.1
CGROUP_SCAN_SECONDS = 1.5
"""Without the tracepoint that tells of new cgroups they are looked for, at most once a second."""


def states(page: Page) -> dict[str, str]:
    """By collector: empty if it counts, else the reason why not."""
    up = {labels["collector"] for labels, value in page.where("bpfleet_collector_up") if value == 1}
    reasons = {labels["collector"]: labels["reason"] for labels, _ in page.where("bpfleet_collector_info")}
    return {name: "" if name in up else reason or "no reason given" for name, reason in reasons.items()}


def test_datagrams_and_connections_of_this_host_are_counted_exactly(running: Container, client: Cgroup) -> None:
    assert client.namespace
    client.serve("127.0.0.1", 5001)
    sink = client.start(["python3", "-c", SINK], ready="ready")
    before = client.namespace.counters()
    client.talk("udp_burst", "127.0.0.1", 9000, count=DATAGRAMS, size=DATAGRAM_BYTES, unconnected=True)
    client.talk("udp_burst", "127.0.0.1", 9000, count=1, size=1, unconnected=True)
    assert await_line(sink.stdout, "received") == f"received {DATAGRAMS}\n"
    client.talk("connect", "127.0.0.1", 5001, count=CONNECTIONS, size=23, shutdown=True, read=True)
    page, after = running.settled(client), client.namespace.counters()

    for direction in ("transmit", "receive"):
        udp = {"direction": direction, "transport": "udp"}
        assert page.value("bpfleet_network_io_packets_total", **udp) == DATAGRAMS + 1
        assert page.value("bpfleet_network_io_bytes_total", **udp) == (
            DATAGRAMS * (DATAGRAM_BYTES + HEADERS_BYTES) + 1 + HEADERS_BYTES
        )
    assert after["UdpOutDatagrams"] - before["UdpOutDatagrams"] == DATAGRAMS + 1
    assert page.value("bpfleet_tcp_connections_opened_total") == CONNECTIONS
    assert page.value("bpfleet_tcp_connections_accepted_total") == CONNECTIONS
    assert after["TcpPassiveOpens"] - before["TcpPassiveOpens"] == CONNECTIONS


SINK = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 9000))
print("ready", flush=True)
n = 0
while len(s.recv(2000)) != 1:
    n += 1
print("received", n, flush=True)
"""


def test_nothing_is_lost_and_every_default_collector_is_on(running: Container) -> None:
    page = running.page()
    assert set(states(page).values()) == {""}
    assert sum(value for _, value in page.where("bpfleet_lost_total")) == 0


def test_doctor_says_the_same_inside_the_container(running: Container) -> None:
    said = running.run("bpfleet", "doctor")
    lines = dict(line.split("  ", 1) for line in said.stdout.splitlines() if not line.startswith(" "))
    for name in states(running.page()):
        assert lines[name].strip().startswith("on: "), said.stdout
    assert lines["cgroup v2"].strip() == "/host/cgroup"


def test_sockets_that_were_open_before_it_are_known(start: Start, client: Cgroup) -> None:
    """What `--pid host` is for."""
    client.serve("127.0.0.1", 5001)
    client.begin("hold", "127.0.0.1", 5001, count=CONNECTIONS)
    container = start()
    container.drained()
    held = container.page().value("bpfleet_tcp_connections_active", workload=client.workload)
    assert held == 2 * CONNECTIONS


def test_without_the_hosts_processes_they_are_not(start: Start, client: Cgroup) -> None:
    client.serve("127.0.0.1", 5001)
    client.begin("hold", "127.0.0.1", 5001, count=CONNECTIONS)
    container = start(less="--pid host")
    container.drained()
    assert container.page().value("bpfleet_tcp_connections_active", workload=client.workload) == 0


@pytest.mark.parametrize(
    ("less", "said"),
    [
        ("--tmpfs /tmp:size=16m,noexec", "the header tree cannot be written"),
        ('--mount type=bind,source="$CGROUP_ROOT",target=/host/cgroup,readonly', "is not a cgroup v2 hierarchy"),
    ],
)
def test_without_these_it_does_not_start_and_says_why(start: Start, less: str, said: str) -> None:
    container = start(less=less, ready=0)
    end = time.monotonic() + END_SECONDS
    while container.runs() and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    assert container.state()["ExitCode"] == 1
    assert said in container.log()
    assert "Traceback" not in container.log()


def test_it_needs_no_shell(start: Start) -> None:
    gone = "".join(f" --mount type=bind,source=/dev/null,target={one},readonly" for one in SHELLS)
    container = start(more=FAST + gone)
    for shell in SHELLS:
        assert container.run(shell, "-c", "true", check=False).returncode != 0
    assert set(states(container.page()).values()) == {""}
    assert container.run("bpfleet", "ready").stdout == "ready\n"


SHELLS = ("/usr/bin/dash", "/usr/bin/bash")


def test_without_perfmon_bytes_and_packets_are_still_counted(start: Start, client: Cgroup) -> None:
    container = start(less=" --cap-add PERFMON")
    found = states(container.page())
    assert found.pop("traffic") == ""
    assert set(found) == {"cgroups", "tcp", "connections"}
    for reason in found.values():
        assert "without the capability PERFMON" in reason
    client.talk("udp_burst", "127.0.0.1", 9, count=1, size=DATAGRAM_BYTES, unconnected=True)
    time.sleep(CGROUP_SCAN_SECONDS)
    client.talk("udp_burst", "127.0.0.1", 9, count=DATAGRAMS, size=DATAGRAM_BYTES, unconnected=True)
    sent = container.settled(client)
    assert sent.value("bpfleet_network_io_packets_total", direction="transmit", transport="udp") == DATAGRAMS + 1


def test_without_net_admin_it_answers_and_is_not_ready(start: Start) -> None:
    container = start(less=" --cap-add NET_ADMIN", ready=503)
    deadline = time.monotonic() + END_SECONDS
    while not (found := states(container.page())) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    assert {name for name, reason in found.items() if "NET_ADMIN" in reason} >= {"traffic", "tcp", "connections"}
    refused = container.run("bpfleet", "ready", check=False)
    assert refused.returncode == 1
    assert "not ready" in refused.stderr


@pytest.mark.parametrize("less", [" --cap-add BPF", " --cap-add BPF --cap-add PERFMON --cap-add NET_ADMIN"])
def test_without_bpf_it_ends_and_says_so(start: Start, less: str) -> None:
    container = start(less=less, ready=0)
    deadline = time.monotonic() + END_SECONDS
    while container.runs() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
    assert container.state()["ExitCode"] == 1
    assert "BPF" in container.log()
    assert "Traceback" not in container.log()
