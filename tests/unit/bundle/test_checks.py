"""Rules of the tree: each with an object that keeps it and one that breaks it."""

from typing import Any

import pytest

from bundle.flux import checks
from bundle.flux.rendering import merged

GOOD_STACK: dict[str, Any] = {
    "prometheus": {
        "prometheusSpec": {f"{each}SelectorNilUsesHelmValues": False for each in checks.SELECTORS} | {"shards": 1}
    },
    "prometheusOperator": {"admissionWebhooks": {"failurePolicy": "Fail"}},
    "alertmanager": {"alertmanagerSpec": {"alertmanagerConfiguration": {"name": "bpfleet"}}},
}


def told(kind: str, spec: dict[str, Any], api_version: str = "x/v1", **metadata: Any) -> list[str]:
    value = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", **metadata}, "spec": spec}
    return [f"{'.'.join(map(str, way))}: {message.split(':')[0]}" for _, way, message in checks.objects([value])]


def test_a_step_waits_prunes_and_has_its_times() -> None:
    good = {"wait": True, "prune": True, "timeout": "10m", "retryInterval": "2m"}
    flux = "kustomize.toolkit.fluxcd.io/v1"

    assert told("Kustomization", good, flux) == []
    assert told("Kustomization", {}, "kustomize.config.k8s.io/v1beta1") == []
    for key in good:
        assert told("Kustomization", {**good, key: None}, flux) == [f"spec.{key}: spec.{key}"]


@pytest.mark.parametrize("kind", ["Kustomization", "HelmRelease"])
def test_a_health_expression_that_an_empty_list_passes_is_told(kind: str) -> None:
    one = {"current": "status.conditions.all(c, c.status == 'True')", "failed": "status.conditions.exists(c, true)"}
    spec = {"healthCheckExprs": [one], "wait": True, "prune": True, "timeout": "10m", "retryInterval": "2m"}
    spec["driftDetection"] = {"mode": "enabled"}

    (complaint,) = told(kind, spec, "kustomize.toolkit.fluxcd.io/v1")
    assert complaint == "spec.healthCheckExprs.0.current: all() is true of a list that is still empty"


def test_a_release_undoes_drift_and_renews_definitions() -> None:
    good: dict[str, Any] = {"driftDetection": {"mode": "enabled"}, "chartRef": {"kind": "OCIRepository", "name": "x"}}
    good |= {"install": {"crds": "CreateReplace"}, "upgrade": {"crds": "CreateReplace"}}

    assert told("HelmRelease", good) == []
    assert told("HelmRelease", {**good, "driftDetection": {"mode": "warn"}}) == [
        "spec.driftDetection: spec.driftDetection.mode"
    ]
    assert told("HelmRelease", {**good, "upgrade": {}}) == ["spec.upgrade.crds: spec.upgrade.crds"]


def test_a_chart_has_one_version() -> None:
    def chart(**more: Any) -> dict[str, Any]:
        return {"driftDetection": {"mode": "enabled"}, "chart": {"spec": more}}

    own = {"sourceRef": {"kind": "GitRepository"}}
    assert told("HelmRelease", chart(**own, reconcileStrategy="Revision")) == []
    assert told("HelmRelease", chart(**own)) == ["spec.chart.spec.reconcileStrategy: reconcileStrategy"]
    foreign = {"sourceRef": {"kind": "HelmRepository"}}
    assert told("HelmRelease", chart(**foreign, version="1.2.3")) == []
    assert len(told("HelmRelease", chart(**foreign, version="1.x"))) == len(told("HelmRelease", chart(**foreign))) == 1


@pytest.mark.parametrize(
    ("ref", "wrong"),
    [
        ({"tag": "88.5.3"}, 0),
        ({"tag": "v1.2.3-rc.1"}, 0),
        ({"digest": "sha256:0"}, 0),
        ({"tag": "latest"}, 1),
        ({"semver": ">=1"}, 1),
        ({}, 1),
    ],
)
def test_an_artifact_has_one_version(ref: dict[str, str], wrong: int) -> None:
    assert len(told("OCIRepository", {"ref": ref})) == wrong


