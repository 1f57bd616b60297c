"""What is pushed comes, what is edited by hand goes, what is suspended waits, what is deleted is pruned."""

import time
from typing import Any

import pytest
import yaml
from tests.cluster.gitops.fleets import RELEASE, STEPS, Fleet
from tests.cluster.gitops.rules import RULE, RULES, applied_expression, expression, live

pytestmark = pytest.mark.usefixtures("burning")

LIVE_SECONDS = 60.0


def test_a_pushed_rule_is_live_within_a_minute(edited: Fleet) -> None:
    fleet = edited
    fleet.edit(RULES, expression("and vector(7) > 3"))
    began = time.monotonic()
    fleet.push()

    fleet.until(lambda: "vector(7)" in applied_expression(fleet), "the rule is applied", LIVE_SECONDS)
    fleet.took["a pushed rule applied"] = time.monotonic() - began
    # The operator writes it into a ConfigMap that is mounted into Prometheus' pod, which the kubelet looks at once a
    # minute; a change of the pod makes it look at once.
    left = began + LIVE_SECONDS - time.monotonic()
    fleet.until(fleet.nudged(lambda: live(fleet, "vector(7)")), "Prometheus evaluates it", left)
    fleet.took["a pushed rule live"] = time.monotonic() - began


def test_what_is_edited_by_hand_is_undone(fleet: Fleet) -> None:
    before = applied_expression(fleet)
    spec = fleet.api.get("PrometheusRule", *RULE)["spec"]
    spec["groups"][0]["rules"][0]["expr"] = "vector(1)"
    fleet.api.patch("PrometheusRule", *RULE, {"spec": spec})
    fleet.api.delete("Service", *RELEASE)

    assert applied_expression(fleet) == "vector(1)"
    fleet.reconcile("Kustomization", "flux-system", "policies")
    fleet.reconcile("HelmRelease", *RELEASE)
    fleet.until(lambda: applied_expression(fleet) == before, "Flux has put the rule right")
    fleet.until(lambda: fleet.api.get("Service", *RELEASE), "Flux has made the Service again")


def test_a_suspended_step_takes_nothing_until_it_is_resumed(edited: Fleet) -> None:
    fleet, before = edited, applied_expression(edited)
    fleet.api.patch("Kustomization", "flux-system", "policies", {"spec": {"suspend": True}})
    try:
        fleet.edit(RULES, expression("and vector(8) > 3"))
        fleet.push()
        fleet.until(lambda: fleet.applied("configs", "apps"), "the other steps have made it")
        assert applied_expression(fleet) == before
    finally:
        fleet.api.patch("Kustomization", "flux-system", "policies", {"spec": {"suspend": False}})
    fleet.until(lambda: "vector(8)" in applied_expression(fleet), "the change comes")


def test_what_is_deleted_from_git_is_pruned_and_comes_back_with_it(edited: Fleet) -> None:
    fleet, name = edited, ("monitoring", "bpfleet-anomaly")
    assert fleet.api.get("PrometheusRule", *name)

    def less(value: dict[str, Any]) -> None:
        value["resources"].remove("anomaly.yaml")

    fleet.edit("policies/network/kustomization.yaml", less)
    (fleet.tree / "policies/network/anomaly.yaml").unlink()
    fleet.push()
    fleet.until(lambda: not fleet.api.get("PrometheusRule", *name), "the rule is gone")

    fleet.restore()
    assert fleet.api.get("PrometheusRule", *name) and fleet.applied(*STEPS)
    assert yaml.safe_load((fleet.tree / "policies/network/anomaly.yaml").read_text())["metadata"]["name"] == name[1]
