"""Steps of a cluster, in Flux's order."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle.flux import clusters

STEP = """apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: {name}
spec:
  path: ./{path}
  dependsOn: [{after}]
"""


def tree(root: Path, **after: str) -> Path:
    """A cluster `one` with a step per name, each after those of its text."""
    for name, names in after.items():
        (root / name).mkdir(exist_ok=True)
        (root / name / "kustomization.yaml").write_text("resources: []\n")
        (root / "clusters" / "one").mkdir(parents=True, exist_ok=True)
        text = STEP.format(name=name, path=name, after=", ".join(f"{{name: {each}}}" for each in names.split()))
        (root / "clusters" / "one" / f"{name}.yaml").write_text(text)
    return root


def told(cluster: clusters.Cluster) -> list[str]:
    return [str(each) for each in cluster.complaints]


def test_a_step_comes_after_what_it_depends_on(tmp_path: Path) -> None:
    cluster = clusters.load(tree(tmp_path, a="b c", b="d", c="d", d="", e="a"), "one")

    assert [each.name for each in cluster.steps] == ["d", "b", "c", "a", "e"]
    assert told(cluster) == []


def test_steps_that_wait_for_one_another_are_told(tmp_path: Path) -> None:
    cluster = clusters.load(tree(tmp_path, a="b", b="c", c="b", d=""), "one")

    assert told(cluster) == ["clusters/one/a.yaml:7: dependsOn: a, b, c wait for one another"]
    assert [each.name for each in cluster.steps] == ["d", "a", "b", "c"]


def test_a_step_that_is_not_there_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    cluster = clusters.load(tree(tmp_path, controllers="", apps="controlers", more="x"), "one")

    assert told(cluster) == [
        "clusters/one/apps.yaml:7: dependsOn: no Kustomization controlers in this cluster; did you mean controllers?",
        "clusters/one/more.yaml:7: dependsOn: no Kustomization x in this cluster; there are apps, controllers, more",
    ]


def test_variables_come_from_the_directorys_config_maps(tmp_path: Path) -> None:
    directory = tree(tmp_path, a="") / "clusters" / "one"
    build = "  postBuild: {substituteFrom: [{kind: ConfigMap, name: vars}], substitute: {b: own}}\n"
    (directory / "a.yaml").write_text((directory / "a.yaml").read_text() + build)
    vars = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: vars}\ndata: {a: '1', b: '2', c: \"x\\ny\"}\n"
    (directory / "vars.yaml").write_text(vars)

    assert clusters.load(tmp_path, "one").steps[0].variables == {"a": "1", "b": "own", "c": "xy"}

    (directory / "vars.yaml").unlink()
    assert told(clusters.load(tmp_path, "one")) == ["clusters/one/a.yaml:8: no ConfigMap vars in this directory"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "kind: Kustomization\napiVersion: kustomize.toolkit.fluxcd.io/v1\n",
            "1: the Kustomization without a name has no path",
        ),
        (STEP.format(name="x", path="../..", after=""), "6: ../..: no kustomization.yaml there"),
        (STEP.format(name="x", path="/etc", after=""), "6: etc: no kustomization.yaml there"),
        (
            STEP.format(name="x", path="a", after="") + "  patches: []\n",
            "8: spec.patches: rendering does not follow it",
        ),
        ("- a list\n", "1: no Kubernetes object"),
        ("a: [\n", "2: not valid YAML"),
    ],
)
def test_what_is_no_step_is_told(tmp_path: Path, text: str, message: str) -> None:
    directory = tree(tmp_path, a="") / "clusters" / "one"
    (directory / "x.yaml").write_text(text)

    (complaint,) = told(clusters.load(tmp_path, "one"))
    assert complaint.startswith(f"clusters/one/x.yaml:{message}")


def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no cluster 'on' in clusters/; did you mean one?"):
        clusters.load(tree(tmp_path, a=""), "on")


def test_what_bootstrap_writes_is_fluxs_own(tmp_path: Path) -> None:
    directory = tree(tmp_path, a="") / "clusters" / "one" / "flux-system"
    directory.mkdir()
    (directory / "gotk-components.yaml").write_text("- nothing of ours\n")

    assert told(clusters.load(tmp_path, "one")) == []
