"""A rule of the tree that tests edit: as it is written, applied and evaluated."""

from collections.abc import Callable
from typing import Any

from tests.cluster.gitops.fleets import Fleet

RULES = "policies/platform/agent.yaml"
RULE = ("monitoring", "bpfleet-agent")
ALERT = "BpfleetAgentDown"


def expression(more: str) -> Callable[[dict[str, Any]], None]:
    """A change of the first alert's."""

    def change(value: dict[str, Any]) -> None:
        rule = value["spec"]["groups"][0]["rules"][0]
        assert rule["alert"] == ALERT
        rule["expr"] = f"{rule['expr'].strip()} {more}"

    return change


def applied_expression(fleet: Fleet) -> str:
    rule = fleet.api.get("PrometheusRule", *RULE)["spec"]["groups"][0]["rules"][0]
    return str(rule["expr"])


def live(fleet: Fleet, text: str) -> bool:
    return any(text in each for each in fleet.prometheus.expressions(ALERT))
