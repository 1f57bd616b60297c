"""Every label name, once: the Prometheus word and the OpenTelemetry attribute it stands for.

In Prometheus the Kubernetes identity has kube-state-metrics' names, so that joins work; over OTLP it has the
`k8s.*` names (https://opentelemetry.io/docs/specs/semconv/resource/k8s/). What OpenTelemetry has no name for is
`bpfleet.*`.
"""

from typing import Final

IDENTITY: Final = ("namespace", "pod", "container", "workload", "workload_kind")
"""Carried by every workload series, empty where a value does not exist."""

PEER: Final = ("transport", "port", "peer_kind", "peer_namespace", "peer_name", "zone", "peer_zone")
"""Carried by every flow series after the identity and the metric's own labels; `port` is the service side's."""

HOST_NAMESPACE: Final = "_host"
"""The namespace of everything outside Kubernetes: no Kubernetes name can begin with an underscore."""

OTHER: Final = "_other"
"""Namespace and workload of what exceeds a limit."""

OPENTELEMETRY: Final = {
    "namespace": "k8s.namespace.name",
    "pod": "k8s.pod.name",
    "container": "k8s.container.name",
    "workload": "bpfleet.workload.name",
    "workload_kind": "bpfleet.workload.kind",
    "node": "k8s.node.name",
    "direction": "network.io.direction",
    "transport": "network.transport",
    "family": "network.type",
    "port": "server.port",
    "reason": "error.type",
    "zone": "cloud.availability_zone",
    "peer_kind": "bpfleet.peer.kind",
    "peer_namespace": "bpfleet.peer.namespace",
    "peer_name": "bpfleet.peer.name",
    "peer_zone": "bpfleet.peer.zone",
    "image": "container.image.name",
}