@pytest.mark.parametrize(
    ("image", "policy", "problem"),
    [
        ("quay.io/x/y:v1.2.3", "", ""),
        ("localhost:5000/y:1", "", ""),
        ("x/y@sha256:00", "", ""),
        ("x/y:latest", "", "image x/y:latest: its tag moves"),
        ("x/y:main", "IfNotPresent", "image x/y:main: its tag moves"),
        ("x/y:main", "Always", ""),
        ("localhost:5000/y", "", "image localhost:5000/y: has neither a tag nor a digest"),
    ],
)
def test_an_image_stays_the_same(image: str, policy: str, problem: str) -> None:
    assert checks.unpinned(image, policy) == problem


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet", "Job", "Pod", "CronJob", "Prometheus"])
def test_images_are_found_wherever_they_stand(kind: str) -> None:
    pod = {"containers": [{"image": "x:1"}, {"image": "y"}], "initContainers": [{"image": "z"}]}
    specs: dict[str, dict[str, Any]] = {
        "Pod": pod,
        "CronJob": {"jobTemplate": {"spec": {"template": {"spec": pod}}}},
        "Prometheus": {"image": "y"} | {f"{s}{n}Selector": {} for s in checks.SELECTORS for n in ("", "Namespace")},
    }

    found = [each for each in told(kind, specs.get(kind, {"template": {"spec": pod}})) if "image" in each]
    assert len(found) == (1 if kind == "Prometheus" else 2)


def test_a_monitor_of_the_agent_keeps_the_agents_labels() -> None:
    for kind, key in (("PodMonitor", "podMetricsEndpoints"), ("ServiceMonitor", "endpoints")):
        spec = {
            "selector": {"matchLabels": {"app": "bpfleet-agent"}},
            key: [{"honorLabels": True}, {"port": "metrics"}],
        }
        assert told(kind, spec) == [f"spec.{key}.1.honorLabels: honorLabels"]
        assert told(kind, {key: [{}]}) == []


def test_a_prometheus_takes_everything_and_is_one() -> None:
    good: dict[str, Any] = {f"{s}{n}Selector": {} for s in checks.SELECTORS for n in ("", "Namespace")}

    assert told("Prometheus", good) == []
    assert told("Prometheus", {**good, "shards": 2}) == ["spec.shards: spec.shards"]
    assert told("Prometheus", {**good, "ruleSelector": None}) == ["spec.ruleSelector: spec.ruleSelector"]


def test_an_alertmanager_has_the_one_configuration() -> None:
    assert told("Alertmanager", {"alertmanagerConfiguration": {"name": "bpfleet"}}) == []
    assert len(told("Alertmanager", {})) == 1


def test_rules_are_not_substituted_and_policies_fail_closed() -> None:
    off = {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}

    assert told("PrometheusRule", {}, annotations=off) == []
    assert len(told("PrometheusRule", {})) == 1
    assert told("ValidatingAdmissionPolicy", {"failurePolicy": "Fail"}) == []
    assert len(told("ValidatingAdmissionPolicy", {"failurePolicy": "Ignore"})) == 1


@pytest.mark.parametrize(
    ("way", "value"),
    [
        *((("prometheus", "prometheusSpec", f"{each}SelectorNilUsesHelmValues"), True) for each in checks.SELECTORS),
        *((("prometheus", "prometheusSpec", f"{each}SelectorNilUsesHelmValues"), None) for each in checks.SELECTORS),
        (("prometheus", "prometheusSpec", "shards"), 2),
        (("prometheusOperator", "admissionWebhooks", "failurePolicy"), "IgnoreOnInstallOnly"),
        (("alertmanager", "alertmanagerSpec", "alertmanagerConfiguration", "name"), "other"),
    ],
)
def test_the_stacks_values_keep_what_rules_need(way: tuple[str, ...], value: Any) -> None:
    change: Any = value
    for key in reversed(way):
        change = {key: change}
    found = list(checks.stack(merged([("", GOOD_STACK), ("", change)]), "production"))

    assert [keys for keys, _ in found] == [way]


def test_kinds_control_plane_is_not_scraped() -> None:
    off = {key: {"enabled": False} for key in checks.CONTROL_PLANE}

    assert list(checks.stack(GOOD_STACK, "production")) == list(checks.stack({**GOOD_STACK, **off}, "kind")) == []
    assert [keys[0] for keys, _ in checks.stack(GOOD_STACK, "kind")] == list(checks.CONTROL_PLANE)
