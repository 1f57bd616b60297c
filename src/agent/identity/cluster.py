"""The watches of one node's agent: its pods, the services, endpoints and nodes that its peers are, and where somebody
asks what they wish, the namespaces."""

import random
import threading
from collections.abc import Callable

from agent.identity import watches
from agent.identity.model import PEER_EXTERNAL, PEER_UNKNOWN, Owner, Peer
from agent.identity.namespaces import Namespaces
from agent.identity.peers import ClusterPeers
from agent.identity.pods import Pods
from agent.identity.watches import Api, Resource, Watch
from bpfleet.metrics import Flow

GRACE_SECONDS = 10.0
"""Nothing is named before all lists have arrived, or this long after the start: a server that is away must not keep
the machine's own services from being counted."""

SERVICES = Resource("services", "/api/v1/services")
SLICES = Resource("endpointslices", "/apis/discovery.k8s.io/v1/endpointslices")
NODES = Resource("nodes", "/api/v1/nodes")
NAMESPACES = Resource("namespaces", "/api/v1/namespaces")


def pods_of(node: str) -> Resource:
    return Resource("pods", "/api/v1/pods", f"spec.nodeName={node}")


class Cluster:
    """node: this machine's node name. zone: where it stands, instead of what its label says. annotated: watch the
    namespaces' annotations. Nothing runs before start()."""

    def __init__(
        self,
        api: Api,
        node: str,
        clock: Callable[[], float],
        keep_seconds: float = 300.0,
        jitter: Callable[[], float] = random.random,
        zone: str = "",
        annotated: bool = False,
    ) -> None:
        self._stop = threading.Event()
        self.pods = Pods(clock, keep_seconds)
        self.peers = ClusterPeers(self.pods, clock, node, keep_seconds, zone)
        books: dict[Resource, watches.Book] = {
            pods_of(node): self.pods,
            NODES: self.peers.nodes,
            SERVICES: self.peers.services,
            SLICES: self.peers.slices,
        }
        self._naming = len(books)
        self.namespaces = Namespaces() if annotated else None
        if self.namespaces is not None:
            books[NAMESPACES] = self.namespaces
        self.watches = [Watch(api, resource, book, clock, jitter) for resource, book in books.items()]
        if self.namespaces is not None:
            listing = self.watches[-1]
            self.namespaces.known_when(lambda: listing.answered)
        self.threads = [
            threading.Thread(
                target=watches.run, args=(watch, self._stop), name=f"watch-{watch.resource.name}", daemon=True
            )
            for watch in self.watches
        ]
        self._clock = clock
        self._started = clock()
        self._ready = False

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def keep(self, seconds: float) -> None:
        """For so long names outlive what they name."""
        self.pods.keep_seconds = self.peers.keep_seconds = seconds

    def stop(self) -> None:
        """The threads end with their present step, or with the process."""
        self._stop.set()

    def refresh(self) -> None:
        self.pods.refresh()
        self.peers.refresh()

    def is_ready(self) -> bool:
        """Whether absence means something: all has been listed once, or will not be soon."""
        if not self._ready:
            self._ready = all(watch.answered for watch in self.watches)
        return self._ready or self._clock() - self._started >= GRACE_SECONDS

    def peer(self, flow: Flow, owner: Owner) -> Peer:
        found = self.peers.find(flow, owner)
        return PEER_UNKNOWN if found == PEER_EXTERNAL and not self.has_listed() else found

    def has_listed(self) -> bool:
        """Whether whom nobody has told of is nobody of the cluster's."""
        return all(watch.lists for watch in self.watches[: self._naming])

    def status(self) -> dict[str, dict[str, object]]:
        """For /status, by resource."""
        return {
            watch.resource.name: {
                "synced": watch.synced,
                "objects": len(watch.book),
                "lists": watch.lists,
                "failures": watch.failures,
                "strange": watch.strange,
                "error": watch.error,
            }
            for watch in self.watches
        }
