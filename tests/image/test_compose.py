"""Does `make run-docker-compose` show this host's traffic in Prometheus, and leave nothing behind?

Grafana's image cannot be had without a registry: that its service is well-formed is checked here and in
tests/unit/test_compose.py, that it starts is not.
"""

import io
import json
import signal
import subprocess
import tarfile
import threading
import time
import urllib.parse
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from tests.support.agents import REPOSITORY
from tests.support.cgroups import Cgroup
from tests.support.dockers import Container, Docker
from tests.support.images import FAST, IMAGE, House
from tests.support.marks import needs

PROMETHEUS = "bpfleet-test-prometheus:local"
NOBODY = 65534
DATAGRAMS, DATAGRAM_BYTES = 211, 100
UP_SECONDS = 120.0
SCRAPED_SECONDS = 60.0
DOWN_SECONDS = 60.0


@pytest.fixture(scope="session")
def prometheus(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of Debian's own Prometheus that takes the same arguments as the official one."""
    program = Path(which("prometheus") or "").resolve()
    listed = subprocess.run(["ldd", str(program)], text=True, capture_output=True).stdout.split()
    archive = tmp_path_factory.mktemp("prometheus") / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(program, "usr/bin/prometheus")
        for library in filter(lambda word: word.startswith("/"), listed):
            tar.add(Path(library).resolve(), library.lstrip("/"))
        for name in ("prometheus", "tmp"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, NOBODY, NOBODY
            tar.addfile(folder, io.BytesIO())
    changes = [f"--change=USER {NOBODY}", '--change=ENTRYPOINT ["/usr/bin/prometheus"]', "--change=VOLUME /prometheus"]
    docker.docker("import", *changes, str(archive), PROMETHEUS)
    return PROMETHEUS


class Composed:
    """scripts/compose, in the daemon's network namespace as on a host of its own."""

    def __init__(self, docker: Docker, *services: str, **variables: str) -> None:
        self.docker = docker
        self.process = subprocess.Popen(
            docker.network.command([str(REPOSITORY / "scripts/compose"), *services]),
            env=docker.environment | variables,
            pass_fds=(docker.network.fd,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)

    def says(self, text: str, within_seconds: float) -> str:
        end = time.monotonic() + within_seconds
        while not (found := [line for line in self.lines if text in line]):
            assert time.monotonic() < end and self.process.poll() is None, "".join(self.lines)
            time.sleep(0.1)
        return found[0]

    def query(self, expression: str) -> list[dict[str, Any]]:
        status, body = self.docker.get(9090, "/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"] if status == 200 else []
        return found

    def until(self, expression: str, value: float) -> dict[str, str]:
        """Labels of the one series that has this value."""
        end, found = time.monotonic() + SCRAPED_SECONDS, []
        while time.monotonic() < end:
            found = self.query(expression)
            if len(found) == 1 and float(found[0]["value"][1]) == value:
                return dict(found[0]["metric"])
            time.sleep(0.5)
        raise AssertionError(f"{expression} is {found}, not {value}\n{''.join(self.lines)}")

    def end(self) -> int:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(DOWN_SECONDS)
        finally:
            self.process.kill()
            self.reader.join()
            if self.process.stdout:
                self.process.stdout.close()


def everything(docker: Docker) -> dict[str, list[str]]:
    return {
        what: docker.docker(what, "ls", "--quiet", *(["--all"] if what == "container" else [])).stdout.split()
        for what in ("container", "network", "volume")
    }


@needs("prometheus", "ldd")
def test_prometheus_has_this_hosts_traffic_and_afterwards_nothing_is_left(
    house: House, docker: Docker, prometheus: str, client: Cgroup
) -> None:
    house.empty()
    before = everything(docker)
    composed = Composed(docker, "agent", "prometheus", AGENT_IMAGE=IMAGE, PROMETHEUS_IMAGE=prometheus)
    status = -1
    try:
        composed.says("Ctrl-C ends it", UP_SECONDS)
        assert composed.says("metrics at", 1).split()[-1] == "http://127.0.0.1:9436/metrics"
        assert composed.says("Prometheus at", 1).split()[-1] == "http://127.0.0.1:9090"
        composed.until('up{job="bpfleet"}', 1)
        client.talk("udp_burst", "127.0.0.1", 9, count=DATAGRAMS, size=DATAGRAM_BYTES, unconnected=True)
        selector = f'workload="{client.workload}",direction="transmit",transport="udp"'
        labels = composed.until(f"bpfleet_network_io_packets_total{{{selector}}}", DATAGRAMS)
        assert (labels["namespace"], labels["node"]) == ("_host", "localhost")
        assert "pod" not in labels
        assert composed.query("sum(bpfleet_collector_up)")[0]["value"][1] == "5"
        agent = Container(docker, "bpfleet-agent-1", 9436)
        process = Path(f"/proc/{agent.state()['Pid']}/status").read_text()
        assert "CapEff:\t000000c000001000" in process and "NoNewPrivs:\t1" in process
    finally:
        status = composed.end()
    assert status == 130
    assert everything(docker) == before


def test_compose_takes_all_three_services_as_they_are_written(docker: Docker) -> None:
    said = docker.docker("compose", "--file", str(REPOSITORY / "compose.yaml"), "config", "--format", "json")
    services = json.loads(said.stdout)["services"]
    assert set(services) == {"agent", "prometheus", "grafana"}
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert {port["host_ip"] for port in service["ports"]} == {"127.0.0.1"}


def test_the_names_of_containers_are_told_where_dockers_files_are_given(house: House) -> None:
    """docs/container.md's two further options."""
    container = house.start(
        less=" --env BPFLEET_IDENTITY_DOCKER=off",
        more=f"{FAST} --env BPFLEET_IDENTITY_DOCKER=auto "
        f"--mount type=bind,source={house.docker.data}/containers,target=/var/lib/docker/containers,readonly",
    )
    end = time.monotonic() + SCRAPED_SECONDS
    while not container.page().value("bpfleet_container_info", container=container.name, image=IMAGE):
        assert time.monotonic() < end, container.log()
        time.sleep(0.2)
