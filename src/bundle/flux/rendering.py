"""What Flux would apply: kustomize, then variables, then our own charts through Helm."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bpfleet.documents import VALUE
from bpfleet.errors import BundleError, ToolError
from bundle import tools
from bundle.flux import schemas
from bundle.flux.clusters import Cluster, Step
from bundle.flux.complaints import Complaint
from bundle.flux.shapes import a_map, metadata
from bundle.flux.sources import Sources
from bundle.flux.substitution import SubstitutionError, substitute

SWITCH = "kustomize.toolkit.fluxcd.io/substitute"
"""With `disabled`, as a label or an annotation, no variable is put in."""

API_VERSIONS = (
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
)
"""What charts find in a cluster that has come as far as the apps."""

KEPT = 4096
"""Parsed objects that are remembered: clusters share most of theirs."""

Object = Mapping[str, Any]


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen when it runs
    """Of what kustomize and Helm wrote, where no line matters: ten times as quick, with documents.Loader's texts."""


for _tag in (VALUE, "tag:yaml.org,2002:timestamp"):
    Loader.add_constructor(_tag, lambda loader, node: str(node.value))


@dataclass
class Rendered:
    """objects: by step. releases: of what a chart made, its HelmRelease, by the object's id. complaints: what cannot be
    rendered."""

    objects: dict[str, list[Object]] = field(default_factory=dict)
    releases: dict[int, Object] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)

    def all(self) -> Iterator[Object]:
        for each in self.objects.values():
            yield from each


def render(sources: Sources, cluster: Cluster, overrides: Mapping[str, str] | None = None) -> Rendered:
    """overrides: variables that win over the cluster's."""
    rendered = Rendered(complaints=list(cluster.complaints))
    for step in cluster.steps:
        variables = {**step.variables, **(overrides or {})}
        objects = list(_step(sources, step, variables, rendered.complaints))
        rendered.objects[step.name] = list(objects)
        for release in objects:
            made = _release(sources, release, objects, rendered.complaints)
            rendered.objects[step.name] += made
            rendered.releases.update({id(each): release for each in made})
    return rendered


def build(root: Path, path: Path) -> str:
    """With files from outside of the directory, as kustomize-controller does it."""
    return tools.run("kubectl", "kustomize", "--load-restrictor=LoadRestrictionsNone", root / path)


def _step(sources: Sources, step: Step, variables: Mapping[str, str], complaints: list[Complaint]) -> Iterator[Object]:
    try:
        text = build(sources.root, step.path)
    except ToolError as error:
        complaints.append(_kustomize(sources.root, step, error))
        return
    for one in re.split(r"^---\n", text, flags=re.MULTILINE):
        value = _parse(one)
        if not _switched_off(value):
            try:
                value = _parse(substitute(one, variables))
            except SubstitutionError as error:
                name = metadata(value, "name")
                message = f"{error.text}: in {value.get('kind')} {name} of the step {step.name}: {error}"
                complaints.append(sources.text(value, error.text, message))
                continue
            except yaml.YAMLError as error:
                complaints.append(sources.complaint(value, (), f"no YAML with its variables put in: {error}"))
                continue
        yield value


@lru_cache(KEPT)
def _parse(text: str) -> Object:
    value = yaml.load(text, Loader)  # noqa: S506  # a safe one
    return value if isinstance(value, dict) else {}


def _switched_off(value: Object) -> bool:
    said = a_map(value.get("metadata"))
    return any(a_map(said.get(each)).get(SWITCH) == "disabled" for each in ("labels", "annotations"))


def _kustomize(root: Path, step: Step, error: ToolError) -> Complaint:
    """At the file that kustomize names, if it names one of ours."""
    text = str(error)
    for name in re.findall(r"[\w./-]+\.ya?ml", text):
        file = next((each for each in (Path(name), root / step.path / name) if each.is_file()), None)
        if file is not None and file.resolve().is_relative_to(root):
            line = re.search(r"line (\d+)", text)
            return Complaint(file.resolve().relative_to(root), int(line[1]) if line else 1, text)
    return Complaint(step.path / "kustomization.yaml", 1, text)


def _release(sources: Sources, value: Object, beside: Sequence[Object], complaints: list[Complaint]) -> list[Object]:
    """What Helm makes of a chart in this tree; nothing for charts from elsewhere."""
    if value.get("kind") != "HelmRelease" or any(schemas.wrong(value)):
        return []
    spec = value["spec"]
    chart = (spec.get("chart") or {}).get("spec") or {}
    if not str(chart.get("chart", "")).startswith("./"):
        return []
    directory = (sources.root / chart["chart"]).resolve()
    if not (directory / "Chart.yaml").is_file():
        complaints.append(sources.complaint(value, ("spec", "chart", "spec", "chart"), f"no chart in {chart['chart']}"))
        return []
    try:
        text = _template(value, directory, values(sources, value, beside, complaints))
        return [each for each in map(_parse, re.split(r"^---\n", text, flags=re.MULTILINE)) if each]
    except (ToolError, yaml.YAMLError) as error:
        complaints.append(sources.complaint(value, ("spec", "values"), f"{chart['chart']}: {error}"))
        return []


def values(
    sources: Sources, release: Object, beside: Iterable[Object], complaints: list[Complaint]
) -> list[tuple[str, Any]]:
    """A release's values in order, the later wins: each with the name of the ConfigMap that holds it, or none."""
    found: list[tuple[str, Any]] = []
    maps = {metadata(each, "name"): each for each in beside if each.get("kind") == "ConfigMap"}
    for index, each in enumerate(release["spec"].get("valuesFrom") or ()):
        where = ("spec", "valuesFrom", index)
        if each.get("kind") != "ConfigMap" or each.get("targetPath"):
            message = "values come from ConfigMaps that a Component generates: what a Secret holds could not be checked"
            complaints.append(sources.complaint(release, where, message))
        elif each["name"] not in maps:
            if not each.get("optional"):
                complaints.append(sources.complaint(release, where, f"no ConfigMap {each['name']} in this step"))
        else:
            text = a_map(maps[each["name"]].get("data")).get(each.get("valuesKey", "values.yaml"), "")
            try:
                found.append((each["name"], yaml.load(str(text), Loader) or {}))  # noqa: S506  # a safe one
            except yaml.YAMLError as error:
                complaints.append(sources.complaint(release, where, f"{each['name']}: not valid YAML: {error}"))
    return [*found, ("", release["spec"].get("values") or {})]


def merged(parts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """As Helm does it: maps are merged, all else is replaced."""
    result: dict[str, Any] = {}
    for _, part in parts:
        result = _merge(result, part if isinstance(part, dict) else {})
    return result


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        result[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _template(release: Object, chart: Path, parts: Iterable[tuple[str, Any]]) -> str:
    spec = release["spec"]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(merged(parts), file)
        file.flush()
        name = spec.get("releaseName") or metadata(release, "name")
        namespace = spec.get("targetNamespace") or metadata(release, "namespace") or "default"
        versions = [f"--api-versions={each}" for each in API_VERSIONS]
        return tools.run(
            "helm", "template", name, chart, f"--namespace={namespace}", f"--values={file.name}", *versions
        )


def dump(objects: Iterable[Object]) -> str:
    """As one stream. Raises BundleError for what cannot be written as YAML."""
    try:
        return "".join(f"---\n{yaml.dump(each, Dumper=_Dumper, sort_keys=False, width=120)}" for each in objects)
    except yaml.YAMLError as error:
        raise BundleError(str(error)) from error


class _Dumper(yaml.SafeDumper):
    """Texts of many lines as they are, so that a person can read a rule or a dashboard."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
