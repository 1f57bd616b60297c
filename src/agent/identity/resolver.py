"""Whose is it, and who is at the other side? The one door of identity: cgroup id -> owner, flow -> peer."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agent.identity import host, model, netns, runtimes, static
from agent.identity.cgroups import CgroupTree
from agent.identity.cluster import Cluster
from agent.identity.externals import Externals
from agent.identity.host import Docker, Host
from agent.identity.kubernetes import KubernetesApi, is_in_cluster
from agent.identity.model import NOBODY, OTHER, PEER_EXTERNAL, PEER_UNKNOWN, Owner, Peer
from agent.identity.namespaces import Namespaces as Annotations
from agent.identity.netns import Namespaces
from agent.identity.peers import HostPeers
from agent.identity.pods import NO_MARKS, Marks
from agent.identity.runtimes import ContainerRef
from bpfleet.errors import SettingsError
from bpfleet.metrics import Flow, NetworkNamespace


class Peers(Protocol):
    def refresh(self) -> None: ...

    def find(self, flow: Flow, owner: Owner) -> Peer: ...


class Resolver:
    """Used from one thread. peers: who is asked for peers outside Kubernetes; node: this machine's name, zone: where it
    stands, outside Kubernetes. external: names of networks, as `networks` has them."""

    def __init__(
        self,
        tree: CgroupTree,
        names: Host,
        peers: Peers,
        cluster: Cluster | None = None,
        rules: Sequence[static.Rule] = (),
        node: str = "",
        namespaces: Namespaces | None = None,
        zone: str = "",
        external: Sequence[str] = (),
    ) -> None:
        self.tree = tree
        self.namespaces = namespaces or Namespaces(time.monotonic)
        self._names = names
        self._peers = peers
        self._cluster = cluster
        self._rules = rules
        self._node = node
        self._zone = zone
        self._externals = Externals(external)
        self._settled: dict[int, Owner] = {}
        self._living: dict[str, Owner] = {}
        self._alive = {(owner.key, owner.labels) for owner in (OTHER, NOBODY)}
        self._pods: set[str] = set()

    def refresh(self) -> None:
        """Once before each drain: follows what ended, what is new, and the cluster."""
        self.tree.refresh()
        self.namespaces.refresh()
        if self._cluster:
            self._cluster.refresh()
            self._move(self._cluster.peers.zone())
        else:
            self._peers.refresh()
        self._settled = {key: owner for key, owner in self._settled.items() if self.tree.path(key, scan=False)}
        owners = [self.owner(cgroup_id) or self.final_owner(cgroup_id) for cgroup_id in self.tree.living()]
        self._living = {owner.key: owner for owner in owners if owner.container and owner.settled}
        self._alive = {(owner.key, owner.labels) for owner in (OTHER, NOBODY, *owners)}
        self._pods = {owner.pod_uid for owner in owners if owner.pod_uid}
        self._names.forget({owner.key for owner in owners})

    def is_ready(self) -> bool:
        """Whether what is not known now will not be known in a moment: the cluster's first listings have arrived."""
        return self._cluster is None or self._cluster.is_ready()

    def owner(self, cgroup_id: int | NetworkNamespace) -> Owner | None:
        """None: not known yet, ask again at the next drain."""
        if isinstance(cgroup_id, NetworkNamespace):
            return self._of_namespace(cgroup_id.number)
        if found := self._settled.get(cgroup_id):
            return found
        owner = self._look_up(cgroup_id)
        if owner is None or not owner.settled:
            return None
        self._settled[cgroup_id] = owner
        return owner

    def final_owner(self, cgroup_id: int | NetworkNamespace) -> Owner:
        """The best that is known now. Not settled: a later answer may be better."""
        if isinstance(cgroup_id, NetworkNamespace):
            return self._of_namespace(cgroup_id.number, wait=False) or NOBODY
        if found := self._settled.get(cgroup_id):
            return found
        return self._look_up(cgroup_id, wait=False) or NOBODY

    def peer(self, flow: Flow, owner: Owner) -> Peer:
        found = self._cluster.peer(flow, owner) if self._cluster else self._peers.find(flow, owner)
        if found in (PEER_EXTERNAL, PEER_UNKNOWN) and (self._cluster is None or self._cluster.has_listed()):
            return self._externals.find(flow.address) or found
        return found

    def backends(self) -> Sequence[tuple[str, ...]]:
        """The pods of this node that stand behind Services, as of the last refresh, on any thread: see
        catalogue.SERVICE_BACKEND_INFO."""
        return self._cluster.peers.backends if self._cluster else ()

    def annotations(self) -> Annotations | None:
        """Of the cluster's namespaces, where they are watched."""
        return self._cluster.namespaces if self._cluster else None

    def marks(self, owner: Owner) -> Marks:
        """Of the pod that it belongs to, as they are now."""
        return self._cluster.pods.marks(owner.pod_uid) if self._cluster and owner.pod_uid else NO_MARKS

    def marked(self) -> int:
        """Changes with the marks of some pod."""
        return self._cluster.pods.version if self._cluster else 0

    def services(self, address: bytes) -> frozenset[str]:
        """`namespace/name` of the Services that are reached at an address."""
        return self._cluster.peers.services_at(address) if self._cluster else frozenset()

    def addresses(self, is_wanted: Callable[[str], bool]) -> Iterable[bytes]:
        """Those at which some Services are reached, which are told as `namespace/name`."""
        return self._cluster.peers.addresses_of(is_wanted) if self._cluster else ()

    def reached(self) -> int:
        """Changes with what services() and addresses() say."""
        return self._cluster.peers.reached if self._cluster else 0

    def living(self) -> Collection[Owner]:
        """The containers that run now, each once, as of the last refresh."""
        return self._living.values()

    def ended(self, owner: Owner) -> bool:
        """Whether all cgroups of an owner are gone, or have another name, as of the last refresh."""
        if owner.key in self._pods:  # a pod as a whole, who owns a network namespace
            return False
        return (owner.key, owner.labels) not in self._alive

    def adjust(self, rules: Sequence[static.Rule], keep_seconds: float, external: Sequence[str] = ()) -> bool:
        """rules: the names given by hand, from now on, external: of networks. Returns whether the rules are others than
        before."""
        if tuple(external) != self._externals.texts:
            self._externals = Externals(external)
        renamed = tuple(rules) != tuple(self._rules)
        if renamed:
            self._rules = rules
            self._settled.clear()
        self.tree.keep_seconds = keep_seconds
        if self._cluster:
            self._cluster.keep(keep_seconds)
        return renamed

    def status(self) -> dict[str, object]:
        """For /status."""
        watches = self._cluster.status() if self._cluster else {}
        left_out = self._cluster.peers.backends_left_out if self._cluster else 0
        return {
            "cgroups": len(self.tree.living()),
            "containers": len(self._living),
            "kubernetes": watches,
            "service_backends_left_out": left_out,
        }

    def stop(self) -> None:
        if self._cluster:
            self._cluster.stop()

    def _look_up(self, cgroup_id: int, wait: bool = True) -> Owner | None:
        if cgroup_id == 0:
            return OTHER
        path = self.tree.path(cgroup_id, scan=wait)
        return None if path is None else self._of_path(path, wait)

    def _of_namespace(self, number: int, wait: bool = True) -> Owner | None:
        cgroups = self.namespaces.cgroups(number) if number else None
        if cgroups is None:
            return None if wait and number and self.namespaces.is_whole else NOBODY
        owners = [self._of_process(cgroup_id, wait) for cgroup_id in cgroups]
        if any(owner is None or (wait and not owner.settled) for owner in owners):
            return None
        if len({owner.labels for owner in owners if owner}) == 1:
            return owners[0]
        return self._of_path("/", wait)

    def _of_process(self, cgroup_id: int, wait: bool) -> Owner | None:
        """All containers of a pod, and the pause process that is in none, count as the pod."""
        path = self.tree.path(cgroup_id, scan=wait)
        if path is None:
            return None if wait else NOBODY
        return self._of_path(runtimes.whole_pod(path), wait)

    def _of_path(self, path: str, wait: bool) -> Owner | None:
        if rule := static.match(self._rules, path):
            return replace(rule.owner(path, self._node), zone=self._zone)
        if wait and self._cluster and not self._cluster.is_ready():
            return None
        return replace(self._named(path, runtimes.parse(path)), node=self._node, zone=self._zone)

    def _named(self, path: str, ref: ContainerRef | None) -> Owner:
        if ref and ref.pod_uid and self._cluster:
            return self._cluster.pods.owner(ref) or _nameless(ref)
        return self._names.owner(path, ref)

    def _move(self, zone: str) -> None:
        """The node's zone is known, or another one: owners carry it."""
        if zone != self._zone:
            self._zone = zone
            self._settled.clear()


