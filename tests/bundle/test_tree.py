"""The committed tree: what each cluster gets, and that nothing is wrong with it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import trees

from bundle.flux import clusters, rendering, validating
from bundle.flux.sources import Sources

CHAIN = ["crds", "admission", "controllers", "configs", "policies", "apps"]

REGISTRY = "registry.example.com"


def images(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("image"), str):
            yield value["image"]
        for each in value.values():
            yield from images(each)
    elif isinstance(value, list):
        for each in value:
            yield from images(each)


def test_nothing_is_wrong_with_the_tree() -> None:
    assert [str(each) for each in validating.validate(trees.ROOT)] == []


@pytest.mark.parametrize("name", trees.CLUSTERS)
def test_each_step_stands_on_the_one_before_and_no_rule_holds_up_the_agent(name: str) -> None:
    cluster = clusters.load(trees.ROOT, name)
    after = {each.name: list(each.after) for each in cluster.steps}

    assert after == {
        "crds": [],
        "admission": ["crds"],
        "controllers": ["admission"],
        "configs": ["controllers"],
        "policies": ["configs"],
        "apps": ["configs"],
    }
    assert sorted(after, key=CHAIN.index) == [
        *(each.name for each in cluster.steps if each.name in CHAIN[:4]),
        *CHAIN[4:],
    ]


def test_the_clusters_are_these() -> None:
    assert tuple(clusters.names(trees.ROOT)) == trees.CLUSTERS


@pytest.mark.parametrize("name", trees.CLUSTERS)
def test_no_two_steps_have_the_same_object(name: str) -> None:
    """Each would undo what the other did, and prune it when it went."""
    rendered = trees.rendered(name)
    keys = [
        (
            each["apiVersion"].rpartition("/")[0],
            each["kind"],
            each["metadata"].get("namespace"),
            each["metadata"]["name"],
        )
        for each in rendered.all()
    ]

    assert rendered.complaints == []
    assert sorted({str(key) for key in keys if keys.count(key) > 1}) == []
    assert len(keys) > 30


@pytest.mark.parametrize("name", trees.CLUSTERS)
def test_one_variable_sends_every_chart_and_image_to_another_registry(name: str) -> None:
    rendered = trees.rendered(name, registry=REGISTRY)

    charts = [each["spec"]["url"] for each in rendered.all() if each["kind"] == "OCIRepository"]
    assert all(url.startswith(f"oci://{REGISTRY}/") for url in charts), charts
    assert len(charts) == (0 if name == "operator" else 2)
    pulled = {image for each in rendered.all() for image in images(each)}
    assert pulled and all(image.startswith(f"{REGISTRY}/") for image in pulled), pulled
    if name != "operator":
        assert trees.stack_values(rendered)["global"]["imageRegistry"] == REGISTRY
    allowed = trees.one(rendered, "ValidatingAdmissionPolicy", "bpfleet-sources")["spec"]["variables"][0]["expression"]
    assert f'"oci://{REGISTRY}/prometheus-community/"' in allowed


def test_staging_follows_main_and_production_tags() -> None:
    for name, source in (("staging", "flux-system"), ("production", "release")):
        steps = clusters.load(trees.ROOT, name).steps
        assert {each.document.value["spec"]["sourceRef"]["name"] for each in steps} == {source}
    own = [each.value for each in clusters.load(trees.ROOT, "production").own]
    taken = [each for each in [*own, *trees.rendered("production").all()] if each["kind"] == "GitRepository"]
    refs = {each["metadata"]["name"]: each["spec"]["ref"] for each in taken}
    assert set(refs) == {"release", "bpfleet"}
    assert all("semver" in ref and not ref.get("branch") for ref in refs.values()), refs


def test_what_a_cluster_keeps_and_how_often_it_is_there() -> None:
    found = {}
    for name in ("kind", "staging", "production"):
        values = trees.stack_values(trees.rendered(name))
        prometheus, alertmanager = values["prometheus"]["prometheusSpec"], values["alertmanager"]["alertmanagerSpec"]
        disk = prometheus.get("storageSpec", {}).get("volumeClaimTemplate", {}).get("spec", {}).get("resources")
        found[name] = (
            prometheus["retention"],
            prometheus.get("replicas", 1),
            alertmanager.get("replicas", 1),
            (disk or {}).get("requests"),
            "storage" in alertmanager,
        )

    assert found == {
        "kind": ("6h", 1, 1, None, False),
        "staging": ("7d", 1, 1, None, False),
        "production": ("35d", 2, 2, {"storage": "200Gi"}, True),
    }


def test_a_disk_of_production_keeps_what_it_can_and_never_runs_full() -> None:
    """The size is what ends: a smaller one would cut the 35 days short, and nobody would be told."""
    spec = trees.stack_values(trees.rendered("production"))["prometheus"]["prometheusSpec"]
    disk = spec["storageSpec"]["volumeClaimTemplate"]["spec"]["resources"]["requests"]["storage"]
    assert int(spec["retentionSize"].removesuffix("GiB")) == int(disk.removesuffix("Gi")) * 9 // 10


def test_what_flux_removes_takes_no_metrics_with_it() -> None:
    for name in trees.CLUSTERS:
        namespace = trees.one(trees.rendered(name), "Namespace", "monitoring")
        assert namespace["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/prune"] == "disabled"
        if name != "operator":
            kinds = trees.one(trees.rendered(name), "HelmRelease", "prometheus-operator-crds")
            assert kinds["spec"]["values"]["crds"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_grafana_knows_who_is_logged_in_and_calls_nobody() -> None:
    for name in ("kind", "staging", "production"):
        grafana = trees.stack_values(trees.rendered(name))["grafana"]
        assert grafana.get("replicas", 1) == 1 or "database" in grafana["grafana.ini"], "each would have its sessions"
        assert not grafana.get("podDisruptionBudget"), "of one it would stop every drain of its node"
        assert grafana["grafana.ini"]["plugins"] == {"preinstall_disabled": True, "public_key_retrieval_disabled": True}
        assert grafana["grafana.ini"]["news"] == {"news_feed_enabled": False}
        assert grafana["grafana.ini"]["security"] == {"disable_gravatar": True}
        assert not any(grafana["grafana.ini"]["analytics"].values())
    grafana = trees.stack_values(trees.rendered("production"))["grafana"]
    assert grafana["persistence"]["enabled"] and grafana["deploymentStrategy"] == {"type": "Recreate"}


def test_nobody_who_only_shows_things_reads_the_clusters_secrets() -> None:
    for name in ("kind", "staging", "production"):
        values = trees.stack_values(trees.rendered(name))
        assert values["kube-state-metrics"]["collectorsExclude"] == ["secrets"]
        assert values["grafana"]["rbac"] == {"namespaced": True}
        assert values["grafana"]["sidecar"]["dashboards"]["searchNamespace"] == "monitoring"
        made = [each for each in trees.rendered(name).all() if each["kind"] == "ConfigMap"]
        shown = [each for each in made if "grafana_dashboard" in each["metadata"].get("labels", {})]
        assert {each["metadata"]["namespace"] for each in shown} == {"monitoring"}
    role = trees.one(trees.rendered("operator"), "ClusterRole", "kube-state-metrics-bpfleet")
    assert not [rule for rule in role["rules"] if {"secrets", "*"} & set(rule["resources"]) and "" in rule["apiGroups"]]


def test_retention_is_a_setting_of_two_days_where_nobody_sets_it(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    trees.edit(root, "clusters/staging/vars.yaml", "  prometheus_retention: 7d\n", "")
    rendered = rendering.render(Sources(root), clusters.load(root, "staging"))

    assert trees.stack_values(rendered)["prometheus"]["prometheusSpec"]["retention"] == "2d"


def test_remote_write_is_one_more_component(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    file = root / "infrastructure/controllers/production/kustomization.yaml"
    file.write_text(f"{file.read_text()}  - ../../prometheus/values/remote-write\n")
    variables = {"remote_write_url": "https://thanos.example.com/api/v1/receive"}
    rendered = rendering.render(Sources(root), clusters.load(root, "production"), variables)

    spec = trees.stack_values(rendered)["prometheus"]["prometheusSpec"]
    assert [each["url"] for each in spec["remoteWrite"]] == ["https://thanos.example.com/api/v1/receive"]
    assert (spec["retention"], spec["replicas"]) == ("35d", 2)
    assert [str(each) for each in validating.validate(root, ["production"])] == []


def test_an_edit_of_values_names_them_anew_and_the_release_follows(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    trees.edit(root, "infrastructure/prometheus/values/values.yaml", "walCompression: true", "walCompression: false")

    def named(text: str) -> tuple[list[str], list[str]]:
        objects = list(yaml.safe_load_all(text))
        (release,) = (each for each in objects if each["kind"] == "HelmRelease")
        maps = sorted(each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap")
        return [each["name"] for each in release["spec"]["valuesFrom"]], maps

    path = Path("infrastructure/controllers/production")
    (before, maps), (after, edited) = (named(rendering.build(each, path)) for each in (trees.ROOT, root))

    assert set(before) <= set(maps) and set(after) <= set(edited)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [(old[:-10], new[:-10]) for old, new in changed] == [("prometheus-values-", "prometheus-values-")]
    assert len(before) == 6


def test_what_is_read_at_run_time_is_watched() -> None:
    """Without the label a change waits for the next interval."""
    for name in trees.CLUSTERS[:1] + trees.CLUSTERS[2:]:
        rendered = trees.rendered(name)
        used = {
            each["name"] for each in trees.one(rendered, "HelmRelease", "kube-prometheus-stack")["spec"]["valuesFrom"]
        }
        maps = [each for each in rendered.all() if each["kind"] == "ConfigMap" and each["metadata"]["name"] in used]
        own = [each.value for each in clusters.load(trees.ROOT, name).own if each.value["kind"] == "ConfigMap"]
        labels = [each["metadata"]["labels"].get("reconcile.fluxcd.io/watch") for each in [*maps, *own]]
        assert labels == ["Enabled"] * (len(used) + 1)


def test_without_charts_rules_and_routes_find_the_same() -> None:
    alone, values = trees.rendered("operator"), trees.stack_values(trees.rendered("kind"))

    alertmanager = trees.one(alone, "Alertmanager", "bpfleet")["spec"]
    for key in ("alertmanagerConfiguration", "alertmanagerConfigMatcherStrategy"):
        assert alertmanager[key] == values["alertmanager"]["alertmanagerSpec"][key]
    deployment = trees.one(alone, "Deployment", "kube-state-metrics")["spec"]["template"]["spec"]["containers"][0]
    listed = values["kube-state-metrics"]["metricLabelsAllowlist"]
    assert f"--metric-labels-allowlist={','.join(listed)}" in deployment["args"]
    assert listed == ["namespaces=[bpfleet.dev/slo-tier,bpfleet.dev/anomaly,team]"]
    states = [trees.one(trees.rendered(name), "ConfigMap", "flux-resources") for name in ("kind", "operator")]
    assert states[0]["data"] == states[1]["data"]
    assert values["kube-state-metrics"]["customResourceState"]["name"] == "flux-resources"
    rules = {
        name: {each["metadata"]["name"] for each in trees.rendered(name).all() if each["kind"] == "PrometheusRule"}
        for name in ("kind", "operator")
    }
    assert rules["kind"] == rules["operator"] != set()


def test_agents_get_every_security_policy_and_nothing_else() -> None:
    there = {path.name: path.read_text() for path in (trees.ROOT / "policies/security").glob("*.yaml")}
    del there["kustomization.yaml"]
    for name in trees.CLUSTERS:
        made = trees.one(trees.rendered(name), "ConfigMap", "bpfleet-security-policies")
        assert made["metadata"]["namespace"] == "bpfleet" and made["data"] == there


def test_alertmanager_reads_templates_that_are_there() -> None:
    for name in trees.CLUSTERS:
        rendered = trees.rendered(name)
        templates = trees.one(rendered, "ConfigMap", "alertmanager-templates")["data"]
        if name == "operator":
            spec = trees.one(rendered, "Alertmanager", "bpfleet")["spec"]
        else:
            spec = trees.stack_values(rendered)["alertmanager"]["alertmanagerSpec"]
        used = [each["configMap"] for each in spec["alertmanagerConfiguration"]["templates"]]
        assert [each["name"] for each in used] == ["alertmanager-templates"] * len(templates)
        assert sorted(each["key"] for each in used) == sorted(templates)


def test_no_workflow_or_script_prints_values_that_may_hold_secrets() -> None:
    files = [
        each for where in (".github", ".ci", "scripts", "tests", "docs") for each in (trees.ROOT / where).rglob("*")
    ]
    printing = re.compile(r"flux\s+debug\b.*--show-" + "(values|vars)")

    assert [str(each) for each in files if each.is_file() and printing.search(each.read_text("utf-8", "replace"))] == []
