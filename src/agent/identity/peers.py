"""Who has this address? Services, endpoints and nodes by watch; pods of this node from their own.

The key is address + port + protocol, because endpoints on the host's network share an address. Watch threads only store
records; the index is built from them by the drain's thread, when something changed.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from agent.identity import addresses, model
from agent.identity.listings import Json
from agent.identity.model import PEER_EXTERNAL, PEER_UNKNOWN, Owner, Peer
from agent.identity.pods import Pods
from bpfleet.metrics import Flow

ZONE_LABEL = "topology.kubernetes.io/zone"

ADDRESSES_SECONDS = 30.0
"""A machine's own addresses are read this often: its routing table may be long."""

MAX_BACKENDS = 4096
"""Lines of bpfleet_service_backend_info: 250 pods are the most that is run on a node. For those beyond, which /status
counts, a topology has the Service's edge and its backend's as two."""

_TRANSPORTS = {"tcp": b"t", "udp": b"u", "icmp": b"i"}

PortKey = bytes
"""Address, port and transport in one: 19 bytes, for some 100,000 of them in memory."""


def port_key(address: bytes, port: int, transport: str) -> PortKey:
    return address + (port & 0xFFFF).to_bytes(2, "big") + _TRANSPORTS.get(transport.lower(), b"o")


@dataclass(frozen=True)
class Record:
    """What one object of the API adds to the index."""

    ports: tuple[tuple[PortKey, Peer], ...] = ()
    addresses: tuple[tuple[bytes, Peer], ...] = ()
    node_ports: tuple[tuple[PortKey, Peer], ...] = ()
    networks: tuple[tuple[int, int], ...] = ()
    zone: str = ""
    own: tuple["ServicePort", ...] = ()
    service: str = ""
    reached: tuple[bytes, ...] = ()
    """Addresses of the Service, or of the endpoints behind it."""


class ServicePort(NamedTuple):
    """Of a Service: the port that it is reached at; of a slice: the one of a pod of this node. name: what they have in
    common."""

    service: tuple[str, str]
    name: str
    transport: str
    port: int
    pod: str = ""


