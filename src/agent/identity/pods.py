"""The pods of this node, and for some minutes those that were. Filled by a watch thread, read by the drain's."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from agent.identity import addresses, model, namespaces, owners, runtimes
from agent.identity.listings import Json
from agent.identity.model import Owner, Peer

_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_FINISHED = ("Succeeded", "Failed")

MAX_LABELS = 64
"""Of a pod, in the order of their names. Charts and operators set a dozen."""


class Marks(NamedTuple):
    """What somebody wrote on a pod: labels, and annotations with our prefix."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]


NO_MARKS = Marks({}, {})


@dataclass(frozen=True)
class Pod:
    """owner: with an empty container. addresses: 16 bytes each; none where shared with the node or given
    back. config_hash: the uid that a static pod has in its cgroup path. marks: not part of the owner, whom they may
    outlive."""

    uid: str
    config_hash: str
    owner: Owner
    addresses: tuple[bytes, ...]
    containers: Mapping[str, Owner]
    marks: Marks = NO_MARKS


class Pods:
    """A book: see watches.Book. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float], keep_seconds: float = 300.0) -> None:
        self._clock = clock
        self.keep_seconds = keep_seconds
        self._lock = threading.Lock()
        self._pods: dict[str, Pod] = {}
        self._static: dict[str, str] = {}
        self._containers: dict[str, Owner] = {}
        self._ended: dict[str, float] = {}
        self._past: dict[str, float] = {}
        self.version = 0

    def key(self, item: Json) -> str:
        return str(item["metadata"]["uid"])

    def put(self, item: Json) -> None:
        pod = read(item)
        with self._lock:
            before = self._pods.get(pod.uid)
            if before:
                self._past.update(dict.fromkeys(before.containers.keys() - pod.containers.keys(), self._clock()))
            self._pods[pod.uid] = pod
            self._ended.pop(pod.uid, None)
            if pod.config_hash:
                self._static[pod.config_hash] = pod.uid
            self._containers.update(pod.containers)
            self.version += 1

    def remove(self, item: Json) -> None:
        with self._lock:
            self._end(self.key(item))

    def keep(self, keys: set[str]) -> None:
        with self._lock:
            for uid in self._pods.keys() - keys:
                self._end(uid)

    def owner(self, ref: runtimes.ContainerRef) -> Owner | None:
        """Not settled while the pod is known and the container is not; None while neither is."""
        if found := self._containers.get(ref.container_id):
            return found
        # The uid first: the hash is an annotation, which whoever makes a pod may set to the uid of another one.
        pod = self._pods.get(ref.pod_uid) or self._pods.get(self._static.get(ref.pod_uid, ""))
        if pod is None:
            return None
        if not ref.container_id:
            return pod.owner
        return replace(pod.owner, key=f"{pod.uid}/{ref.container_id}", settled=False)

    def marks(self, uid: str) -> Marks:
        pod = self._pods.get(uid)
        return pod.marks if pod else NO_MARKS

    def peers(self) -> list[tuple[bytes, Peer]]:
        """The addresses of the pods that live."""
        with self._lock:
            living = [pod for uid, pod in self._pods.items() if uid not in self._ended]
        return [
            (address, Peer("pod", pod.owner.namespace, pod.owner.pod)) for pod in living for address in pod.addresses
        ]

    def refresh(self) -> None:
        """Forgets the pods, and the former containers of living pods, that ended long ago."""
        now = self._clock()
        with self._lock:
            for uid in [uid for uid, since in self._ended.items() if now - since > self.keep_seconds]:
                self._forget(uid)
            for container_id in [key for key, since in self._past.items() if now - since > self.keep_seconds]:
                del self._past[container_id]
                self._containers.pop(container_id, None)

    def __len__(self) -> int:
        return len(self._pods) - len(self._ended)

    def _end(self, uid: str) -> None:
        if uid in self._pods and uid not in self._ended:
            self._ended[uid] = self._clock()
            self.version += 1

    def _forget(self, uid: str) -> None:
        del self._ended[uid]
        pod = self._pods.pop(uid)
        if self._static.get(pod.config_hash) == uid:
            del self._static[pod.config_hash]
        for container_id in [key for key, owner in self._containers.items() if owner.pod_uid == uid]:
            del self._containers[container_id]


def read(item: Json) -> Pod:
    """A pod from the API's JSON. Raises KeyError, TypeError, ValueError or AttributeError on anything else."""
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    name, kind = owners.workload(item)
    uid = str(metadata["uid"])
    host_network = bool(spec.get("hostNetwork"))
    owner = Owner(
        namespace=model.text(metadata["namespace"]),
        pod=model.text(metadata["name"]),
        workload=model.text(name),
        workload_kind=model.text(kind),
        node=model.text(spec.get("nodeName")),
        key=uid,
        host_network=host_network,
        pod_uid=uid,
    )
    shared = host_network or status.get("phase") in _FINISHED
    return Pod(
        uid=uid,
        config_hash=str((metadata.get("annotations") or {}).get("kubernetes.io/config.hash") or ""),
        owner=owner,
        addresses=() if shared else tuple(addresses.parse_all(entry.get("ip") for entry in status.get("podIPs") or ())),
        containers=dict(_containers(owner, spec, status)),
        marks=Marks(_labels(metadata.get("labels") or {}), namespaces.read(item)),
    )


def _labels(given: Mapping[str, Any]) -> dict[str, str]:
    return {model.text(key): model.text(given[key]) for key in sorted(given)[:MAX_LABELS]}


def _containers(owner: Owner, spec: Mapping[str, Any], status: Mapping[str, Any]) -> list[tuple[str, Owner]]:
    """The container that runs and the one before it: the image as the pod's specification names it, since the status
    names whichever of its tags the runtime prefers."""
    kinds = ("initContainers", "containers", "ephemeralContainers")
    images = {each["name"]: each.get("image") for kind in kinds for each in spec.get(kind) or ()}
    found = []
    for container in (each for kind in _STATUSES for each in status.get(kind) or ()):
        before = ((container.get("lastState") or {}).get("terminated") or {}).get("containerID")
        image = model.text(images.get(container["name"]) or container.get("image"))
        for reference in (before, container.get("containerID")):
            if container_id := (reference or "").rpartition("://")[2]:
                known = replace(owner, container=model.text(container["name"]), image=image, key=container_id)
                found.append((container_id, known))
    return found
