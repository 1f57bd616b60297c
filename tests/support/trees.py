"""The committed tree, rendered once a session; and copies of it in which something is broken."""

import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bundle.flux import clusters, rendering
from bundle.flux.sources import DIRECTORIES, Sources

ROOT = Path(__file__).resolve().parents[2]

CLUSTERS = ("kind", "operator", "production", "staging")


@cache
def sources() -> Sources:
    return Sources(ROOT)


@cache
def rendered(cluster: str, **variables: str) -> rendering.Rendered:
    return rendering.render(sources(), clusters.load(ROOT, cluster), variables)


def copy(root: Path) -> Path:
    for each in DIRECTORIES:
        shutil.copytree(ROOT / each, root / each)
    return root


def edit(root: Path, file: str, old: str, new: str) -> int:
    """In a copy, the first `old`. Gives the line at which it now stands."""
    text = (root / file).read_text("utf-8")
    assert old in text, f"{file} no longer has {old!r}: the test breaks what is not there"
    begin = text.index(old)
    (root / file).write_text(text.replace(old, new, 1), "utf-8")
    return text[:begin].count("\n") + 1


def one(rendered: rendering.Rendered, kind: str, name: str) -> Mapping[str, Any]:
    (found,) = (each for each in rendered.all() if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def stack_values(rendered: rendering.Rendered) -> dict[str, Any]:
    """Of kube-prometheus-stack, as Helm would merge them."""
    release = one(rendered, "HelmRelease", "kube-prometheus-stack")
    complaints: list[Any] = []
    parts = rendering.values(sources(), release, rendered.objects["controllers"], complaints)
    assert not complaints
    return rendering.merged(parts)
