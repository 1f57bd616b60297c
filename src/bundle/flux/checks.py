"""What no schema says: rules of this tree. Each stands for a mistake that shows only in the cluster, or never."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bpfleet.documents import Keys
from bundle.flux.rendering import Object
from bundle.flux.shapes import a_map

Found = Iterator[tuple[Object, Keys, str]]
"""The object, the way to the place in it, and what is wrong."""

SELECTORS = ("rule", "serviceMonitor", "podMonitor", "probe", "scrapeConfig")
"""What a Prometheus selects. Its field is NAMESelector, the chart's switch NAMESelectorNilUsesHelmValues."""

CONTROL_PLANE = ("kubeEtcd", "kubeControllerManager", "kubeScheduler", "kubeProxy")
"""Listen on a kind node's loopback only: their targets would be down for ever."""

AGENT = "bpfleet-agent"
"""The monitor's name, or what it selects."""

MOVING = re.compile(r"(^|[:@])(latest|main|master|edge|nightly)$")

CIPHERTEXT = "ENC["
"""How each value begins that SOPS has encrypted."""

EXACT = re.compile(r"^v?\d+\.\d+\.\d+([-+][\w.-]+)?$")


def objects(rendered: Iterable[Object]) -> Found:
    """Of each object by itself."""
    for value in rendered:
        for check in EACH.get(str(value.get("kind")), ()):
            for keys, message in check(value):
                yield value, keys, message
        for keys, image, policy in _images(value):
            if message := unpinned(image, policy):
                yield value, keys, message


def _step(value: Object) -> Iterator[tuple[Keys, str]]:
    spec = value.get("spec") or {}
    if not str(value.get("apiVersion")).startswith("kustomize.toolkit.fluxcd.io/"):
        return
    for key, wanted in (("wait", True), ("prune", True), ("timeout", "10m"), ("retryInterval", "2m")):
        if spec.get(key) != wanted:
            yield ("spec", key), f"spec.{key}: has to be {_said(wanted)}, so that the next step starts on firm ground"
    yield from _expressions(spec)


