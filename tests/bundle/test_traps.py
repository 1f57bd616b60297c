"""Mistakes that a cluster would take in silence, each made once in a copy of the tree: told by file and line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import trees

from bundle.flux import validating

PROMETHEUS = "infrastructure/prometheus/values/values.yaml"
SPEC = "prometheus.prometheusSpec"


@dataclass(frozen=True)
class Mistake:
    """In `file`, `old` becomes `new`; `complaint` is in the message. at: the file that it names if another."""

    file: str
    old: str
    new: str
    complaint: str
    at: str = ""
    below: int = 0
    """Lines from the edit to the complaint."""

    def __str__(self) -> str:
        return self.complaint


MISTAKES: Sequence[Mistake] = (
    # A text that Flux would take for a variable: the whole step would fail.
    Mistake(
        "infrastructure/configs/base/flux-monitor.yaml",
        "    - port: http-prom\n",
        "    - port: http-prom\n      interval: ${__rate_interval}\n",
        "${__rate_interval}: in PodMonitor flux of the step configs: the variable __rate_interval is not set",
        below=1,
    ),
    Mistake(
        "infrastructure/crds/namespace.yaml",
        "    app.kubernetes.io/part-of: bpfleet\n",
        "    app.kubernetes.io/part-of: bpfleet\n    x: ${a/b/c}\n",
        "${a/b/c}: in Namespace monitoring of the step crds: allowed are ${name} and ${name:=default}",
        below=1,
    ),
    Mistake(
        "policies/platform/flux.yaml",
        "    kustomize.toolkit.fluxcd.io/substitute: disabled\n",
        "    some: annotation\n",
        "has to carry the annotation kustomize.toolkit.fluxcd.io/substitute: disabled",
        below=-1,
    ),
    # The agent's namespaces would be its own.
    Mistake(
        "apps/agent/chart/templates/_helpers.tpl",
        "honorLabels: true",
        "honorLabels: false",
        "PodMonitor bpfleet-agent of the chart: honorLabels: has to be true",
        at="apps/agent/base/release.yaml",
    ),
    # Values that the chart ignores, or by which nothing of ours is loaded.
    Mistake(
        PROMETHEUS,
        "    walCompression: true",
        "    walCompresion: true",
        f"kube-prometheus-stack 88.5.3 has no value {SPEC}.walCompresion; did you mean {SPEC}.walCompression?",
    ),
    *(
        Mistake(
            PROMETHEUS,
            f"{each}SelectorNilUsesHelmValues: false",
            f"{each}SelectorNilUsesHelmValues: true",
            f"{SPEC}.{each}SelectorNilUsesHelmValues: has to be false",
        )
        for each in ("rule", "serviceMonitor", "podMonitor", "probe", "scrapeConfig")
    ),
    Mistake(
        "infrastructure/alertmanager/values/values.yaml",
        "      name: bpfleet",
        "      name: someone",
        "alertmanager.alertmanagerSpec.alertmanagerConfiguration.name: has to be bpfleet",
    ),
    # A broken rule would be taken, and its last good version be gone.
    Mistake(
        PROMETHEUS,
        "failurePolicy: Fail",
        "failurePolicy: Ignore",
        "prometheusOperator.admissionWebhooks.failurePolicy: has to be Fail",
    ),
    Mistake(
        "clusters/kind/policies.yaml",
        "b.conditions.exists(c,\n",
        "b.conditions.all(c,\n",
        "all() is true of a list that is still empty",
        below=-1,
    ),
    Mistake(PROMETHEUS, "    shards: 1", "    shards: 2", f"{SPEC}.shards: has to be 1"),
    # The API server would refuse the Prometheus, and with it the release.
    Mistake(PROMETHEUS, '"${prometheus_retention:=2d}"', "2dd", f"{SPEC}.retention: '2dd' does not match"),
    Mistake(PROMETHEUS, 'cluster: "${cluster}"', "cluster: 7", f"{SPEC}.externalLabels.cluster: 7 is not of type"),
    Mistake(
        "infrastructure/alertmanager/values/values.yaml",
        "retention: 120h",
        "retention: 120",
        "alertmanager.alertmanagerSpec.retention: 120 is not of type 'string'",
    ),
    Mistake(
        "infrastructure/prometheus/values/kind/values.yaml",
        "kubeEtcd:\n  enabled: false",
        "kubeEtcd:\n  enabled: true",
        "kubeEtcd.enabled: has to be false",
        below=1,
    ),
    # Order, names, versions.
    Mistake(
        "clusters/kind/apps.yaml",
        "    - name: configs",
        "    - name: config",
        "dependsOn: no Kustomization config in this cluster; did you mean configs?",
        below=-1,
    ),
    Mistake(
        "clusters/kind/crds.yaml",
        "  wait: true",
        "  wait: false",
        "spec.wait: has to be true",
    ),
    Mistake(
        "infrastructure/controllers/base/kube-prometheus-stack.yaml",
        "    tag: 88.5.3",
        "    tag: 88.5.4",
        "the list of values is of kube-prometheus-stack 88.5.3",
    ),
    Mistake(
        "infrastructure/crds/prometheus-operator.yaml",
        "    tag: 31.0.1",
        '    semver: ">=31"',
        "spec.ref: >=31 is no exact version",
        below=-1,
    ),
    Mistake(
        "clusters/kind/vars.yaml",
        "  labels:\n",
        "  lables:\n",
        "metadata.lables: no such field; did you mean labels?",
    ),
    Mistake(
        "infrastructure/crds/prometheus-operator.yaml",
        "    kind: OCIRepository\n",
        "    kind: OCIRepository\n    namespace: flux-system\n",
        "spec.chartRef: a reference to another namespace",
        below=-1,
    ),
    # Secrets in plain text: whether anything uses the file or not.
    Mistake(
        "infrastructure/notifications/discord.yaml",
        "apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Provider",
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: x\n---\n"
        "apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Provider",
        "a Secret that is not encrypted",
    ),
)


SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: monitoring}\n"
PLAIN = ": a Secret that is not encrypted: `sops --encrypt` it (docs/gitops.md)"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("infrastructure/crds/secret.yml", f"{SECRET}stringData: {{token: hunter2}}\n"),
        ("infrastructure/crds/templates/secret.yaml", f"{SECRET}stringData: {{token: hunter2}}\n"),
        # A stanza encrypts nothing.
        (
            "infrastructure/crds/secret.yaml",
            f"{SECRET}data: {{a: 'ENC[AES256_GCM,x]', b: aHVudGVy}}\nsops: {{mac: x}}\n",
        ),
        ("infrastructure/crds/secret.yaml", f"{SECRET}stringData: {{}}\nsops: {{}}\n"),
    ],
)
def test_a_secret_in_plain_text_is_told_wherever_it_is(tmp_path: Path, file: str, text: str) -> None:
    root = trees.copy(tmp_path)
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(text)
    name = Path(file).relative_to("infrastructure/crds")
    trees.edit(root, "infrastructure/crds/kustomization.yaml", "resources:\n", f"resources:\n  - {name}\n")

    told = [str(each) for each in validating.validate(root, ["kind"])]

    assert len(told) == 1 and told[0].endswith(PLAIN), told


def test_an_encrypted_secret_is_none_of_our_business(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    text = f"{SECRET}data: {{a: 'ENC[AES256_GCM,data:x,type:str]', b: ''}}\nsops: {{mac: x}}\n"
    (root / "infrastructure/crds/secret.yaml").write_text(text)
    trees.edit(root, "infrastructure/crds/kustomization.yaml", "resources:\n", "resources:\n  - secret.yaml\n")

    assert validating.validate(root, ["kind"]) == []


def test_a_source_that_is_not_there_and_a_step_that_is_there_twice(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    step = (root / "clusters/production/apps.yaml").read_text("utf-8").replace("name: release", "name: realease")
    (root / "clusters/production/zapps.yaml").write_text(step, "utf-8")

    told = [str(each) for each in validating.validate(root, ["production"])]
    assert told == [
        "clusters/production/zapps.yaml:5: Kustomization apps stands in apps.yaml, too",
        "clusters/production/zapps.yaml:12: no source realease here; there are flux-system, release",
    ]


def test_a_step_does_not_wait_for_the_namespace_of_what_it_applies(tmp_path: Path) -> None:
    """Whichever of two steps came first would decide: where a namespace is missing Flux applies nothing of the step."""
    root = trees.copy(tmp_path)
    trees.edit(root, "policies/kind/kustomization.yaml", "  - ../security/alerts\n", "  - ../security\n")
    trees.edit(root, "apps/agent/base/kustomization.yaml", "  - ../../../policies/security\n", "")
    line = trees.edit(root, "infrastructure/configs/base/flux-monitor.yaml", "namespace: monitoring", "namespace: else")

    told = [str(each) for each in validating.validate(root, ["kind"])]
    missing = "neither the step {} nor one that it depends on makes the namespace {}"
    assert told == [
        f"infrastructure/configs/base/flux-monitor.yaml:{line}: {missing.format('configs', 'else')}",
        "policies/security/kustomization.yaml:6: ConfigMap bpfleet-security-policies: "
        + missing.format("policies", "bpfleet"),
    ]


def test_a_variable_in_a_generated_object_is_told_at_the_file_that_it_is_made_of(tmp_path: Path) -> None:
    """Every dashboard has one: not where the first one has it."""
    root, folder = trees.copy(tmp_path), "infrastructure/grafana/dashboards"
    trees.edit(root, f"{folder}/kustomization.yaml", "substitute: disabled", "substitute: enabled")

    told = [str(each) for each in validating.validate(root, ["kind"])]

    boards = sorted(each.stem for each in (root / folder).glob("*.json"))
    assert len(told) == len(boards) > 5
    for name, complaint in zip(boards, told, strict=True):
        assert complaint.startswith(f"{folder}/{name}.json:"), complaint
        assert f"in ConfigMap dashboard-{name} of the step configs" in complaint


def test_flux_and_we_take_the_same_files(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    trees.edit(root, "clusters/kind/apps.yaml", "  path: ./apps/agent/kind", "  path: ./apps/agent/nowhere")
    (root / "clusters/kind/apps.yaml").rename(root / "clusters/kind/apps.yml")

    told = [str(each) for each in validating.validate(root, ["kind"])]
    assert told == ["clusters/kind/apps.yml:13: apps/agent/nowhere: no kustomization.yaml there"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[tuple[Mistake, str]]]:
    """What is told of a tree with all the mistakes, and where each was made. They do not hide one another."""
    root = trees.copy(tmp_path_factory.mktemp("traps"))
    for each in MISTAKES:
        trees.edit(root, each.file, each.old, each.new)
    places = []
    for each in MISTAKES:
        text = (root / each.file).read_text("utf-8")
        line = text[: text.index(each.new)].count("\n") + 1 + each.below
        places.append((each, f"{each.at}:" if each.at else f"{each.file}:{line}:"))
    return [str(each) for each in validating.validate(root, ["kind"])], places


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_is_told_by_file_and_line(
    mistake: Mistake, made: tuple[list[str], list[tuple[Mistake, str]]]
) -> None:
    told, places = made
    place = dict(places)[mistake]

    assert [each for each in told if each.startswith(place) and mistake.complaint in each], "\n".join([place, *told])


def test_nothing_else_is_told(made: tuple[list[str], list[tuple[Mistake, str]]]) -> None:
    told, places = made

    assert [each for each in told if not any(mistake.complaint in each for mistake, _ in places)] == []


def test_what_kustomize_cannot_build_is_told_at_its_file(tmp_path: Path) -> None:
    root = trees.copy(tmp_path)
    trees.edit(root, "infrastructure/crds/kustomization.yaml", "  - namespace.yaml", "  - namespaces.yaml")
    trees.edit(root, "infrastructure/notifications/discord.yaml", "  eventSeverity: error", "  eventSeverity: [error")

    told = [str(each) for each in validating.validate(root, ["kind"])]

    assert [each.partition(": ")[0] for each in told] == [
        "infrastructure/crds/kustomization.yaml:1",
        "infrastructure/notifications/discord.yaml:22",
    ]
    assert "namespaces.yaml" in told[0] and "not valid YAML" in told[1]
