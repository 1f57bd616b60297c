"""apps/agent for Flux and without it: what kustomize makes of each directory."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import charts, kubernetes_schemas
from tests.support.charts import AGENT, CHART, ROOT, Objects, built, container, objects

from agent import configuration
from agent.collectors import BUILT_IN
from bpfleet import documents
from bpfleet.errors import ToolError
from bundle import tools
from bundle.chart import rendering


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    charts.needed()


OVERLAYS = ("kind", "staging", "production")
VARIABLE = re.compile(r"\$\{(\w+):=([^}]*)\}")


DIGEST = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def substituted(overlay: str, **variables: str) -> Objects:
    """With the defaults of the variables that are not given."""
    text = yaml.safe_dump_all(built(overlay), sort_keys=False, width=1000)
    text = VARIABLE.sub(lambda found: variables.get(found[1], found[2]), text)
    assert "${" not in text, "a variable without a default"
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rendered(overlay: str, folder: Path, **variables: str) -> Objects:
    """What Flux would install."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(substituted(overlay, **variables)["HelmRelease"]["spec"]["values"]), "utf-8")
    return objects(rendering.render(CHART, [file]))


@pytest.mark.parametrize("directory", ["base", *OVERLAYS, "plain"])
def test_every_object_is_one_that_kubernetes_takes(directory: str) -> None:
    assert [each for one in substituted(directory).values() for each in kubernetes_schemas.mistakes(one)] == []


def test_the_namespace_allows_the_agent_and_tells_what_is_unusual() -> None:
    for directory in (*OVERLAYS, "plain"):
        namespace = next(each for each in built(directory) if each["kind"] == "Namespace")
        assert namespace["metadata"]["name"] == rendering.NAMESPACE
        levels = {name: namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{name}"] for name in LEVELS}
        assert levels == LEVELS


LEVELS = {"enforce": "privileged", "audit": "restricted", "warn": "restricted"}


def test_the_chart_is_of_the_same_commit_and_a_failed_release_is_taken_back(overlay: str) -> None:
    made = substituted(overlay)
    assert set(made) == {"Namespace", "ConfigMap", "GitRepository", "HelmRelease"}
    spec, source = made["HelmRelease"]["spec"], made["GitRepository"]["metadata"]
    assert spec["values"]["security"]["policies"] == {"configMap": made["ConfigMap"]["metadata"]["name"]}
    chart = spec["chart"]["spec"]
    assert chart["chart"] == f"./{rendering.CHART}" and chart["reconcileStrategy"] == "Revision"
    assert chart["sourceRef"] == {"kind": "GitRepository", "name": source["name"]}, "no other namespace's"
    assert source["namespace"] == made["HelmRelease"]["metadata"]["namespace"] == rendering.NAMESPACE
    for action in ("install", "upgrade"):
        assert spec[action]["strategy"] == {"name": "RemediateOnFailure"}
        assert spec[action]["remediation"]["retries"] == 3
    assert spec["driftDetection"] == {"mode": "enabled"} and spec["test"] == {"enable": True}


def test_the_source_has_what_the_chart_needs() -> None:
    """.spec.ignore leaves only the chart in the artifact; patterns are git's."""
    ignore = substituted("staging")["GitRepository"]["spec"]["ignore"].split()
    assert ignore[0] == "/*" and ignore[-1] == f"!/{rendering.CHART}"


def test_staging_follows_main_and_production_follows_tags() -> None:
    assert substituted("staging")["GitRepository"]["spec"]["ref"] == {"branch": "main"}
    (semver,) = substituted("production")["GitRepository"]["spec"]["ref"].items()
    assert semver == ("semver", ">=0.1.0 <1.0.0")


def test_the_values_of_an_overlay_are_ones_that_the_chart_takes(overlay: str, tmp_path: Path) -> None:
    made = rendered(overlay, tmp_path, agent_digest=DIGEST)
    assert [each for one in made.values() for each in kubernetes_schemas.mistakes(one)] == []
    assert made["DaemonSet"]["metadata"]["name"] == rendering.NAME
    tag = {"kind": ":local", "staging": ":main", "production": f":{appversion()}@{DIGEST}"}[overlay]
    assert container(made)["image"] == f"ghcr.io/bpfleet/agent{tag}"


def test_agents_of_an_overlay_run_what_its_settings_name_and_may_ask_who_wants_to_be_watched(
    overlay: str, tmp_path: Path
) -> None:
    """A collector that there is not would be refused by the agent, and no schema knows them: plugins bring more."""
    made = rendered(overlay, tmp_path, agent_digest=DIGEST)
    file = tmp_path / "agent.yaml"
    file.write_text(made["ConfigMap"]["data"]["agent.yaml"], "utf-8")
    known = {kind.name: kind.default for kind in BUILT_IN}
    settings = configuration.load(file, {"BPFLEET_NODE_NAME": "node-1"}, {}, known).settings
    assert set(settings.collectors) == {name for name, default in known.items() if default} | {"exec", "egress"}
    told = {event for kind in BUILT_IN if settings.runs(kind.name) for event in kind.event_names}
    asked = {resource for rule in made["ClusterRole"]["rules"] for resource in rule["resources"]}
    assert settings.asks_namespaces(told) and "namespaces" in asked


def test_production_without_a_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="at '/image': missing property 'digest'"):
        rendered("production", tmp_path)