def _nameless(ref: ContainerRef) -> Owner:
    """A pod of which the API has not told: its uid is what is known."""
    return Owner(
        model.UNKNOWN,
        pod=ref.pod_uid,
        container=ref.container_id[: host.SHORT_ID],
        workload=ref.pod_uid,
        workload_kind="Pod",
        key=f"{ref.pod_uid}/{ref.container_id}/nameless",
        settled=False,
    )


def rules_of(static_file: str) -> Sequence[static.Rule]:
    """Empty without a file. Raises SettingsError."""
    return static.read(Path(static_file)) if static_file else ()


def assemble(
    cgroup_root: Path,
    *,
    node: str,
    kubernetes: str = "auto",
    kubeconfig: str = "",
    static_file: str = "",
    docker: bool = True,
    keep_seconds: float = 300.0,
    zone: str = "",
    external: Sequence[str] = (),
    clock: Callable[[], float] = time.monotonic,
    proc: Path = Path("/proc"),
    annotated: bool = False,
) -> Resolver:
    """The resolver of a real machine, its watches started. kubernetes: auto (in a pod or with a kubeconfig) | on | off.
    docker: ask its files and its socket for names of containers. zone: of this node, where its label does not say.
    annotated: watch the namespaces' annotations.

    Raises SettingsError (static file, no node name) and ClusterError (the client cannot be used)."""
    rules = rules_of(static_file)
    cluster = None
    if kubernetes == "on" or (kubernetes == "auto" and (kubeconfig or is_in_cluster())):
        if not node:
            raise SettingsError("node_name is empty: the watch needs the name that this node has in Kubernetes")
        cluster = Cluster(KubernetesApi(kubeconfig), node, clock, keep_seconds, zone=zone, annotated=annotated)
        cluster.start()
    return Resolver(
        CgroupTree(cgroup_root, clock, keep_seconds),
        Host(Docker() if docker else None, clock, node),
        HostPeers(lambda: host.own_addresses(proc), clock, node, zone),
        cluster,
        rules,
        node,
        Namespaces(clock, keep_seconds, netns.own()),
        zone,
        external,
    )
