"""Who calls whom: edges from what the agents told, each edge once, whichever of its ends told of it.

A client knows whom it called by address, a server who called it: both are named as far as the pages together allow,
and what both sides told of is one edge. Whose pod it is, its own node's page knows; what listens on the node itself, is
found by the port.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from agent.topology_flows import Exchange, Flow, Node, Tale

CLIENT, SERVER = "client", "server"

AT_NODE = ("host", "node")
"""Peers that are a machine: which of its workloads it is, only the port can tell."""


class Key(NamedTuple):
    """directed: whether it is known who is the client. Otherwise the ends stand in the order of their names."""

    client: Node
    server: Node
    transport: str
    port: int
    directed: bool = True


@dataclass
class Tally:
    """What went over an edge between the looks, seen from the client: sent is from client to server."""

    requests: float = 0.0
    errors: float = 0.0
    request_seconds: float = 0.0
    sent: float = 0.0
    received: float = 0.0
    across_zones: float = 0.0
    connections: float = 0.0
    failed: float = 0.0
    retransmitted: float = 0.0

    def add(self, other: "Tally") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    @property
    def is_idle(self) -> bool:
        return not any(getattr(self, each.name) for each in fields(self))


@dataclass
class Edge:
    """told: by which end, and what. backends: of a Service, that told of it. speaks_http: since the agents' start, not
    only between the looks."""

    key: Key
    told: dict[str, Tally] = field(default_factory=dict)
    backends: set[Node] = field(default_factory=set)
    speaks_http: bool = False

    @property
    def protocol(self) -> str:
        return "http" if self.speaks_http else self.key.transport

    @property
    def tally(self) -> Tally:
        """What one end counted and the other did not count again: the client's figures; of requests the server's where
        the client tells of none. Segments sent again are other ones at each end."""
        client, server = self.told.get(CLIENT), self.told.get(SERVER)
        if client is None or server is None:
            return client or server or Tally()
        whole = Tally(**{each.name: getattr(client, each.name) for each in fields(client)})
        whole.retransmitted += server.retransmitted
        if not client.requests:
            whole.requests, whole.errors = server.requests, server.errors
            whole.request_seconds = server.request_seconds
        return whole

    @property
    def is_idle(self) -> bool:
        return all(tally.is_idle for tally in self.told.values())


def edges(tales: Iterable[Tale]) -> list[Edge]:
    """Those over which something went between the looks, in the order of their ends' names."""
    found: dict[Key, Edge] = {}
    names = _Names(tales)
    for machine in names.machines:
        for flow, ever in machine.tale.ever.items():
            for key, side, tally in _sides(names, machine, flow, ever):
                edge = found.setdefault(key, Edge(key))
                edge.told.setdefault(side, Tally()).add(tally)
                edge.speaks_http |= ever.asked + ever.served > 0
    _join_backends(found, names)
    return sorted((edge for edge in found.values() if not edge.is_idle), key=lambda edge: edge.key)


def _sides(names: "_Names", machine: "_Machine", flow: Flow, ever: Exchange) -> Iterator[tuple[Key, str, Tally]]:
    """As which end its teller tells of a flow, and what. Two workloads may call each other on the same port: then
    requests and connections are told apart, and the rest is the calling side's."""
    now, transport, port = machine.tale.now[flow], flow.transport, flow.port
    is_client, is_server = names.roles(flow, ever)
    if is_client:
        yield Key(flow.teller, names.server(flow), transport, port), CLIENT, _asked(now)
    if is_server:
        callers, tally = names.callers(flow), _served(now, is_all=not is_client)
        for caller in callers:
            yield Key(caller, flow.teller, transport, port), SERVER, tally if len(callers) == 1 else Tally()
    if not is_client and not is_server:
        first, second = sorted((flow.teller, names.server(flow)))
        is_first = first == flow.teller
        tally = _asked(now) if is_first else _served(now, is_all=True)
        yield Key(first, second, transport, port, directed=False), CLIENT if is_first else SERVER, tally


def _join_backends(found: dict[Key, Edge], names: "_Names") -> None:
    """What a Service's backends tell of a client that knows only the Service is the Service's edge. Of several Services
    that a client calls and that have the backend in common it cannot be told for which it was."""
    for key in [key for key, edge in found.items() if key.directed and CLIENT not in edge.told]:
        candidates = [
            found[called]
            for service, port in names.services.get((key.server, key.transport, key.port), ())
            if (called := Key(key.client, service, key.transport, port)) in found
        ]
        for edge in candidates:
            edge.backends.add(key.server)
            edge.told.setdefault(SERVER, Tally()).add(found[key].told[SERVER] if len(candidates) == 1 else Tally())
            edge.speaks_http |= found[key].speaks_http
        if candidates:
            del found[key]