def appversion() -> str:
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))["appVersion"])


def test_an_overlay_holds_only_what_differs(overlay: str) -> None:
    base = substituted("base")["HelmRelease"]["spec"]["values"]
    for file in (AGENT / overlay).glob("release.yaml"):
        (patch,) = documents.read(file)
        spec = patch.value["spec"]
        assert set(spec) == {"values"}
        for name, value in flat(spec["values"]):
            assert value != dict(flat(base)).get(name, dict(flat(charts.defaults())).get(name)), f"{file}: {name}"


def flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in section.items():
        found += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def test_a_registry_of_ones_own_is_one_variable() -> None:
    for overlay in OVERLAYS:
        text = yaml.safe_dump_all(built(overlay), width=1000)
        assert {found for found in VARIABLE.findall(text) if found[0] == "registry"} == {("registry", "ghcr.io")}


def test_every_variable_is_in_the_docs_with_its_default() -> None:
    page = (ROOT / "docs/deploying.md").read_text("utf-8").partition("| variable | default | |")[2]
    rows = {row[1]: row[2] for row in re.finditer(r"^\| `(\w+)` \| ([^|]*) \|", page, re.MULTILINE)}
    used = {name: set[str]() for name in rows}
    for overlay in OVERLAYS:
        for name, default in VARIABLE.findall(yaml.safe_dump_all(built(overlay), width=1000)):
            used[name].add(default)
    for name, defaults in used.items():
        if defaults not in ({""}, {"https://github.com/bpfleet/bpfleet"}):
            assert all(f"`{default}`" in rows[name] for default in defaults), name
        assert defaults, f"nobody uses {name}"


# Without Flux and Helm


def test_the_plain_manifests_need_neither_helm_nor_an_operator() -> None:
    kinds = sorted(each["kind"] for each in built("plain"))
    assert kinds == [
        *("ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet", "Namespace", "NetworkPolicy", "Service"),
        "ServiceAccount",
    ]
    text = yaml.safe_dump_all(built("plain"))
    assert "helm" not in text.lower() and "monitoring.coreos.com" not in text and "${" not in text


def test_a_prometheus_finds_the_plain_agent_by_annotations() -> None:
    made = {each["kind"]: each for each in built("plain")}
    (port,) = made["Service"]["spec"]["ports"]
    assert made["Service"]["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["port"]),
        "prometheus.io/path": "/metrics",
    }


def test_the_plain_agent_is_the_charts() -> None:
    plain = {each["kind"]: each for each in built("plain")}
    spec, usual = plain["DaemonSet"]["spec"], objects(charts.rendered("default"))["DaemonSet"]["spec"]
    assert spec == usual


def test_the_documented_overlay_changes_image_and_cgroup_directory(tmp_path: Path) -> None:
    page = (ROOT / "docs/deploying.md").read_text("utf-8")
    documented = page.partition("```yaml\n")[2].partition("```")[0]
    local = re.sub(r"https://github\.com/bpfleet/bpfleet//apps/agent/(\w+)\?ref=main", r"../\1", documented)
    assert local != documented
    for name in ("plain", "namespace"):
        shutil.copytree(AGENT / name, tmp_path / name)
    directory = tmp_path / "own"
    directory.mkdir()
    (directory / "kustomization.yaml").write_text(local)
    text = tools.run("kubectl", "kustomize", directory)
    made = {each.value["kind"]: each.value for each in documents.parse(text, directory)}
    assert container(made)["image"] == f"registry.example/bpfleet/agent:{appversion()}"
    before = {each["kind"]: each for each in built("plain")}
    volumes, usual = charts.pod(made)["volumes"], charts.pod(before)["volumes"]
    assert [each for each in volumes if each not in usual] == [
        {"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup/unified", "type": "Directory"}}
    ]
    assert len(volumes) == len(usual)
