"""`bpfleet slo explain`: what is promised for one namespace, why, and from what on it is told."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet import documents
from bpfleet.errors import BundleError
from bundle import tools
from bundle.slo import generating
from bundle.slo.objectives import BUDGET, LABEL, Objective, Objectives, seconds

GOOD = {
    "availability": "requests that are answered, and not with 5xx; an attempt to connect to it that fails is one, too",
    "latency": "answers without an error within {seconds:g} s",
    "tcp": "segments sent to it once, and connections to it that come about",
}

MINUTES_30D = 30 * 24 * 60


@dataclass(frozen=True)
class Chosen:
    """why: for people."""

    tier: str
    why: str


def by_word(objectives: Objectives, tier: str) -> Chosen:
    if tier not in objectives.tiers:
        raise BundleError(f"--tier {tier}: no such tier; there are {', '.join(objectives.tiers)}")
    return Chosen(tier, "asked for by --tier")


def by_file(objectives: Objectives, namespace: str, file: Path) -> Chosen:
    """file: Namespace objects, or a List of them (`kubectl get namespaces -o yaml`)."""
    for document in documents.read(file):
        if (found := _namespace(document.value, namespace)) is not None:
            return _by_labels(objectives, found, str(file))
    raise BundleError(f"{file}: no Namespace {namespace}")


def by_cluster(objectives: Objectives, namespace: str, kubeconfig: Path) -> Chosen:
    """Raises ToolError with kubectl's words."""
    if not kubeconfig.is_file():
        raise BundleError(f"{kubeconfig}: no such file")
    said = tools.run("kubectl", "--kubeconfig", kubeconfig, "get", "namespace", "--output=yaml", "--", namespace)
    (document,) = documents.parse(said, Path("kubectl"))
    return _by_labels(objectives, _namespace(document.value, namespace) or {}, "the cluster")


def by_default(objectives: Objectives) -> Chosen:
    why = f"the default of all namespaces without the label {LABEL}; nothing was asked about this one's labels"
    return Chosen(objectives.default_tier, why)


def _namespace(value: Any, name: str) -> Mapping[str, Any] | None:
    """Its labels."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("items"), list):
        return next((found for each in value["items"] if (found := _namespace(each, name)) is not None), None)
    metadata = value.get("metadata")
    if value.get("kind") != "Namespace" or not isinstance(metadata, dict) or metadata.get("name") != name:
        return None
    labels = metadata.get("labels")
    return labels if isinstance(labels, dict) else {}


def _by_labels(objectives: Objectives, labels: Mapping[str, Any], where: str) -> Chosen:
    tier = str(labels.get(LABEL, ""))
    if tier in objectives.tiers:
        return Chosen(tier, f"its label {LABEL} says so ({where})")
    known = ", ".join(objectives.tiers)
    why = f"its label {LABEL}: {tier} is no tier; there are {known}" if tier else f"it has no label {LABEL}"
    return Chosen(objectives.default_tier, f"the default: {why} ({where})")


def lines(objectives: Objectives, namespace: str, chosen: Chosen, profile: str) -> Iterator[str]:
    times = objectives.windows[profile]
    yield f"namespace {namespace}: tier {chosen.tier}, {chosen.why}"
    for sli, objective in objectives.tiers[chosen.tier].items():
        yield ""
        yield from _sli(namespace, sli, objective, objectives, times)
    yield ""
    yield f"SloIndicatorAbsent (warning): it has pods, had requests, and nothing is measured for {times['absent_for']}"


def _sli(
    namespace: str, sli: str, objective: Objective, objectives: Objectives, times: Mapping[str, str]
) -> Iterator[str]:
    allowed = 1 - objective.ratio
    least = f"at least {objectives.minimum_events} events and {objectives.minimum_errors} errors"
    yield f"{sli}: {objective.ratio * 100:.6g} % of {GOOD[sli].format(seconds=objective.seconds)}"
    minutes = f"{allowed * MINUTES_30D:.6g} minutes of total failure in 30 days"
    yield f"  budget      {minutes}, or {allowed * 100:.6g} % of all events"
    for name, pairs, severity, lasts in (
        ("SloErrorBudgetBurnPage", generating.PAGES, "critical", times["page_for"]),
        ("SloErrorBudgetBurnTicket", generating.TICKETS, "warning", times["ticket_for"]),
    ):
        for burn, long, short in pairs:
            yield (
                f"  {severity:<11} {name}: more than {burn * allowed * 100:.4g} % errors ({burn:g} times too fast) "
                f"over {times[long]} and {times[short]}, for {lasts}, with {least} in {times[long]}"
            )
    selector = f'{{namespace="{namespace}",sli="{sli}"}}'
    yield f"  series      slo:sli_error:ratio_rate5m{selector} (30m, 1h, 2h, 6h, 1d, 3d)"
    yield f"              slo:error_budget_burn:rate5m{selector}"
    yield f"              slo:error_budget_remaining:ratio{selector}, of {_days(times[BUDGET])}"


def _days(duration: str) -> str:
    days = seconds(duration) / 86400
    return f"{days:g} days" if days >= 1 else f"the last {duration}"
