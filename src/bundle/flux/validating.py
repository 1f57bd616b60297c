"""All that can be said of the tree without a cluster: one complaint a mistake, however many clusters share it."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bpfleet.documents import Document, Keys
from bundle.flux import checks, clusters, keys, rendering, schemas
from bundle.flux.clusters import Cluster
from bundle.flux.complaints import Complaint
from bundle.flux.rendering import Object, Rendered
from bundle.flux.shapes import a_map, metadata
from bundle.flux.sources import Sources, depth

NOT_CHECKED = "rules in CEL (x-kubernetes-validations): the API server knows them, and tests/cluster asks it"

OPERATED = "monitoring.coreos.com/v1"
HANDED_ON = (("prometheus", "prometheusSpec", "Prometheus"), ("alertmanager", "alertmanagerSpec", "Alertmanager"))
"""Values of the stack that are an object's spec, and its kind."""

OTHERWISE = frozenset(
    ("additionalAlertManagerConfigs", "additionalAlertRelabelConfigs", "additionalScrapeConfigs", "image")
)
"""Fields of those that a value of the same name makes, in a form of the chart's own."""

EVERYWHERE = frozenset(("default", "flux-system", "kube-system"))
"""Namespaces that a cluster has before its steps."""


def validate(root: Path, names: Iterable[str] = ()) -> list[Complaint]:
    """names: of clusters; all of them where none is given."""
    sources = Sources(root)
    found = set(_files(sources))
    known = keys.known()
    for name in list(names) or clusters.names(root):
        cluster = clusters.load(root, name)
        rendered = rendering.render(sources, cluster)
        found |= set(rendered.complaints)
        found |= set(_own(sources, cluster.own))
        found |= set(_objects(sources, rendered.all(), rendered.releases))
        found |= set(_stack(sources, rendered, name, known))
        found |= set(_references(sources, rendered))
        if not rendered.complaints:  # or what could not be rendered would be missed by all that is in it
            found |= set(_homeless(sources, cluster, rendered))
    return sorted(found | set(sources.complaints))


def _files(sources: Sources) -> Iterator[Complaint]:
    """Of every file, whether anything uses it or not: a Secret in Git is out when it is pushed."""
    for document in sources.documents:
        value, file = document.value, document.file.relative_to(sources.root)
        if not isinstance(value, dict):
            continue
        if value.get("kind") == "Secret":
            for _, way, message in checks.objects([value]):
                yield Complaint(file, document.line(way), message)
        if "secretGenerator" in value:
            yield Complaint(file, document.line(("secretGenerator",)), "secretGenerator: makes a Secret of plain text")


def _objects(sources: Sources, objects: Iterable[Object], releases: Mapping[int, Object]) -> Iterator[Complaint]:
    """releases: of what a chart made. A person changes that by the release's values, so the complaint stands there."""

    def complaint(value: Object, way: Keys, message: str) -> Complaint:
        if id(value) not in releases:
            return sources.complaint(value, way, message)
        made = f"{value.get('kind')} {metadata(value, 'name')} of the chart: {message}"
        return sources.complaint(releases[id(value)], ("spec", "values"), made)

    for value in objects:
        for way, message in wrong(value):
            yield complaint(value, way, message)


def _own(sources: Sources, documents: Iterable[Document]) -> Iterator[Complaint]:
    """Of a cluster's own directory. Other clusters have objects of the same names: the file is the document's."""
    for document in documents:
        for way, message in wrong(document.value):
            yield Complaint(document.file.relative_to(sources.root), document.line(way), message)


def wrong(value: Object) -> Iterator[tuple[Keys, str]]:
    """What its schema says; only where that is content are things where the checks look for them."""
    found = [] if "sops" in value else list(schemas.wrong(value))
    yield from found or ((way, message) for _, way, message in checks.objects([value]))


