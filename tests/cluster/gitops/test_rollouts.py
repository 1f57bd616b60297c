"""A roll-out, its roll-back, and a version that does not start: what is counted stays counted."""

from typing import Any

from tests.cluster.gitops.api import condition
from tests.cluster.gitops.fleets import OVERLAY, RELEASE, Fleet
from tests.cluster.gitops.places import Place

BEFORE, BETWEEN, AFTER = 89, 97, 83
PATIENCE = "60s"


def counted(fleet: Fleet, place: Place) -> float:
    """Over every agent that has counted: each begins at 0, and Prometheus keeps the last of those that are gone."""
    series = f'http_server_request_duration_seconds_count{{namespace="{place.namespace}",workload="till"}}'
    return fleet.prometheus.value(f"sum(max_over_time({series}[30m]))") or 0.0


def has_counted(fleet: Fleet, place: Place, requests: int) -> None:
    fleet.until(lambda: counted(fleet, place) >= requests, f"Prometheus has {requests} requests")
    assert counted(fleet, place) == requests


def scraped(fleet: Fleet) -> bool:
    """Whether Prometheus asks the agents that run now."""
    running = {each["status"].get("podIP") for each in fleet.agents()}
    targets = fleet.prometheus.targets("/bpfleet-agent/")
    return {each["scrapeUrl"].split("/")[2].rpartition(":")[0] for each in targets if each["health"] == "up"} == running


def test_a_roll_out_and_its_roll_back_lose_no_request(settled: Fleet, calm: Place) -> None:
    fleet = settled
    calm.ask(BEFORE)
    has_counted(fleet, calm, BEFORE)
    first = {each["metadata"]["uid"] for each in fleet.agents()}

    fleet.settings(drain_interval_seconds=2)
    fleet.push()
    fleet.until(lambda: fleet.agent_is(drain_interval_seconds=2) and scraped(fleet), "the change is out")
    calm.ask(BETWEEN)
    has_counted(fleet, calm, BEFORE + BETWEEN)
    second = {each["metadata"]["uid"] for each in fleet.agents()}

    fleet.restore()
    fleet.until(lambda: fleet.agent_is(drain_interval_seconds=1) and scraped(fleet), "the change is taken back")
    calm.ask(AFTER)
    has_counted(fleet, calm, BEFORE + BETWEEN + AFTER)
    assert not first & second and not second & {each["metadata"]["uid"] for each in fleet.agents()}


def test_a_version_that_does_not_start_is_taken_back(settled: Fleet) -> None:
    fleet = settled
    good = condition(fleet.api.get("HelmRelease", *RELEASE))
    assert good[0] == "True"

    def bad(value: dict[str, Any]) -> None:
        value["spec"]["timeout"] = PATIENCE
        value["spec"]["values"]["image"]["tag"] = "absent"

    fleet.edit(f"{OVERLAY}/release.yaml", bad)
    fleet.push()

    def taken_back() -> bool:
        release = fleet.api.get("HelmRelease", *RELEASE)
        conditions = {each["type"]: each for each in release["status"]["conditions"]}
        return "Remediated" in conditions and conditions["Remediated"]["status"] == "True"

    fleet.until(taken_back, "the release is rolled back", 300)
    fleet.until(lambda: fleet.agent_is(drain_interval_seconds=1), "the agent of before runs", 300)
    assert condition(fleet.api.get("HelmRelease", *RELEASE))[0] != "True"
