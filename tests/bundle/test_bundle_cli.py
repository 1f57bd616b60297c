"""`bpfleet bundle`, as a person calls it."""

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.support import trees

from bpfleet.errors import BundleError
from bundle.flux.cli import BUNDLE


def git(root: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", str(root), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small bundle under Git: one step with one object, and Flux's switch on another."""
    files = {
        "policies/x/kustomization.yaml": "configMapGenerator: [{name: made, literals: [a=1]}]\nresources: [x.yaml]\n",
        "policies/x/x.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {to: '${to:=world}'}\n---\n"
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: y\n  annotations:\n"
        "    kustomize.toolkit.fluxcd.io/substitute: disabled\ndata: {to: '${to}'}\n",
        "clusters/one/x.yaml": "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata:\n  name: x\n"
        "spec:\n  path: ./policies/x\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "x")
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert BUNDLE.main([str(each) for each in arguments]) == 0
    return capsys.readouterr().out


def test_render_prints_what_flux_would_apply(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--root", tree, "render", "one")
    assert text.startswith("# step: x\n---\n")
    told = {each["metadata"]["name"]: each["data"] for each in yaml.safe_load_all(text)}
    assert {name.partition("-")[0]: data for name, data in told.items()} == {
        "made": {"a": "1"},
        "x": {"to": "world"},
        "y": {"to": "${to}"},
    }

    assert "to: you" in printed(capsys, "--root", tree / "policies", "render", "one", "--step", "x", "--set", "to=you")


def test_diff_tells_what_changes_object_by_object(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--root", tree, "diff", "HEAD") == ""

    file = tree / "policies/x/kustomization.yaml"
    file.write_text(file.read_text().replace("a=1", "a=2"))
    trees.edit(tree, "policies/x/x.yaml", "name: y", "name: z")
    lines = printed(capsys, "--root", tree, "diff", "HEAD", "one").splitlines()

    assert [each for each in lines if not each.startswith(" ")] == [
        "~ one x: ConfigMap made",
        "- one x: ConfigMap y",
        "+ one x: ConfigMap z",
    ]
    assert "    -  a: '1'" in lines and "    +  a: '2'" in lines


def test_a_cluster_that_is_new_is_all_new(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "clusters/two").mkdir()
    (tree / "clusters/two/x.yaml").write_text((tree / "clusters/one/x.yaml").read_text())

    lines = printed(capsys, "--root", tree, "diff", "HEAD").splitlines()
    assert lines == [
        "+ two flux-system: Kustomization x",
        "+ two x: ConfigMap made",
        "+ two x: ConfigMap x",
        "+ two x: ConfigMap y",
    ]


def test_diff_tells_what_becomes_of_a_step(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trees.edit(tree, "clusters/one/x.yaml", "  path: ./policies/x\n", "  path: ./policies/x\n  suspend: true\n")
    lines = printed(capsys, "--root", tree, "diff", "HEAD").splitlines()

    assert lines[0] == "~ one flux-system: Kustomization x" and lines[-1] == "    +  suspend: true"


def test_no_two_maps_are_one_to_diff(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A word of ten letters is no hash."""
    file = tree / "policies/x/x.yaml"
    maps = "".join(
        f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n" for name in ("a-monitoring", "a")
    )
    file.write_text(file.read_text() + maps)

    lines = printed(capsys, "--root", tree, "diff", "HEAD").splitlines()
    assert lines == ["+ one x: ConfigMap a", "+ one x: ConfigMap a-monitoring"]


def test_diff_says_which_of_the_two_trees_is_broken(tree: Path) -> None:
    trees.edit(tree, "policies/x/x.yaml", "${to:=world}", "${to}")
    git(tree, "commit", "-qam", "broken")
    trees.edit(tree, "policies/x/x.yaml", "${to}", "${to:=world}")

    with pytest.raises(BundleError, match=r"^HEAD cannot be rendered: policies/x/x.yaml:4: "):
        BUNDLE.main(["--root", str(tree), "diff", "HEAD"])


def test_values_keys_finds_keys(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "values-keys", "nilUsesHelmValues").splitlines()
    assert "prometheus.prometheusSpec.ruleSelectorNilUsesHelmValues\tbool" in lines

    assert BUNDLE.main(["values-keys", "no such key"]) == 1
    assert "no key of kube-prometheus-stack 88.5.3 has no such key in it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("render", "on"), "no cluster 'on' in clusters/; did you mean one?"),
        (("render", "one", "--step", "y"), "no step 'y' in one; there are x"),
        (("render", "one", "--set", "to"), "--set to: has to be NAME=VALUE"),
        (("diff", "no-such-revision"), "no-such-revision: git: fatal: "),
        (("diff", "HEAD", "on"), "no cluster 'on' in clusters/; did you mean one?"),
        (("diff", "--output=x"), ""),
        (("validate", "on"), "no cluster 'on' in clusters/"),
    ],
)
def test_what_is_not_there_is_said(tree: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises((BundleError, SystemExit)) as error:
        BUNDLE.main(["--root", str(tree), *arguments])

    assert str(error.value).startswith(message) or isinstance(error.value, SystemExit)


def test_a_tree_that_cannot_be_rendered_is_said_by_file_and_line(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = trees.edit(tree, "policies/x/x.yaml", "${to:=world}", "${to}")

    with pytest.raises(
        BundleError, match=rf"^policies/x/x.yaml:{line}: \$\{{to\}}: in ConfigMap x of the step x: the var"
    ):
        BUNDLE.main(["--root", str(tree), "render", "one"])
    with pytest.raises(BundleError, match=r"^policies/x/x.yaml:"):
        BUNDLE.main(["--root", str(tree), "diff", "HEAD"])
    assert BUNDLE.main(["--root", str(tree), "validate"]) == 1
    assert f"policies/x/x.yaml:{line}: ${{to}}: in ConfigMap x" in capsys.readouterr().out
