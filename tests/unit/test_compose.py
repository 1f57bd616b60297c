"""compose.yaml and what it mounts, without Docker: what it says and what docs/container.md says are the same."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def documented() -> list[str]:
    """The words of the command in docs/container.md."""
    found = re.search(r"```sh\n.*?(docker run.*?)```", (ROOT / "docs/container.md").read_text("utf-8"), re.DOTALL)
    assert found
    return shlex.split(found[1].replace("\\\n", " "))


def options(words: list[str], name: str) -> list[str]:
    return [value for option, value in zip(words, words[1:], strict=False) if option == f"--{name}"]


def test_compose_runs_the_agent_as_the_documented_command_does() -> None:
    words, agent = documented(), SERVICES["agent"]
    assert options(words, "cap-drop") == agent["cap_drop"] == ["ALL"]
    assert options(words, "cap-add") == agent["cap_add"] == ["BPF", "PERFMON", "NET_ADMIN"]
    assert options(words, "pid") == [agent["pid"]] == ["host"]
    assert options(words, "memory") == [agent["mem_limit"]]
    assert options(words, "pids-limit") == [str(agent["pids_limit"])]
    assert options(words, "security-opt") == [agent["security_opt"][0].removesuffix(":true")]
    assert "--read-only" in words and agent["read_only"] is True
    given = dict(one.split("=", 1) for one in options(words, "env"))
    for name in ("BPFLEET_KERNEL_CGROUP_ROOT", "BPFLEET_IDENTITY_DOCKER", "BPFLEET_LISTEN"):
        assert given[name] == agent["environment"][name]
    (volume,) = agent["volumes"]
    assert volume["read_only"] is True
    (mount,) = options(words, "mount")
    assert f"target={volume['target']},readonly" in mount
    assert "privileged" not in agent and "network_mode" not in agent


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined_and_only_loopback_reaches_it(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ports"] and all(port.startswith("127.0.0.1:") for port in service["ports"])


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_images_of_others_are_pinned_by_version_and_can_be_replaced(name: str) -> None:
    pinned = rf"\$\{{{name.upper()}_IMAGE:-[a-z]+/{name}:v?[0-9]+\.[0-9]+\.[0-9]+\}}"
    assert re.fullmatch(pinned, SERVICES[name]["image"])


def mounts(name: str) -> dict[str, str]:
    """Path in the container -> path in the repository."""
    found = [each.split(":") for each in SERVICES[name]["volumes"] if isinstance(each, str) and each.startswith("./")]
    assert all(each[2:] == ["ro"] for each in found)
    return {each[1]: each[0].removeprefix("./") for each in found}


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_what_is_mounted_is_in_the_repository(name: str) -> None:
    assert mounts(name)
    for path in mounts(name).values():
        assert (ROOT / path).exists(), path


def test_prometheus_scrapes_the_agents_service_as_often_as_the_agent_is_told() -> None:
    agent = SERVICES["agent"]["environment"]
    written = yaml.safe_load((ROOT / mounts("prometheus")["/etc/prometheus/prometheus.yml"]).read_text("utf-8"))
    (job,) = written["scrape_configs"]
    (target,) = job["static_configs"]
    assert target["targets"] == [f"agent:{agent['BPFLEET_LISTEN'].rpartition(':')[2]}"]
    assert job["honor_labels"] is True
    assert written["global"]["scrape_interval"] == f"{agent['BPFLEET_SCRAPE_INTERVAL_SECONDS']}s"


def test_grafana_gets_the_prometheus_of_compose_and_the_dashboards_directory() -> None:
    """As Grafana's provisioning has it: apiVersion 1, lists of datasources and of providers."""
    mounted, prefix = mounts("grafana"), "/etc/grafana/provisioning"
    (source,) = (ROOT / mounted[f"{prefix}/datasources"]).glob("*.yaml")
    written = yaml.safe_load(source.read_text("utf-8"))
    (datasource,) = written["datasources"]
    assert written["apiVersion"] == 1
    assert {"name", "type", "access", "url"} <= set(datasource)
    assert (datasource["type"], datasource["uid"]) == ("prometheus", "prometheus")
    assert datasource["url"] == "http://prometheus:9090"
    (source,) = (ROOT / mounted[f"{prefix}/dashboards"]).glob("*.yaml")
    written = yaml.safe_load(source.read_text("utf-8"))
    (provider,) = written["providers"]
    assert (written["apiVersion"], provider["type"]) == (1, "file")
    assert mounted[provider["options"]["path"]] == "infrastructure/grafana/dashboards"
