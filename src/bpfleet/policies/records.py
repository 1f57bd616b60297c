"""An event as the sinks tell it, read back: the facts that a policy decides about."""

import json
from collections.abc import Mapping
from typing import Any, Final

from bpfleet import names
from bpfleet.errors import PolicyError
from bpfleet.events import SECURITY, Attribute
from bpfleet.policies.facts import Facts, Owner

LABEL: Final = "k8s.pod.label."
"""OpenTelemetry's name of a pod's label begins so."""

IMAGE: Final = names.OPENTELEMETRY["image"]

PEER_KIND, PEER_NAMESPACE, PEER_NAME = (
    names.OPENTELEMETRY[each] for each in ("peer_kind", "peer_namespace", "peer_name")
)


def read(text: str, place: str) -> Facts:
    """text: a line of JSON Lines. place: of it, for messages. Raises PolicyError."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PolicyError(f"{place}: not valid JSON: {error}") from error
    if not isinstance(told, dict):
        raise PolicyError(f"{place}: not an object; an event is one, as the sink jsonl writes it")
    name = told.get("event.name")
    if name not in SECURITY:
        raise PolicyError(f"{place}: event.name is {ascii(name)[:80]}; allowed: {', '.join(SECURITY)}")
    attributes = {str(key): value for key, value in told.items() if isinstance(value, str | int | float | bool)}
    return facts(str(name), attributes, owner(told))


def owner(told: Mapping[str, Any]) -> Owner:
    def text(label: str) -> str:
        return str(told.get(names.OPENTELEMETRY[label]) or "")

    return Owner(
        namespace=text("namespace"),
        workload=text("workload"),
        workload_kind=text("workload_kind"),
        container=text("container"),
        image=text("image"),
        pod=text("pod"),
        labels={key.removeprefix(LABEL): str(value) for key, value in told.items() if str(key).startswith(LABEL)},
    )


def facts(
    event: str, attributes: Mapping[str, Attribute], owner: Owner, services: frozenset[str] = frozenset()
) -> Facts:
    """services: besides the one that the peer is."""
    if attributes.get(PEER_KIND) == "service":
        services |= {f"{attributes.get(PEER_NAMESPACE, '')}/{attributes.get(PEER_NAME, '')}"}
    return Facts(event.rpartition(".")[2], attributes, owner, services)
