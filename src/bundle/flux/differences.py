"""What a change of the tree changes in a cluster: rendered at a revision and now, compared object by object."""

import difflib
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bpfleet.errors import BundleError, ToolError
from bundle import tools
from bundle.flux import clusters, rendering
from bundle.flux.rendering import Object
from bundle.flux.sources import BOOTSTRAPPED, DIRECTORIES, HASH, Sources

Key = tuple[str, str, str, str]
"""Step, kind, namespace and name; the name of what a generator made without its hash, so that an edit is an edit. The
steps themselves, and variables, are of the step that Flux's bootstrap makes."""


def differences(root: Path, base: str, names: list[str]) -> Iterator[str]:
    """Lines to print. Raises BundleError for a revision that is none, and for a tree that cannot be rendered."""
    with tempfile.TemporaryDirectory() as directory:
        before = Path(directory)
        _check_out(root, base, before)
        for name in names or sorted({*clusters.names(root), *_names(before)}):
            if name not in _names(before):
                clusters.load(root, name)  # says that it is nowhere
            try:
                old = _rendered(before, name)
            except BundleError as error:
                raise BundleError(f"{base} cannot be rendered: {error}") from error
            yield from _compared(name, old, _rendered(root, name))


def _check_out(root: Path, base: str, into: Path) -> None:
    """The tree's directories at a revision, those that it had."""
    if base.startswith("-"):
        raise BundleError(f"{base}: no revision")
    archive = into / "tree.tar"
    try:
        there = tools.run("git", "-C", root, "ls-tree", "--name-only", base, cwd=root).split()
        had = [each for each in DIRECTORIES if each in there]
        if had:
            tools.run("git", "-C", root, "archive", f"--output={archive}", base, "--", *had)
    except ToolError as error:
        raise BundleError(f"{base}: {error}") from error
    if had:
        with tarfile.open(archive) as tar:
            tar.extractall(into, filter="data")


def _names(root: Path) -> list[str]:
    return clusters.names(root) if (root / "clusters").is_dir() else []


def _rendered(root: Path, name: str) -> Mapping[Key, str]:
    if name not in _names(root):
        return {}
    cluster = clusters.load(root, name)
    rendered = rendering.render(Sources(root), cluster)
    if rendered.complaints:
        raise BundleError("\n".join(map(str, rendered.complaints)))
    everything = {BOOTSTRAPPED: [each.value for each in cluster.own], **rendered.objects}
    return {_key(step, each): rendering.dump([each]) for step, objects in everything.items() for each in objects}


def _key(step: str, value: Object) -> Key:
    metadata = value.get("metadata") or {}
    name, kind = str(metadata.get("name", "")), str(value.get("kind"))
    return step, kind, str(metadata.get("namespace", "")), HASH.sub("", name) if kind == "ConfigMap" else name


def _compared(cluster: str, old: Mapping[Key, str], new: Mapping[Key, str]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        was, now = old.get(key, ""), new.get(key, "")
        if was == now:
            continue
        step, kind, namespace, name = key
        sign = "+" if not was else "-" if not now else "~"
        yield f"{sign} {cluster} {step}: {kind} {f'{namespace}/' if namespace else ''}{name}"
        if was and now:
            lines = difflib.unified_diff(was.splitlines(), now.splitlines(), lineterm="", n=2)
            yield from (f"    {line}" for line in list(lines)[2:])
