"""The Prometheus and the Alertmanager that the bundle brought."""

from typing import Any

from tests.cluster.gitops.api import Api

PROMETHEUS = "monitoring/prometheus-operated:web"
ALERTMANAGER = "monitoring/alertmanager-operated:web"
"""Services that the operator makes, whoever wrote the Prometheus."""


class Prometheus:
    def __init__(self, api: Api) -> None:
        self._api = api

    def _ask(self, path: str, **query: str) -> Any:
        """Raises AssertionError with Prometheus' own complaint."""
        answer = self._api.behind(PROMETHEUS, f"/api/v1/{path}", query)
        assert answer and answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return found

    def value(self, expression: str) -> float | None:
        """Of its only sample."""
        found = self.query(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def groups(self) -> list[dict[str, Any]]:
        return list(self._ask("rules")["groups"])

    def expressions(self, alert: str) -> set[str]:
        """Of each rule with this name that it evaluates, as it writes them."""
        rules = [rule for group in self.groups() for rule in group["rules"]]
        return {rule["query"] for rule in rules if rule["name"] == alert}

    def firing(self) -> set[tuple[str, str]]:
        """Alert and namespace, where it is one."""
        found = self.query('ALERTS{alertstate="firing"}')
        return {(each["metric"]["alertname"], each["metric"].get("namespace", "")) for each in found}

    def targets(self, pool: str) -> list[dict[str, Any]]:
        """Active ones of scrape pools with this in their name."""
        found = self._ask("targets", state="active")["activeTargets"]
        return [each for each in found if pool in each["scrapePool"]]


class Alertmanager:
    def __init__(self, api: Api) -> None:
        self._api = api

    def configuration(self) -> str:
        return str(self._api.behind(ALERTMANAGER, "/api/v2/status")["config"]["original"])

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        found = self._api.behind(ALERTMANAGER, "/api/v2/alerts")
        return [each for each in found if labels.items() <= each["labels"].items()]
