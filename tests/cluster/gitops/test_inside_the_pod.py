"""The agent's pod from within: what it may, what it sees, as whom."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import testinfra
from tests.cluster.gitops.fleets import RELEASE, Fleet
from tests.cluster.gitops.places import Place

from bundle import tools

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
PORT = 9436


@pytest.fixture(scope="module")
def inside(fleet: Fleet) -> Iterator[Any]:
    (pod, *_) = fleet.agents()
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{tools.directory()}{os.pathsep}{path}"  # where testinfra looks for kubectl
    try:
        yield testinfra.get_host(f"kubectl://{pod['metadata']['name']}?namespace={RELEASE[0]}&container=agent")
    finally:
        os.environ["PATH"] = path


def test_it_has_three_capabilities_and_gets_no_more(inside: Any) -> None:
    lines = inside.file("/proc/self/status").content_string.splitlines()
    rows = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    mask = f"{sum(1 << bit for bit in CAPABILITIES.values()):016x}"
    assert [rows[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [mask] * 3
    assert (rows["NoNewPrivs"], rows["Seccomp"]) == ("1", "2")
    assert rows["Uid"].split() == ["0"] * 4


def test_it_can_write_nowhere_but_in_its_scratch_memory(inside: Any) -> None:
    mounts = [line.split() for line in inside.file("/proc/self/mountinfo").content_string.splitlines()]
    options = {row[4]: row[5].split(",") for row in mounts}
    writable = {place for place, given in options.items() if "rw" in given}
    assert "ro" in options["/"] and "ro" in options["/host/cgroup"] and "ro" in options["/etc/bpfleet/config"]
    runtimes = {place for place in writable if place.startswith(("/proc", "/dev", "/sys")) or place == "/etc/hosts"}
    assert writable - runtimes == {"/tmp"}
    for path in ("/x", "/host/cgroup/x", "/etc/bpfleet/config/x", "/opt/bpfleet/x"):
        said = inside.run(f"mkdir {path}")
        assert said.rc and "Read-only file system" in said.stderr, path


def test_it_listens_on_its_port_alone_in_a_network_of_its_own(inside: Any) -> None:
    rows = inside.file("/proc/net/tcp").content_string.splitlines()[1:]
    listening = {int(row.split()[1].partition(":")[2], 16) for row in rows if row.split()[3] == "0A"}
    assert listening == {PORT}
    said = inside.check_output(
        f"python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:{PORT}/readyz\").status)'"
    )
    assert said.strip() == "200"


def test_a_pod_that_is_not_prometheus_does_not_reach_it(fleet: Fleet, calm: Place) -> None:
    if not fleet.platform.enforces:
        pytest.skip("this cluster's network does not enforce NetworkPolicies")
    (agent, *_) = fleet.agents()
    code = f"import socket; socket.create_connection(('{agent['status']['podIP']}', {PORT}), 3)"
    words = (f"--namespace={calm.namespace}", "exec", "deployment/visitor", "--", "python3", "-c", code)
    said = tools.ask("kubectl", *words)
    assert said.returncode and "timed out" in said.stderr
    assert {each["health"] for each in fleet.prometheus.targets("/bpfleet-agent/")} == {"up"}, "Prometheus does"


def test_it_presents_nothing_but_its_own_token(inside: Any) -> None:
    assert inside.file("/var/run/secrets/kubernetes.io/serviceaccount/token").exists
    variables = {line.partition("=")[0] for line in inside.check_output("env").splitlines()}
    assert {name for name in variables if name.startswith("BPFLEET_")} == {"BPFLEET_CONFIG", "BPFLEET_NODE_NAME"}