class Book:
    """Records of one kind of object by namespace and name: see watches.Book."""

    def __init__(self, read: Callable[[Json], Record]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self.version = 0

    def key(self, item: Json) -> str:
        return f"{item['metadata'].get('namespace') or ''}/{item['metadata']['name']}"

    def put(self, item: Json) -> None:
        key, record = self.key(item), self._read(item)
        with self._lock:
            if self._records.get(key) != record:  # a Node is written every five minutes without a change
                self._records[key] = record
                self.version += 1

    def remove(self, item: Json) -> None:
        with self._lock:
            self.version += self._records.pop(self.key(item), None) is not None

    def keep(self, keys: set[str]) -> None:
        with self._lock:
            for key in self._records.keys() - keys:
                del self._records[key]
                self.version += 1

    def records(self) -> list[Record]:
        with self._lock:
            return list(self._records.values())

    def record(self, key: str) -> Record | None:
        return self._records.get(key)

    def __len__(self) -> int:
        return len(self._records)


def read_service(item: Json) -> Record:
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    peer = Peer("service", model.text(metadata.get("namespace")), model.text(metadata["name"]))
    balancers = (status.get("loadBalancer") or {}).get("ingress") or ()
    own = (*(spec.get("clusterIPs") or ()), *(spec.get("externalIPs") or ()), *(each.get("ip") for each in balancers))
    found = tuple(addresses.parse_all(own))
    ports = [(int(port["port"]), str(port.get("protocol") or "TCP")) for port in spec.get("ports") or ()]
    node_ports = [
        (port["nodePort"], str(port.get("protocol") or "TCP"))
        for port in spec.get("ports") or ()
        if port.get("nodePort")
    ]
    return Record(
        ports=tuple((port_key(address, *port), peer) for address in found for port in ports),
        addresses=tuple((address, peer) for address in found),
        node_ports=tuple((port_key(b"", *port), peer) for port in node_ports),
        own=tuple(_service_port((peer.namespace, peer.name), port) for port in spec.get("ports") or ()),
        service=f"{peer.namespace}/{peer.name}",
        reached=found,
    )


def _service_port(service: tuple[str, str], port: Json, pod: str = "") -> ServicePort:
    """port: of a Service or of a slice, which have the same fields."""
    transport = model.text(port.get("protocol") or "TCP").lower()
    return ServicePort(service, model.text(port.get("name") or ""), transport, int(port["port"]), pod)


def read_slice(item: Json, node: str = "") -> Record:
    """An EndpointSlice. Endpoints that are not ready stay: connections to them may still live. node: this one, whose
    pods are the Service's own here."""
    metadata = item["metadata"]
    namespace = model.text(metadata.get("namespace"))
    service = model.text((metadata.get("labels") or {}).get("kubernetes.io/service-name"))
    ports = [
        (int(port["port"]), str(port.get("protocol") or "TCP")) for port in item.get("ports") or () if port.get("port")
    ]
    by_port: list[tuple[PortKey, Peer]] = []
    by_address: list[tuple[bytes, Peer]] = []
    own: list[ServicePort] = []
    reached: list[bytes] = []
    for endpoint in item.get("endpoints") or ():
        target, zone = endpoint.get("targetRef") or {}, model.text(endpoint.get("zone"))
        is_pod = target.get("kind") == "Pod"
        name = model.text(target.get("name")) if is_pod else service
        peer = Peer(
            "pod" if is_pod else "service", model.text(target.get("namespace")) if is_pod else namespace, name, zone
        )
        if is_pod and node and endpoint.get("nodeName") == node:
            here = (port for port in item.get("ports") or () if port.get("port"))
            own += [_service_port((namespace, service), port, name) for port in here]
        for address in addresses.parse_all(endpoint.get("addresses") or ()):
            reached.append(address)
            by_port += [(port_key(address, *port), peer) for port in ports]
            if is_pod:
                by_address.append((address, peer))
    return Record(
        ports=tuple(by_port),
        addresses=tuple(by_address),
        own=tuple(own),
        service=f"{namespace}/{service}" if service else "",
        reached=tuple(reached),
    )


def read_node(item: Json) -> Record:
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    peer = Peer("node", "", model.text(metadata["name"]), model.text((metadata.get("labels") or {}).get(ZONE_LABEL)))
    own = addresses.parse_all(address.get("address") for address in status.get("addresses") or ())
    networks = (addresses.network(prefix) for prefix in spec.get("podCIDRs") or ())
    return Record(
        addresses=tuple((address, peer) for address in own),
        networks=tuple(network for network in networks if network),
        zone=peer.zone,
    )


@dataclass
class _Index:
    ports: dict[PortKey, Peer] = field(default_factory=dict)
    addresses: dict[bytes, Peer] = field(default_factory=dict)
    nodes: dict[bytes, Peer] = field(default_factory=dict)
    node_ports: dict[PortKey, Peer] = field(default_factory=dict)
    networks: dict[tuple[int, int], Peer] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()


class ClusterPeers:
    """Peers in a cluster. Used from the drain's thread, but for the books. node: this machine's node name. zone: where
    it stands, instead of what its label says."""

    def __init__(
        self, pods: Pods, clock: Callable[[], float], node: str, keep_seconds: float = 300.0, zone: str = ""
    ) -> None:
        self.services = Book(read_service)
        self.slices = Book(partial(read_slice, node=node))
        self.nodes = Book(read_node)
        self._pods = pods
        self._clock = clock
        self._node = node
        self._own_zone = zone
        self.keep_seconds = keep_seconds
        self._index = _Index()
        self.backends: tuple[tuple[str, ...], ...] = ()
        self.backends_left_out = 0
        self._retired: dict[bytes, tuple[Peer, float]] = {}
        self._built: tuple[int, ...] = ()
        self._services: dict[bytes, frozenset[str]] | None = None
        self.reached = 0
        """Changes with who is reached at some address."""

    def zone(self) -> str:
        """Of this node."""
        if self._own_zone:
            return self._own_zone
        record = self.nodes.record(f"/{self._node}")
        return record.zone if record else ""

    def refresh(self) -> None:
        """Builds the index again if something changed (10 ms for 5,000 endpoints)."""
        versions = (self.services.version, self.slices.version, self.nodes.version, self._pods.version)
        if versions != self._built:
            if versions[:2] != self._built[:2]:
                self._services, self.reached = None, self.reached + 1
            before, self._index, self._built = self._index, self._build(), versions
            found = self._find_backends()
            self.backends = tuple(islice(found, MAX_BACKENDS))
            self.backends_left_out = sum(1 for _ in found)
            self._retire(before)
        now = self._clock()
        old = [key for key, (_, since) in self._retired.items() if now - since > self.keep_seconds]
        for key in old:
            del self._retired[key]

    def services_at(self, address: bytes) -> frozenset[str]:
        """`namespace/name`. Of all addresses, made when somebody asks: only policies do."""
        if self._services is None:
            found: dict[bytes, set[str]] = {}
            for record in (*self.slices.records(), *self.services.records()):
                for reached in record.reached if record.service else ():
                    found.setdefault(reached, set()).add(record.service)
            self._services = {key: frozenset(services) for key, services in found.items()}
        return self._services.get(address, frozenset())

    def addresses_of(self, is_wanted: Callable[[str], bool]) -> Iterator[bytes]:
        """Of the Services, told as `namespace/name`, that somebody wants; some of them more than once."""
        for record in (*self.slices.records(), *self.services.records()):
            if record.service and record.reached and is_wanted(record.service):
                yield from record.reached

    def find(self, flow: Flow, owner: Owner) -> Peer:
        address, index = flow.address, self._index
        if addresses.is_nobody(address):
            return PEER_UNKNOWN
        if addresses.is_loopback(address):
            return self._itself(owner)
        key = port_key(address, flow.port, flow.transport)
        node = index.nodes.get(address)
        found = index.ports.get(key)
        if found is None and node:
            found = index.node_ports.get(key[16:]) or node
        found = found or index.addresses.get(address) or self._was(key) or self._was(address)
        return found or self._network(address) or self._elsewhere(address)

    def _itself(self, owner: Owner) -> Peer:
        if owner.pod and not owner.host_network:
            return Peer("pod", owner.namespace, owner.pod, owner.zone)
        return Peer("node", "", self._node, owner.zone)

    def _network(self, address: bytes) -> Peer | None:
        """A pod that nobody serves by: only its node's range tells what it is, and in which zone."""
        whole = addresses.number(address)
        for bits in self._index.lengths:
            if peer := self._index.networks.get((bits, whole >> (128 - bits))):
                return peer
        return None

    def _was(self, key: bytes) -> Peer | None:
        return self._retired.get(key, (None, 0.0))[0]

    def _elsewhere(self, address: bytes) -> Peer:
        """Where the nodes' pod ranges are known, all else is outside; where not, a private address may be a pod's."""
        if addresses.is_private(address) and not self._index.networks:
            return PEER_UNKNOWN
        return PEER_EXTERNAL if self._index.nodes else PEER_UNKNOWN

    def _build(self) -> _Index:
        index = _Index()
        for record in self.nodes.records():
            index.nodes.update(record.addresses)
            index.networks.update(_ranges(record))
        index.lengths = tuple(sorted({bits for bits, _ in index.networks}, reverse=True))
        for record in (*self.slices.records(), *self.services.records()):
            index.ports.update(record.ports)
            index.node_ports.update(record.node_ports)
            index.addresses.update(entry for entry in record.addresses if entry[0] not in index.nodes)
        zone = self.zone()
        index.addresses.update((address, peer._replace(zone=zone)) for address, peer in self._pods.peers())
        return index

    def _find_backends(self) -> Iterator[tuple[str, ...]]:
        """Of the Services that have an address: what a client sees of another one is the pod itself."""
        backends: dict[tuple[tuple[str, str], str, str], dict[ServicePort, None]] = {}
        for record in self.slices.records():
            for port in record.own:
                backends.setdefault(port[:3], {})[port] = None
        for record in self.services.records():
            for port in record.own if record.addresses else ():
                for backend in backends.get(port[:3], ()):
                    yield (*port.service, port.transport, str(port.port), backend.pod, str(backend.port))

    def _retire(self, before: _Index) -> None:
        """What left the index stays known for a while, unless somebody else has its address now."""
        now, current = self._clock(), self._index
        for old, new in ((before.ports, current.ports), (before.addresses, current.addresses)):
            for key in old.keys() - new.keys():
                self._retired[key] = (old[key], now)
        for key in [key for key in self._retired if key in current.ports or key in current.addresses]:
            del self._retired[key]


def _ranges(record: Record) -> Iterable[tuple[tuple[int, int], Peer]]:
    return ((network, Peer("pod", "", "", record.zone)) for network in record.networks)


class HostPeers:
    """Peers of a machine outside Kubernetes. own: reads the machine's addresses; zone: where it stands."""

    def __init__(self, own: Callable[[], set[bytes]], clock: Callable[[], float], node: str, zone: str = "") -> None:
        self._own = own
        self._clock = clock
        self._node = node
        self._zone = zone
        self._addresses: set[bytes] = set()
        self._asked = -ADDRESSES_SECONDS

    def refresh(self) -> None:
        now = self._clock()
        if now - self._asked >= ADDRESSES_SECONDS:
            self._asked, self._addresses = now, self._own()

    def find(self, flow: Flow, owner: Owner) -> Peer:
        address = flow.address
        if addresses.is_nobody(address):
            return PEER_UNKNOWN
        if addresses.is_loopback(address) or address in self._addresses:
            return Peer("host", "", self._node, self._zone)
        return PEER_EXTERNAL