def _asked(now: Exchange) -> Tally:
    return Tally(
        now.asked,
        now.asked_errors,
        now.asked_seconds,
        now.sent,
        now.received,
        now.across_zones,
        now.opened,
        now.failed,
        now.retransmitted,
    )


def _served(now: Exchange, is_all: bool) -> Tally:
    tally = Tally(now.served, now.served_errors, now.served_seconds, connections=now.accepted)
    if is_all:
        tally.sent, tally.received = now.received, now.sent
        tally.across_zones, tally.retransmitted = now.across_zones, now.retransmitted
    return tally


class _Machine:
    """One agent's. servers: which of its workloads are called, by transport and port. clients: which of them call a
    server at a port."""

    def __init__(self, tale: Tale) -> None:
        self.tale = tale
        self.servers: dict[tuple[str, int], set[Node]] = {}
        self.clients: dict[tuple[Node, str, int], set[Node]] = {}
        for flow, ever in tale.ever.items():
            if ever.is_server:
                self.servers.setdefault((flow.transport, flow.port), set()).add(flow.teller)


class _Names:
    """What the pages together know of who is who."""

    def __init__(self, tales: Iterable[Tale]) -> None:
        self.machines = [_Machine(tale) for tale in tales]
        self._pods: dict[tuple[str, str], Node] = {}
        self._by_name: dict[str, _Machine] = {}
        self._servers: set[tuple[Node, str, int]] = set()
        for machine in self.machines:
            self._by_name.update(dict.fromkeys(machine.tale.nodes, machine))
            self._servers |= {(node, *service) for service, nodes in machine.servers.items() for node in nodes}
            for flow in machine.tale.ever:
                if flow.pod:
                    self._pods[flow.teller.namespace, flow.pod] = flow.teller
        self.services: dict[tuple[Node, str, int], set[tuple[Node, int]]] = {}
        for machine in self.machines:
            for backend in machine.tale.backends:
                pod = self._pods.get((backend.service.namespace, backend.pod))
                if pod:
                    reached = (pod, backend.transport, backend.pod_port)
                    self.services.setdefault(reached, set()).add((backend.service, backend.port))
        for machine in self.machines:
            for flow, ever in machine.tale.ever.items():
                if self.roles(flow, ever)[0]:
                    called = (self.server(flow), flow.transport, flow.port)
                    machine.clients.setdefault(called, set()).add(flow.teller)

    def roles(self, flow: Flow, ever: Exchange) -> tuple[bool, bool]:
        """Is the flow's teller the client, is it the server? A connection from before the agent tells neither, nor does
        UDP: then who is a server to others at that port, or stands behind a Service, is one here, and who talks to one
        is its client."""
        if ever.is_client or ever.is_server:
            return ever.is_client, ever.is_server
        if flow.peer.kind == "service":
            return True, False
        if self._serves(flow.teller, flow):
            return False, True
        return self._serves(self.server(flow), flow), False

    def _serves(self, node: Node, flow: Flow) -> bool:
        place = (node, flow.transport, flow.port)
        return place in self._servers or place in self.services

    def server(self, flow: Flow) -> Node:
        """The flow's other end, if that is the one that is called."""
        peer = flow.peer
        if peer.kind == "pod":
            return self._pods.get((peer.namespace, peer.name), peer)
        machine = self._by_name.get(peer.name) if peer.kind in AT_NODE else None
        listening = machine.servers.get((flow.transport, flow.port), set()) if machine else set()
        return next(iter(listening)) if len(listening) == 1 else peer

    def callers(self, flow: Flow) -> list[Node]:
        """The flow's other end, if that is the one that calls. Of a machine there may be several: it cannot tell them
        apart."""
        peer = flow.peer
        if peer.kind == "pod":
            return [self._pods.get((peer.namespace, peer.name), peer)]
        machine = self._by_name.get(peer.name) if peer.kind in AT_NODE else None
        calling = machine.clients.get((flow.teller, flow.transport, flow.port), ()) if machine else ()
        return sorted(calling) or [peer]