def _expressions(spec: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    for index, each in enumerate(spec.get("healthCheckExprs") or ()):
        for field in ("current", "failed", "inProgress"):
            if re.search(r"conditions\.all\(", str(each.get(field, ""))):
                keys = ("spec", "healthCheckExprs", index, field)
                yield keys, "all() is true of a list that is still empty: ask with exists()"


def _release(value: Object) -> Iterator[tuple[Keys, str]]:
    spec = value.get("spec") or {}
    yield from _expressions(spec)
    if (spec.get("driftDetection") or {}).get("mode") != "enabled":
        yield (
            ("spec", "driftDetection"),
            "spec.driftDetection.mode: has to be enabled: what is edited by hand is undone",
        )
    if "chartRef" in spec:
        for action in ("install", "upgrade"):
            if (spec.get(action) or {}).get("crds") != "CreateReplace":
                way = ("spec", action, "crds")
                yield way, f"spec.{action}.crds: has to be CreateReplace: by default an upgrade leaves old ones behind"
    chart = (spec.get("chart") or {}).get("spec") or {}
    kind = (chart.get("sourceRef") or {}).get("kind")
    at = ("spec", "chart", "spec")
    if kind == "GitRepository" and chart.get("reconcileStrategy") != "Revision":
        message = "reconcileStrategy: has to be Revision: by version alone an edit of a template is not rolled out"
        yield (*at, "reconcileStrategy"), message
    if kind == "HelmRepository" and not EXACT.match(str(chart.get("version", ""))):
        yield (*at, "version"), f"version {chart.get('version')}: has to be one exact version"


def _artifact(value: Object) -> Iterator[tuple[Keys, str]]:
    ref = (value.get("spec") or {}).get("ref") or {}
    if "digest" not in ref and not EXACT.match(str(ref.get("tag", ""))):
        said = ref.get("tag") or ref.get("semver") or "nothing"
        yield ("spec", "ref"), f"spec.ref: {said} is no exact version: write a tag like 1.2.3, or a digest"


def _monitor(value: Object) -> Iterator[tuple[Keys, str]]:
    """Without honorLabels `namespace` becomes exported_namespace, and every SLO is about the agent's own."""
    spec = value.get("spec") or {}
    selected = ((spec.get("selector") or {}).get("matchLabels") or {}).values()
    if AGENT not in (*selected, (value.get("metadata") or {}).get("name")):
        return
    key = "podMetricsEndpoints" if value.get("kind") == "PodMonitor" else "endpoints"
    for index, each in enumerate(spec.get(key) or ()):
        if each.get("honorLabels") is not True:
            keys = ("spec", key, index, "honorLabels")
            yield (
                keys,
                "honorLabels: has to be true: the labels namespace, pod and container are the watched workload's",
            )


def _prometheus(value: Object) -> Iterator[tuple[Keys, str]]:
    spec = value.get("spec") or {}
    if spec.get("shards", 1) != 1:
        yield (
            ("spec", "shards"),
            "spec.shards: has to be 1: a rule over a namespace needs all of its series in one place",
        )
    for each in SELECTORS:
        for key in (f"{each}Selector", f"{each}NamespaceSelector"):
            if spec.get(key) != {}:
                yield (
                    ("spec", key),
                    f"spec.{key}: has to be {{}}: what is not selected is not loaded, and nothing says so",
                )


def _alertmanager(value: Object) -> Iterator[tuple[Keys, str]]:
    if not ((value.get("spec") or {}).get("alertmanagerConfiguration") or {}).get("name"):
        keys = ("spec", "alertmanagerConfiguration")
        yield keys, "spec.alertmanagerConfiguration.name: has to name the one global AlertmanagerConfig"


def _rules(value: Object) -> Iterator[tuple[Keys, str]]:
    metadata = value.get("metadata") or {}
    switch = "kustomize.toolkit.fluxcd.io/substitute"
    if (metadata.get("annotations") or {}).get(switch) != "disabled":
        keys = ("metadata", "annotations", switch)
        yield keys, f"has to carry the annotation {switch}: disabled: a ${{...}} of PromQL or a template fails the step"


def _policy(value: Object) -> Iterator[tuple[Keys, str]]:
    if (value.get("spec") or {}).get("failurePolicy") != "Fail":
        yield (
            ("spec", "failurePolicy"),
            "spec.failurePolicy: has to be Fail: a policy that cannot be asked allows nothing",
        )


def _secret(value: Object) -> Iterator[tuple[Keys, str]]:
    """As a file in Git, or as kustomize and charts make it."""
    texts = [each for key in ("data", "stringData") for each in a_map(value.get(key)).values()]
    # SOPS leaves what is empty as it is.
    if not a_map(value.get("sops")) or any(each and not str(each).startswith(CIPHERTEXT) for each in texts):
        yield (), "a Secret that is not encrypted: `sops --encrypt` it (docs/gitops.md)"


EACH: Mapping[str, Sequence[Callable[[Object], Iterator[tuple[Keys, str]]]]] = {
    "Alertmanager": (_alertmanager,),
    "HelmRelease": (_release,),
    "Kustomization": (_step,),
    "OCIRepository": (_artifact,),
    "PodMonitor": (_monitor,),
    "Prometheus": (_prometheus,),
    "PrometheusRule": (_rules,),
    "Secret": (_secret,),
    "ServiceMonitor": (_monitor,),
    "ValidatingAdmissionPolicy": (_policy,),
}


def stack(values: Mapping[str, Any], cluster: str) -> Iterator[tuple[Keys, str]]:
    """Of the merged values of kube-prometheus-stack."""

    def get(*keys: str) -> Any:
        value: Any = values
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def demand(wanted: Any, reason: str, *keys: str) -> Iterator[tuple[Keys, str]]:
        if get(*keys) != wanted:
            yield keys, f"{'.'.join(keys)}: has to be {_said(wanted)}: {reason}"

    spec = ("prometheus", "prometheusSpec")
    for each in SELECTORS:
        switch = f"{each}SelectorNilUsesHelmValues"
        yield from demand(False, "with true, the default, nothing of ours is loaded", *spec, switch)
    yield from demand(1, "a rule over a namespace needs all of its series in one place", *spec, "shards")
    webhook = ("prometheusOperator", "admissionWebhooks", "failurePolicy")
    yield from demand("Fail", "a rule that cannot be parsed is refused, so that its last good version stays", *webhook)
    name = ("alertmanager", "alertmanagerSpec", "alertmanagerConfiguration", "name")
    yield from demand("bpfleet", "the one global configuration; by namespace it would match that namespace only", *name)
    if cluster == "kind":
        for key in CONTROL_PLANE:
            yield from demand(
                False, "it is not to be scraped on kind, and TargetDown would fire for ever", key, "enabled"
            )


def unpinned(image: str, policy: str = "") -> str:
    """Why it is not known which image runs; empty where it is. policy: when it is pulled. Whoever follows main pulls it
    always, or some nodes would stay behind."""
    if "@sha256:" in image:
        return ""
    name = image.rpartition("/")[2]
    if ":" not in name:
        return f"image {image}: has neither a tag nor a digest"
    return f"image {image}: its tag moves" if MOVING.search(name) and policy != "Always" else ""


def _images(value: Object) -> Iterator[tuple[Keys, str, str]]:
    spec: Any = value.get("spec")
    way: tuple[str, ...] = ("spec",)
    if value.get("kind") in ("Prometheus", "Alertmanager") and isinstance(spec, dict) and spec.get("image"):
        yield ("spec", "image"), str(spec["image"]), ""
    if value.get("kind") == "CronJob" and isinstance(spec, dict):
        spec, way = (spec.get("jobTemplate") or {}).get("spec"), ("spec", "jobTemplate", "spec")
    if value.get("kind") != "Pod" and isinstance(spec, dict):
        template = spec.get("template")
        spec, way = (template or {}).get("spec") if isinstance(template, dict) else None, (*way, "template", "spec")
    for key in ("initContainers", "containers"):
        for index, each in enumerate((spec or {}).get(key) or ()):
            yield (*way, key, index, "image"), str(each.get("image", "")), str(each.get("imagePullPolicy", ""))


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