def _right(objects: Iterable[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each.get("kind") in kinds and not any(schemas.wrong(each))]


def _stack(sources: Sources, rendered: Rendered, cluster: str, known: keys.Known) -> Iterator[Complaint]:
    """The values of kube-prometheus-stack, each at the line of the file that says it."""
    for objects in rendered.objects.values():
        for release in _right(objects, "HelmRelease"):
            artifact = _artifact(release, objects)
            if artifact is None or not str(artifact["spec"]["url"]).endswith(f"/{keys.CHART}"):
                continue
            if artifact["spec"].get("ref", {}).get("tag") != known.version:
                message = (
                    f"the list of values is of {keys.CHART} {known.version}: renew src/bundle/schemas with the tag"
                )
                yield sources.complaint(artifact, ("spec", "ref", "tag"), message)
            yield from values_complaints(sources, release, objects, cluster, known)


def values_complaints(
    sources: Sources, release: Object, objects: list[Object], cluster: str, known: keys.Known
) -> Iterator[Complaint]:
    parts = rendering.values(sources, release, objects, [])
    for name, part in parts:
        for each in known.wrong(part):
            yield _in_values(sources, release, name, each.keys, each.problem)
    merged = rendering.merged(parts)
    for way, message in (*checks.stack(merged, cluster), *_handed_on(merged)):
        name = next((name for name, part in reversed(parts) if depth(part, way) == len(way)), parts[0][0])
        yield _in_values(sources, release, name, way, message)


def _handed_on(values: Object) -> Iterator[tuple[Keys, str]]:
    """What the chart writes into an object of the operator's as it is."""
    for part, spec, kind in HANDED_ON:
        stated = a_map(a_map(values.get(part)).get(spec))
        fields = schemas.fields(OPERATED, kind)
        made = {key: value for key, value in stated.items() if key in fields and key not in OTHERWISE}
        for way, message in schemas.wrong({"apiVersion": OPERATED, "kind": kind, "spec": made}):
            yield (part, spec, *way[1:]), f"{part}.{message.replace('spec', spec, 1)}"


def _in_values(sources: Sources, release: Object, name: str, way: Keys, message: str) -> Complaint:
    """name: of the ConfigMap, or none for what stands in the release."""
    if not name:
        return sources.complaint(release, ("spec", "values", *way), message)
    document = _values_file(sources, name)
    if document is None:
        return sources.complaint(release, ("spec", "valuesFrom"), f"{name}: {message}")
    return Complaint(document.file.relative_to(sources.root), document.line(way), message)


def _values_file(sources: Sources, name: str) -> Document | None:
    """What the generator of the ConfigMap reads."""
    files = sources.generated_from(name)[:1]
    return next((found for found in sources.documents if found.file in files), None)


def _artifact(release: Object, objects: Iterable[Object]) -> Object | None:
    name = (release["spec"].get("chartRef") or {}).get("name")
    return next((each for each in _right(objects, "OCIRepository") if metadata(each, "name") == name), None)


def _homeless(sources: Sources, cluster: Cluster, rendered: Rendered) -> Iterator[Complaint]:
    """Objects whose namespace comes from a step that theirs does not wait for. Flux tries a whole step at once: where
    the namespace is later, nothing of the step is applied."""
    after = {step.name: step.after for step in cluster.steps}
    for name, objects in rendered.objects.items():
        before, more = {name}, {name}
        while more := {each for one in more for each in after.get(one, ())} - before:
            before |= more
        made = {metadata(each, "name") for step in before for each in rendered.objects.get(step, ()) if _is_space(each)}
        for value in objects:
            namespace = metadata(value, "namespace")
            if namespace and id(value) not in rendered.releases and namespace not in made | EVERYWHERE:
                message = f"neither the step {name} nor one that it depends on makes the namespace {namespace}"
                yield sources.complaint(value, ("metadata", "namespace"), message)


def _is_space(value: Object) -> bool:
    return value.get("kind") == "Namespace"


def _references(sources: Sources, rendered: Rendered) -> Iterator[Complaint]:
    """Names that one object uses and another has: across namespaces they do not hold under Flux's lockdown."""
    there = {(each.get("kind"), metadata(each, "namespace"), metadata(each, "name")) for each in rendered.all()}
    for value in _right(rendered.all(), "Alert", "Alertmanager", "HelmRelease"):
        namespace = metadata(value, "namespace")
        for way, reference in _used(value):
            if reference.get("namespace", namespace) != namespace:
                yield sources.complaint(value, way, f"{'.'.join(map(str, way))}: a reference to another namespace")
            elif (reference["kind"], namespace, reference["name"]) not in there:
                yield sources.complaint(value, way, f"no {reference['kind']} {reference['name']} in {namespace}")


def _used(value: Object) -> Iterator[tuple[tuple[str | int, ...], dict[str, str]]]:
    spec = value.get("spec") or {}
    if value.get("kind") == "HelmRelease":
        if "chartRef" in spec:
            yield ("spec", "chartRef"), spec["chartRef"]
        if "chart" in spec:
            yield ("spec", "chart", "spec", "sourceRef"), spec["chart"]["spec"]["sourceRef"]
    if value.get("kind") == "Alert" and "providerRef" in spec:
        yield ("spec", "providerRef"), {"kind": "Provider", **spec["providerRef"]}
    if value.get("kind") == "Alertmanager" and (spec.get("alertmanagerConfiguration") or {}).get("name"):
        reference = {"kind": "AlertmanagerConfig", "name": spec["alertmanagerConfiguration"]["name"]}
        yield ("spec", "alertmanagerConfiguration", "name"), reference
