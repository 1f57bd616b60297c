"""Somebody opens a shell in nginx's pod: who asked for watching is told within a minute, and the neighbour is not.

Witnesses: Alertmanager, and the API server, which knows whether the agent was started again.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cluster.conftest import create, made_namespace
from tests.cluster.gitops import places
from tests.cluster.gitops.fleets import RELEASE, Fleet
from tests.cluster.gitops.platforms import Platform, kubectl

TOLD_SECONDS = 60.0
OPT_IN = {"metadata": {"annotations": {"bpfleet.io/security": "on"}}}
SHELL = {"alertname": "SecurityEventCritical", "rule": "shell-entered"}
PROBE = "test-probe"
POLICY = f"""\
version: 1
name: probes
description: A program that nobody has any business with.
scope:
  containers: [nginx]
rules:
  - name: {PROBE}
    event: exec
    severity: warning
    match: {{binary: tac}}
"""


def started(fleet: Fleet) -> set[tuple[str, int]]:
    """The agents' pods, and how often their containers began."""
    return {
        (pod["metadata"]["uid"], each["restartCount"])
        for pod in fleet.agents()
        for each in pod["status"]["containerStatuses"]
    }


def counted(fleet: Fleet, namespace: str) -> dict[str, float]:
    """What Prometheus has, by rule."""
    found = fleet.prometheus.query(f'sum by (rule) (bpfleet_security_events_total{{namespace="{namespace}"}})')
    return {each["metric"]["rule"]: float(each["value"][1]) for each in found if float(each["value"][1])}


def alerts(fleet: Fleet, namespace: str, **labels: str) -> list[dict[str, Any]]:
    return fleet.alertmanager.alerts(namespace=namespace, **labels)


def execute(namespace: str, *command: str) -> None:
    kubectl(f"--namespace={namespace}", "exec", "deployment/web", "--", *command)


@pytest.fixture(scope="module")
def guarded(kube: Any, fleet: Fleet, loaded: Platform) -> Iterator[tuple[str, str]]:
    """One that has asked for watching, and one that has not; with the same nginx."""
    image = loaded.nginx()
    core = kube.client.CoreV1Api()
    with made_namespace(kube) as watched, made_namespace(kube) as other:
        core.patch_namespace(watched, OPT_IN)
        for namespace in (watched, other):
            create(kube, namespace, places.FOLDER / "guarded.yaml", IMAGE=image)
        for namespace in (watched, other):
            places.run(kube, namespace, 1)
        yield watched, other


def test_the_first_shell_in_nginxs_pod_pages_within_a_minute(fleet: Fleet, guarded: tuple[str, str]) -> None:
    watched, other = guarded
    execute(watched, "nginx", "-s", "reload")  # new workers, which are nobody's business
    for namespace in guarded:
        execute(namespace, "sh", "-c", "exit 0")
    began = time.monotonic()
    fleet.until(lambda: alerts(fleet, watched, **SHELL), "Alertmanager has the shell", TOLD_SECONDS)
    fleet.took["a shell is an alert"] = time.monotonic() - began

    (alert,) = alerts(fleet, watched)
    assert (alert["labels"]["workload"], alert["labels"]["severity"]) == ("web", "critical")
    assert alert["annotations"]["runbook_url"].endswith("/security.md#securityeventcritical")
    assert counted(fleet, watched) == {"shell-entered": 1}, "the image's own scripts and nginx's workers are silent"
    assert counted(fleet, other) == {} and alerts(fleet, other) == []


def test_a_policy_that_is_pushed_is_in_force_without_a_restart(settled: Fleet, guarded: tuple[str, str]) -> None:
    fleet, (watched, other) = settled, guarded
    before = started(fleet)

    def more(value: dict[str, Any]) -> None:
        value["configMapGenerator"][0]["files"].append("probes.yaml")

    execute(watched, "tac", "/etc/hostname")
    (fleet.tree / "policies/security/probes.yaml").write_text(POLICY, "utf-8")
    fleet.edit("policies/security/kustomization.yaml", more)
    fleet.push()

    def noticed() -> bool:
        for namespace in guarded:
            execute(namespace, "tac", "/etc/hostname")
        return bool(alerts(fleet, watched, rule=PROBE, alertname="SecurityEventWarning"))

    fleet.until(fleet.nudged(noticed, *RELEASE), "the new rule has fired")
    assert started(fleet) == before
    assert counted(fleet, other) == {}


def test_an_alert_of_what_happened_once_resolves(fleet: Fleet, guarded: tuple[str, str]) -> None:
    """That of the first test: the second one has passed its time."""
    fleet.until(lambda: not alerts(fleet, guarded[0], **SHELL), "it is over", 3 * TOLD_SECONDS)
