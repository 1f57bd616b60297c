"""From an empty cluster to green through one Kustomization; then Prometheus tells what it has."""

import json
from typing import Any

import pytest
import yaml
from tests.cluster.gitops.api import Api
from tests.cluster.gitops.fleets import RELEASE, STEPS, Fleet
from tests.cluster.gitops.places import Discord, Place
from tests.cluster.gitops.platforms import FLUX
from tests.cluster.gitops.sources import ROOT

from bundle import tools
from bundle.dashboards.check import filled, may_be_empty, queries
from bundle.dashboards.cli import DIRECTORY

DASHBOARDS = sorted((ROOT / DIRECTORY).glob("*.json"))


def test_one_kustomization_makes_everything_green(fleet: Fleet) -> None:
    fleet.until(lambda: not fleet.unready(), "everything is ready")
    assert fleet.applied(*STEPS)
    status = fleet.daemon_set()["status"]
    nodes = status["desiredNumberScheduled"]
    assert nodes >= 1 and (status["numberReady"], status["updatedNumberScheduled"]) == (nodes, nodes)
    release = fleet.api.get("HelmRelease", *RELEASE)
    assert [each["status"] for each in release["status"]["history"]] == ["deployed"]


def test_every_agent_is_scraped_and_every_other_target_answers(fleet: Fleet) -> None:
    def agents() -> bool:
        found = fleet.prometheus.targets("/bpfleet-agent/")
        return bool(found) and len(found) == fleet.daemon_set()["status"]["desiredNumberScheduled"]

    fleet.until(fleet.nudged(agents), "each agent is a target")
    fleet.until(lambda: all(each["health"] == "up" for each in fleet.prometheus.targets("")), "every target is up")
    # As the alert FluxControllerDown knows them.
    fleet.until(lambda: fleet.prometheus.value('count(up{job="monitoring/flux"} == 1)') == len(FLUX), "Flux's are, too")
    assert fleet.prometheus.query('{__name__=~"bpfleet_.+",exported_namespace!=""}') == []


def test_series_have_namespace_pod_and_workload_of_who_served(fleet: Fleet, calm: Place, kube: Any) -> None:
    pods = kube.client.CoreV1Api().list_namespaced_pod(calm.namespace, label_selector="app=web").items
    (pod,) = pods
    wanted = {
        "namespace": calm.namespace, "pod": pod.metadata.name, "container": "server", "node": pod.spec.node_name,
        "workload": "web", "workload_kind": "Deployment", "http_response_status_code": "200",
    }  # fmt: skip
    series = ",".join(f'{name}="{value}"' for name, value in wanted.items())
    counted = f"sum(http_server_request_duration_seconds_count{{{series}}})"

    fleet.until(lambda: (fleet.prometheus.value(counted) or 0) > 100, "its requests are counted")
    others = fleet.prometheus.query(
        f'http_server_request_duration_seconds_count{{namespace="{calm.namespace}",workload="web"}}'
    )
    assert {each["metric"]["pod"] for each in others} == {pod.metadata.name}


def test_prometheus_has_loaded_every_rule_group_and_none_has_failed(fleet: Fleet) -> None:
    built = tools.run("kubectl", "kustomize", fleet.tree / "policies/kind")
    wanted = {
        group["name"]: len(group["rules"])
        for document in yaml.safe_load_all(built)
        if document["kind"] == "PrometheusRule"
        for group in document["spec"]["groups"]
    }
    assert len(wanted) > 5

    def loaded() -> bool:
        groups = {each["name"]: len(each["rules"]) for each in fleet.prometheus.groups()}
        return wanted.items() <= groups.items()

    fleet.until(loaded, "every group is loaded")
    rules = [rule for group in fleet.prometheus.groups() for rule in group["rules"] if group["name"] in wanted]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule.get("lastError")] == []


def test_alertmanager_has_the_routes_of_the_tree(fleet: Fleet, discord: Discord) -> None:
    fleet.until(lambda: "platform-page" in fleet.alertmanager.configuration(), "Alertmanager has our routes")
    assert discord.url not in fleet.alertmanager.configuration(), "the webhook's address is a secret"


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_every_query_of_a_dashboard_is_answered(fleet: Fleet, calm: Place, file: Any) -> None:
    values = {
        "__rate_interval": "1m", "__interval": "30s", "__range": "5m", "datasource": "prometheus",
        "namespace": calm.namespace, "node": ".*", "workload": "web",
    }  # fmt: skip
    board = json.loads(file.read_text("utf-8"))

    def empty() -> list[str]:
        return [
            f"{panel['title']}: {expression}"
            for panel, expression in queries(board)
            if not fleet.prometheus.query(filled(expression, values)) and not may_be_empty(panel)
        ]

    if file.stem == "bpfleet-agent":
        fleet.until(lambda: not empty(), f"every panel that is not marked shows something: {empty()}")
    else:
        empty()  # an answer to each, which is an error or an AssertionError otherwise


def test_the_account_may_watch_names_and_nothing_else(api: Api, fleet: Fleet) -> None:
    account = "system:serviceaccount:{}:{}".format(*RELEASE)

    def may(verb: str, group: str, resource: str, subresource: str = "") -> bool:
        asked = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": account, "resourceAttributes": asked},
        }
        answer = api.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    watched = [("", name) for name in ("pods", "services", "nodes", "namespaces")]
    watched.append(("discovery.k8s.io", "endpointslices"))
    for each in watched:
        assert may("list", *each) and may("watch", *each)
        assert not any(may(verb, *each) for verb in ("get", "create", "update", "patch", "delete")), each
    for each in (("", "secrets"), ("", "configmaps"), ("apps", "deployments"), ("", "serviceaccounts")):
        assert not any(may(verb, *each) for verb in ("get", "list", "watch", "create", "patch", "delete")), each
    assert not may("create", "", "pods", "exec") and not may("get", "", "pods", "log")
    assert not may("create", "", "serviceaccounts", "token") and not may("get", "", "nodes", "proxy")
