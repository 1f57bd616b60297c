"""Whom is it about? From a cgroup and a flow to the subject whose series count it."""

from collections.abc import Iterable
from math import inf
from typing import Generic, NamedTuple

from agent.metrics import labels
from agent.metrics.identities import OwnerT, Peer, Place, Resolver
from agent.metrics.levels import Levels
from agent.metrics.series import Subject, Workload
from bpfleet import names
from bpfleet.metrics import Flow, Scope

MAX_REMEMBERED = 8192
"""Cgroup and flow -> subject within one drain, 2.5 MiB: a row of the kernel becomes several samples. Not for longer:
an address may be another pod's by then."""

NOBODY = (names.OTHER, "", "", names.OTHER, "")
TAIL = "".join(f',{name}="%s"' for name in names.PEER)
FOLDED = (bytes(16), bytes(10) + b"\xff\xff" + bytes(4))
"""Addresses of the rows into which the kernel folds the peers that it has no room for; their port is 0."""


class UnknownPeer(NamedTuple):
    kind: str = "unknown"
    namespace: str = ""
    name: str = ""
    zone: str = ""


FOLDED_PEER = UnknownPeer(name=names.OTHER)


class Subjects(Generic[OwnerT]):
    """workloads: by their labels. others: what has no subject of its own. remembered: the subjects of this drain.

    What the resolver raises is the first of `failure`, and not passed on: the sample waits for its owner, or is
    counted without a name."""

    def __init__(self, resolver: Resolver[OwnerT], levels: Levels) -> None:
        self._resolver, self._levels = resolver, levels
        nobody: Workload[OwnerT] = Workload(NOBODY, permanent=True)
        nobodies_flows = Subject(nobody.subject.head, TAIL % (("",) * len(names.PEER)), permanent=True)
        self.workloads: dict[tuple[str, ...], Workload[OwnerT]] = {NOBODY: nobody}
        self.others = {Scope.WORKLOAD: nobody.subject, Scope.FLOW: nobodies_flows}
        self.remembered: dict[tuple[Place, Flow | None], Subject] = {}
        self.failure: Exception | None = None
        self._owned: dict[Place, tuple[OwnerT, Workload[OwnerT]]] = {}
        self._met: dict[str, tuple[OwnerT, Workload[OwnerT]]] = {}
        self._new_flows: list[tuple[Workload[OwnerT], Subject]] = []
        self._renamed = False

    def find(self, cgroup_id: Place, flow: Flow | None) -> Subject | None:
        """None: its owner is not known yet."""
        if cgroup_id not in self._owned:
            owner = self.owner(cgroup_id)
            if owner is None:
                return None
            self._owned[cgroup_id] = (owner, self._workload(owner))
        return self._remember(cgroup_id, flow)

    def final(self, cgroup_id: Place, flow: Flow | None) -> Subject:
        """The best that is known."""
        try:
            owner = self._resolver.final_owner(cgroup_id)
        except Exception as error:
            self.failure = self.failure or error
            return self.others[Scope.FLOW if flow else Scope.WORKLOAD]
        self._owned[cgroup_id] = (owner, self._workload(owner))
        return self._remember(cgroup_id, flow)

    def _remember(self, cgroup_id: Place, flow: Flow | None) -> Subject:
        owner, workload = self._owned[cgroup_id]
        if len(self.remembered) >= MAX_REMEMBERED:
            self.forget()
        subject = workload.subject if flow is None else self._flow(workload, owner, flow)
        self.remembered[cgroup_id, flow] = subject
        return subject

    def owner(self, cgroup_id: Place) -> OwnerT | None:
        """None: not known yet."""
        try:
            return self._resolver.owner(cgroup_id)
        except Exception as error:  # identity's failure is no reason not to count
            self.failure = self.failure or error
            return None

    def _peer(self, flow: Flow, owner: OwnerT) -> Peer:
        if not flow.port and flow.address in FOLDED:
            return FOLDED_PEER
        try:
            return self._resolver.peer(flow, owner)
        except Exception as error:
            self.failure = self.failure or error
            return UnknownPeer()

    def forget(self) -> None:
        """What was remembered, and the peers that found no room: a million of them leave nothing behind."""
        self.remembered.clear()
        self._owned.clear()
        for workload, subject in self._new_flows:
            if not subject.series and not self._levels.stands(subject):
                del workload.flows[subject.tail]
        self._new_flows.clear()

    def meet(self, living: Iterable[OwnerT]) -> Iterable[tuple[OwnerT, Workload[OwnerT]]]:
        """The workloads of those who live. Of 65,536 most are the same as at the last drain, which costs 20 ms."""
        met, self._met = self._met, {}
        for owner in living:
            known = met.get(owner.key)
            if known is None or known[0] is not owner:
                known = (owner, self._workload(owner))
            self._met[owner.key] = known
        return self._met.values()

    def rename(self) -> None:
        """Who lives may have another name by the next drain."""
        self._renamed = True

    def leave(self, now: float) -> list[Workload[OwnerT]]:
        """Owners that ended are no longer their workload's. Returns the workloads of which something may go: those
        without owners, and those with flows."""
        ended, met, found = self._resolver.ended, self._met.keys(), []
        for workload in self.workloads.values():
            if self._renamed or not workload.owners.keys() <= met:  # who lives under this name has not ended
                for key in [key for key, owner in workload.owners.items() if ended(owner)]:
                    del workload.owners[key]
            if not workload.owners and workload.ended == inf:
                workload.ended = now
            if workload.flows or not workload.owners:
                found.append(workload)
        self._renamed = False
        return found

    def _workload(self, owner: OwnerT) -> Workload[OwnerT]:
        identity = tuple(map(labels.clean, owner.labels))
        workload = self.workloads.get(identity)
        if workload is None:
            workload = self.workloads[identity] = Workload(identity)
        workload.owners[owner.key] = owner
        workload.ended = inf
        return workload

    def _flow(self, workload: Workload[OwnerT], owner: OwnerT, flow: Flow) -> Subject:
        peer = self._peer(flow, owner)
        port = str(flow.port) if flow.port else ""
        foreign = map(labels.safe, (peer.namespace, peer.name, owner.zone, peer.zone))
        tail = TAIL % (flow.transport, port, peer.kind, *foreign)
        subject = workload.flows.get(tail)
        if subject is None:
            subject = workload.flows[tail] = Subject(workload.subject.head, tail)
            self._new_flows.append((workload, subject))
        return subject
