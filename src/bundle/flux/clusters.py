"""A cluster's steps: Flux's Kustomizations in clusters/NAME, in the order in which Flux would apply them."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet.documents import Document, read
from bpfleet.errors import BundleError
from bundle.flux.complaints import Complaint
from bundle.flux.shapes import a_map, maps
from bundle.flux.sources import BOOTSTRAPPED, from_error, manifests

GROUP = "kustomize.toolkit.fluxcd.io/"

SOURCES = "source.toolkit.fluxcd.io/"

REPRODUCED = frozenset(
    "decryption deletionPolicy dependsOn force healthCheckExprs healthChecks interval path postBuild prune "
    "retryInterval serviceAccountName sourceRef suspend timeout wait".split()
)
"""Fields of a Kustomization's spec that do not change what is rendered, or that `rendering` follows."""


@dataclass(frozen=True)
class Step:
    """One Kustomization. path: relative to the root."""

    document: Document
    name: str
    path: Path
    after: tuple[str, ...]
    variables: Mapping[str, str]


@dataclass(frozen=True)
class Cluster:
    """steps: in the order of application. own: what stands in clusters/NAME itself, applied as it is."""

    name: str
    steps: Sequence[Step]
    own: Sequence[Document]
    complaints: Sequence[Complaint]


def names(root: Path) -> list[str]:
    return sorted(each.name for each in (root / "clusters").iterdir() if each.is_dir())


def load(root: Path, name: str) -> Cluster:
    """Raises BundleError for a cluster that is not there; what is wrong in one is told in `complaints`."""
    directory = root / "clusters" / name
    if name not in names(root):
        close = difflib.get_close_matches(name, names(root), n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names(root))}"
        raise BundleError(f"no cluster {name!r} in clusters/; {hint}")
    complaints: list[Complaint] = []
    documents = list(_documents(root, directory, complaints))
    complaints += _twice(root, documents)
    steps = [
        step
        for each in documents
        if each.value.get("kind") == "Kustomization" and str(each.value.get("apiVersion")).startswith(GROUP)
        for step in _step(root, each, documents, complaints)
    ]
    ordered = list(_ordered(root, steps, complaints))
    return Cluster(name, ordered, documents, complaints)


def _documents(root: Path, directory: Path, complaints: list[Complaint]) -> Iterator[Document]:
    for file in manifests(directory):
        if BOOTSTRAPPED in file.relative_to(directory).parts[:-1]:
            continue
        try:
            for document in read(file):
                if isinstance(document.value, dict):
                    yield document
                else:
                    complaints.append(Complaint(file.relative_to(root), document.line(), "no Kubernetes object"))
        except BundleError as error:
            complaints.append(from_error(error, root, file))


def _twice(root: Path, documents: Sequence[Document]) -> Iterator[Complaint]:
    """Flux builds the directory as one: two objects of one name fail all of it."""
    first: dict[tuple[str, str], Document] = {}
    for each in documents:
        key = str(each.value.get("kind")), _name(each.value)
        if first.setdefault(key, each) is not each:
            message = f"{' '.join(key)} stands in {first[key].file.name}, too"
            yield Complaint(each.file.relative_to(root), each.line(("metadata", "name")), message)


def _step(root: Path, document: Document, documents: Sequence[Document], complaints: list[Complaint]) -> Iterator[Step]:
    def complain(keys: Sequence[str | int], message: str) -> None:
        complaints.append(Complaint(document.file.relative_to(root), document.line(keys), message))

    spec, name = document.value.get("spec"), _name(document.value)
    if not isinstance(spec, dict) or not isinstance(spec.get("path"), str):
        complain(("spec",), f"the Kustomization {name} has no path")
        return
    for key in sorted({str(each) for each in spec} - REPRODUCED):
        complain(("spec", key), f"spec.{key}: rendering does not follow it; write a kustomization.yaml that does it")
    source = a_map(spec.get("sourceRef")).get("name")
    sources = {BOOTSTRAPPED, *(_name(each.value) for each in documents if _is_source(each.value))}
    if source is not None and source not in sources:
        complain(("spec", "sourceRef", "name"), f"no source {source} here; there are {', '.join(sorted(sources))}")
    path = Path(spec["path"])
    if path.is_absolute() or ".." in path.parts or not (root / path / "kustomization.yaml").is_file():
        complain(("spec", "path"), f"{path}: no kustomization.yaml there")
        return
    after = tuple(str(each.get("name")) for each in maps(spec.get("dependsOn")))
    yield Step(document, name, path, after, _variables(spec, documents, complain))


def _variables(spec: Mapping[str, Any], documents: Iterable[Document], complain: Any) -> dict[str, str]:
    """As kustomize-controller takes them: those of ConfigMaps in turn, then the ones that stand here."""
    build = a_map(spec.get("postBuild"))
    found: dict[str, str] = {}
    for index, each in enumerate(maps(build.get("substituteFrom"))):
        if each.get("kind") == "Secret":
            continue  # nobody but the cluster knows it; what it should have given shows as not set
        named = [
            document.value
            for document in documents
            if document.value.get("kind") == "ConfigMap" and _name(document.value) == each.get("name")
        ]
        if not named and not each.get("optional"):
            complain(
                ("spec", "postBuild", "substituteFrom", index), f"no ConfigMap {each.get('name')} in this directory"
            )
        for one in named:
            found.update({key: str(value).replace("\n", "") for key, value in a_map(one.get("data")).items()})
    found.update({key: str(value).replace("\n", "") for key, value in a_map(build.get("substitute")).items()})
    return found


def _ordered(root: Path, steps: Sequence[Step], complaints: list[Complaint]) -> Iterator[Step]:
    """Each after what it depends on; those of a cycle come last, and are told."""

    def complain(step: Step, message: str) -> None:
        line = step.document.line(("spec", "dependsOn"))
        complaints.append(Complaint(step.document.file.relative_to(root), line, message))

    known = {each.name for each in steps}
    for step in steps:
        for name in step.after:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(known))}"
                complain(step, f"dependsOn: no Kustomization {name} in this cluster{hint}")
    done: set[str] = set()
    waiting = list(steps)
    while waiting:
        ready = [each for each in waiting if not (set(each.after) & known) - done]
        if not ready:
            complain(waiting[0], f"dependsOn: {', '.join(each.name for each in waiting)} wait for one another")
            ready = waiting
        yield from ready
        done |= {each.name for each in ready}
        waiting = [each for each in waiting if each not in ready]


def _is_source(value: Mapping[str, Any]) -> bool:
    return str(value.get("apiVersion")).startswith(SOURCES)


def _name(value: Mapping[str, Any]) -> str:
    metadata = value.get("metadata")
    return str(metadata.get("name")) if isinstance(metadata, dict) else "without a name"
