"""A version that does not start, a roll-out beside a broken rule, its roll-back: what is counted stays counted."""

from typing import Any

from tests.cluster.gitops.api import condition
from tests.cluster.gitops.fleets import OVERLAY, RELEASE, Fleet
from tests.cluster.gitops.places import Place
from tests.cluster.gitops.rules import RULE, RULES, applied_expression, expression, live

BEFORE, BETWEEN, LATER, AFTER = 89, 97, 79, 83
PATIENCE = "10s"
"""Of the version that does not start; what is taken back has the tree's time."""

BROKEN = "and ("
"""`and and` would be no mistake: a metric may be called so."""


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


def test_a_version_that_does_not_start_is_taken_back(edited: Fleet, calm: Place) -> None:
    fleet = edited
    good = condition(fleet.api.get("HelmRelease", *RELEASE))
    assert good[0] == "True"
    calm.ask(BEFORE)
    has_counted(fleet, calm, BEFORE)

    def bad(value: dict[str, Any]) -> None:
        # Without another try: until somebody pushes, the agent of before stays.
        value["spec"]["upgrade"] = {"timeout": PATIENCE, "remediation": {"retries": 0}}
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


def test_a_broken_rule_holds_up_no_roll_out_which_loses_no_request(edited: Fleet, calm: Place) -> None:
    fleet, before = edited, applied_expression(edited)
    fleet.until(lambda: scraped(fleet), "the agents are scraped")
    calm.ask(BETWEEN)
    has_counted(fleet, calm, BEFORE + BETWEEN)
    first = {each["metadata"]["uid"] for each in fleet.agents()}

    fleet.edit(RULES, expression(BROKEN))
    fleet.settings(drain_interval_seconds=2)
    fleet.push()

    told: list[str] = []

    def refused() -> bool:
        status, said = condition(fleet.step("policies"))
        told[:] = [said]
        return status == "False" and "denied the request" in said

    fleet.until(refused, "the step is not ready, and says why")
    assert 'admission webhook "prometheusrule' in told[0] and RULE[1] in told[0]
    fleet.until(lambda: fleet.agent_is(drain_interval_seconds=2) and fleet.applied("apps"), "the agent's change is out")
    fleet.until(refused, "the rule is still refused")
    assert applied_expression(fleet) == before
    assert live(fleet, "up{") and not live(fleet, BROKEN)

    fleet.until(lambda: scraped(fleet), "the new agents are scraped")
    calm.ask(LATER)
    has_counted(fleet, calm, BEFORE + BETWEEN + LATER)
    second = {each["metadata"]["uid"] for each in fleet.agents()}

    fleet.restore()
    fleet.until(lambda: fleet.agent_is(drain_interval_seconds=1) and scraped(fleet), "the change is taken back")
    calm.ask(AFTER)
    has_counted(fleet, calm, BEFORE + BETWEEN + LATER + AFTER)
    assert not first & second and not second & {each["metadata"]["uid"] for each in fleet.agents()}
