"""What one agent's page says of flows: what each workload exchanged with each peer, since the agent's start and between
two looks. Pages in, flows out: no clock and no network here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from agent import pages
from agent.pages import Point
from bpfleet import catalogue

HTTP_SECONDS = f"{catalogue.FLOW_HTTP_DURATION.family}_sum"
FAMILIES = (
    catalogue.FLOW_BYTES,
    catalogue.FLOW_TCP_RETRANSMISSIONS,
    catalogue.FLOW_TCP_CONNECTS,
    catalogue.FLOW_TCP_ACCEPTS,
    catalogue.FLOW_HTTP_REQUESTS,
)
NODES = catalogue.CONTAINER_INFO.family
BACKENDS = catalogue.SERVICE_BACKEND_INFO.family
UP = catalogue.COLLECTOR_UP.family
WANTED = frozenset({HTTP_SECONDS, NODES, BACKENDS, UP, *(metric.family for metric in FAMILIES)})

TRANSPORTS = ("tcp", "udp")
"""Those with a port: what else there is has no service."""

PORT_DIGITS = 5

MOST = 2.0**64
"""No counter of an agent's is above it: what is has no place in a sum."""

Series = tuple[str, ...]


class Node(NamedTuple):
    """An end of an edge. kind: a workload's kind (Deployment, SystemdUnit, Cgroup ...), or what a peer is as far as it
    is known: service | pod | node | host | external | unknown."""

    kind: str
    namespace: str
    name: str


class Backend(NamedTuple):
    """Behind a Service's port: a pod of the same namespace, and its own port."""

    service: Node
    transport: str
    port: int
    pod: str
    pod_port: int


class Flow(NamedTuple):
    """What one teller says of one peer and service port. pod: of the teller, empty outside Kubernetes."""

    teller: Node
    pod: str
    peer: Node
    transport: str
    port: int


@dataclass
class Exchange:
    """What went over a flow, as its teller has it."""

    sent: float = 0.0
    received: float = 0.0
    across_zones: float = 0.0
    retransmitted: float = 0.0
    opened: float = 0.0
    failed: float = 0.0
    accepted: float = 0.0
    asked: float = 0.0
    asked_errors: float = 0.0
    asked_seconds: float = 0.0
    served: float = 0.0
    served_errors: float = 0.0
    served_seconds: float = 0.0

    @property
    def is_client(self) -> bool:
        return self.opened + self.failed + self.asked > 0

    @property
    def is_server(self) -> bool:
        return self.accepted + self.served > 0

    def add(self, other: "Exchange") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


@dataclass
class Tale:
    """All that one agent told. ever: since its start; now: between the two looks, or the same where there was one.
    nodes: names that its machine has. backends: pods of its machine that stand behind Services. off: collectors that do
    not run."""

    ever: dict[Flow, Exchange] = field(default_factory=dict)
    now: dict[Flow, Exchange] = field(default_factory=dict)
    nodes: set[str] = field(default_factory=set)
    backends: set["Backend"] = field(default_factory=set)
    off: list[str] = field(default_factory=list)


def read(page: str, before: str | None = None) -> Tale:
    """before: the page of the first look; without it everything is told as of the agent's start. Raises ValueError on
    what is no page of metrics."""
    tale = Tale()
    old = {_series(point): point.value for point in pages.parse(before or "", WANTED) if _is_amount(point)}
    for point in pages.parse(page, WANTED):
        if point.name == NODES:
            tale.nodes.add(point.labels.get("node", ""))
        elif point.name == BACKENDS:
            tale.backends.add(_backend(point.labels))
        elif point.name == UP:
            tale.off += [point.labels.get("collector", "")] * (not point.value)
        elif point.labels.get("transport") in TRANSPORTS and _is_amount(point):
            _take(tale, point, _grown(point.value, old.get(_series(point), 0.0)))
    tale.nodes |= {flow.peer.name for flow in tale.ever if flow.peer.kind == "host"}
    tale.nodes.discard("")
    return tale


def _is_amount(point: Point) -> bool:
    return 0 <= point.value <= MOST


def _grown(value: float, before: float) -> float:
    """A counter that fell has begun anew: the agent did, or the series had been idle for long."""
    return value - before if value >= before else value


def _series(point: Point) -> Series:
    return (point.name, *point.labels.values())


def _take(tale: Tale, point: Point, grown: float) -> None:
    flow = _flow(point.labels)
    for exchanges, value in ((tale.ever, point.value), (tale.now, grown)):
        exchange = exchanges.setdefault(flow, Exchange())
        for word in _words(point.name, point.labels):
            setattr(exchange, word, getattr(exchange, word) + value)


def _backend(labels: Mapping[str, str]) -> Backend:
    get = labels.get
    service = Node("service", get("peer_namespace", ""), get("peer_name", ""))
    pod, pod_port = get("backend_pod", ""), _port(get("backend_port", ""))
    return Backend(service, get("transport", ""), _port(get("port", "")), pod, pod_port)


def _port(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= PORT_DIGITS else 0


def _flow(labels: Mapping[str, str]) -> Flow:
    get = labels.get
    return Flow(
        Node(get("workload_kind", ""), get("namespace", ""), get("workload", "")),
        get("pod", ""),
        Node(get("peer_kind", "") or "unknown", get("peer_namespace", ""), get("peer_name", "")),
        get("transport", ""),
        _port(get("port", "")),
    )


def _words(name: str, labels: Mapping[str, str]) -> Iterator[str]:
    """Which figures of an exchange a series adds to."""
    if name == catalogue.FLOW_BYTES.family:
        yield "sent" if labels.get("direction") == "transmit" else "received"
        if labels.get("zone") and labels.get("peer_zone") and labels["zone"] != labels["peer_zone"]:
            yield "across_zones"
    elif name == catalogue.FLOW_TCP_RETRANSMISSIONS.family:
        yield "retransmitted"
    elif name == catalogue.FLOW_TCP_CONNECTS.family:
        yield "opened" if labels.get("result") == "success" else "failed"
    elif name == catalogue.FLOW_TCP_ACCEPTS.family:
        yield "accepted"
    else:
        side = "served" if labels.get("role") == "server" else "asked"
        if name == HTTP_SECONDS:
            yield f"{side}_seconds"
            return
        yield side
        if labels.get("result") == "error":
            yield f"{side}_errors"
