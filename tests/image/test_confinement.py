"""Does the agent in its container have what is documented, and nothing else?

Witness: the kernel's own files about the process, seen from outside.
"""

import json
import time
from pathlib import Path

import pytest
from tests.image.conftest import Start
from tests.support.dockers import Container, Docker
from tests.support.images import FAST, IMAGE

from bpfleet import __version__

CAPABILITIES = {"NET_ADMIN": 12, "PERFMON": 38, "BPF": 39}
MASK = f"{sum(1 << bit for bit in CAPABILITIES.values()):016x}"

READY_SECONDS = 60.0
"""Beside other tests; how long it takes by itself is a figure of `make bench`."""

STOP_SECONDS = 10.0
HEALTH_SECONDS = 60.0
MEMORY_LIMIT, MEMORY_MARGIN = 512 << 20, 64 << 20
"""Of the documented command; the kernel also charges the files that were read, and takes those back under pressure."""

ABSENT = ("pip", "pip3", "uv", "hatchling", "gcc", "cc", "c++", "make", "ld", "clang", "git", "curl")
MODULES = ("pip", "hatchling", "setuptools", "uv", "rich", "pytest")


def status(container: Container) -> dict[str, str]:
    text = Path(f"/proc/{container.state()['Pid']}/status").read_text()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_it_has_exactly_the_three_capabilities_and_can_gain_none(running: Container) -> None:
    found = status(running)
    assert {name: found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "CapInh": "0" * 16,
        "CapPrm": MASK,
        "CapEff": MASK,
        "CapBnd": MASK,
        "CapAmb": "0" * 16,
    }
    assert found["Uid"].split() == ["0"] * 4
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize("path", ["/x", "/opt/bpfleet/x", "/usr/bin/x", "/host/cgroup/x", "/sys/fs/x"])
def test_its_files_and_the_hosts_cannot_be_written(running: Container, path: str) -> None:
    refused = running.run("python3", "-c", f"import os; os.mkdir({path!r})", check=False)
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr or "Permission denied" in refused.stderr


def test_tmp_can_be_written_and_is_small(running: Container) -> None:
    running.run("python3", "-c", "open('/tmp/x', 'w').write('x')")
    refused = running.run("python3", "-c", "open('/tmp/x', 'wb').write(bytes(17 << 20))", check=False)
    assert "No space left on device" in refused.stderr
    running.run("python3", "-c", "import os; os.unlink('/tmp/x')")


def test_no_path_to_the_host_is_writable(running: Container) -> None:
    """Every mount that is not the container's own: cgroups read-only, v1 controllers not at all."""
    mounts = Path(f"/proc/{running.state()['Pid']}/mountinfo").read_text().splitlines()
    host = [line.split() for line in mounts if line.split()[4].startswith("/host")]
    assert [fields[4] for fields in host] == ["/host/cgroup"]
    assert "ro" in host[0][5].split(",")
    assert " - cgroup2 " in " ".join(host[0])


def test_no_build_tool_is_in_the_image(running: Container) -> None:
    code = (
        "import importlib.util, json, shutil; "
        f"print(json.dumps([[x for x in {ABSENT} if shutil.which(x)], "
        f"[x for x in {MODULES} if importlib.util.find_spec(x)]]))"
    )
    for python in ("/opt/bpfleet/bin/python", "/usr/bin/python3"):
        commands, modules = json.loads(running.run(python, "-c", code).stdout)
        assert commands == []
        assert modules == []


def test_what_is_installed_is_a_wheel_and_what_was_pinned(running: Container) -> None:
    code = (
        "import importlib.metadata as m, json, agent; "
        "print(json.dumps([agent.__file__, {d.name: d.version for d in m.distributions()}]))"
    )
    where, found = json.loads(running.run("/opt/bpfleet/bin/python", "-c", code).stdout)
    assert where.startswith("/opt/bpfleet/lib/python3.")
    pins = (Path(__file__).parents[2] / "requirements/agent.txt").read_text().splitlines()
    wanted = dict(line.split(" ")[0].split("==") for line in pins if "==" in line and not line.startswith(" "))
    assert {name.lower().replace("_", "-"): version for name, version in found.items()} == wanted | {
        "bpfleet": __version__
    }


def test_sinks_find_the_systems_authorities(running: Container) -> None:
    """By OpenSSL's directory, and as the one file that is given to gRPC."""
    code = (
        "import os, ssl; from agent.sinks.otlp_grpc import SYSTEM_ROOTS; "
        "print(len(os.listdir(ssl.get_default_verify_paths().openssl_capath)), "
        "open(SYSTEM_ROOTS).read().count('BEGIN CERTIFICATE'))"
    )
    directory, file = running.run("/opt/bpfleet/bin/python", "-c", code).stdout.split()
    assert int(directory) > 50 and int(file) > 50


def test_the_kubernetes_client_works_without_its_asyncio_twin(running: Container) -> None:
    running.run(
        "/opt/bpfleet/bin/python", "-c", "import kubernetes, kubernetes.client, kubernetes.config, kubernetes.watch"
    )


def test_it_says_what_it_is_and_runs_without_a_shell(docker: Docker, image: str) -> None:
    config = json.loads(docker.docker("image", "inspect", IMAGE).stdout)[0]["Config"]
    assert config["Entrypoint"] == ["bpfleet"]
    assert config["Cmd"] == ["agent"]
    assert config["Healthcheck"]["Test"] == ["CMD", "bpfleet", "ready"]
    assert config["User"] == "0"
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "bpfleet agent"
    assert labels["version"] == __version__
    assert labels["base.name"] == "debian:trixie-slim"
    assert {"description", "licenses", "revision"} <= set(labels)


def test_its_health_is_seen(running: Container) -> None:
    end = time.monotonic() + HEALTH_SECONDS
    while (health := running.state()["Health"]["Status"]) == "starting" and time.monotonic() < end:
        time.sleep(0.2)
    assert health == "healthy"


def test_it_starts_in_time_within_its_memory_and_ends_at_once(start: Start) -> None:
    container = start(more=FAST)
    seconds = container.seconds
    peak = container.peak_bytes()
    size = int(container.docker.docker("image", "inspect", "--format", "{{.Size}}", IMAGE).stdout)
    print(f"image {size / 1e6:.0f} MB, /readyz after {seconds:.1f} s, at most {peak >> 20} MiB of memory")
    assert seconds < READY_SECONDS
    assert 0 < peak < MEMORY_LIMIT - MEMORY_MARGIN
    stopped = time.monotonic()
    container.docker.docker("stop", "--time", "30", container.name)
    assert time.monotonic() - stopped < STOP_SECONDS
    assert container.state()["ExitCode"] == 0
    assert container.state()["OOMKilled"] is False
