"""Which container is this cgroup path? Pure: a path in, a reference out.

The kubelet's part of a path (cgroup driver systemd or cgroupfs) is described in
https://github.com/kubernetes/kubernetes/blob/master/pkg/kubelet/cm/cgroup_manager_linux.go ; below the pod, each
runtime adds its own name:

    systemd   kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid>.slice/cri-containerd-<id>.scope
    cgroupfs  kubepods/burstable/pod<uid>/<id>

A path may begin with foreign parts (kind: /docker/<id>/kubelet.slice/kubelet-kubepods.slice/...; a path relative
to a cgroup namespace: /../..). The outermost pod is this node's; what a container makes below itself is its own.
"""

import re
from dataclasses import dataclass

_UID = r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD = re.compile(rf"(?:[a-z-]*kubepods(?:-(?P<qos>burstable|besteffort))?-)?pod(?P<uid>{_UID})(?:\.slice)?", re.ASCII)
_ID = "[0-9a-f]{64}"
_SCOPE = re.compile(rf"(?:(?P<prefix>cri-containerd|crio|docker|libpod|nerdctl)-)?(?P<id>{_ID})(?:\.scope)?", re.ASCII)
_ONE_SEGMENT = re.compile(rf"(?P<pod>[^:]+\.slice):(?P<prefix>cri-containerd|crio):(?P<id>{_ID})", re.ASCII)
"""containerd with the cgroupfs driver under a kubelet with the systemd driver makes one directory of all three."""

_RUNTIMES = {
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "docker": "docker",
    "libpod": "podman",
}


@dataclass(frozen=True)
class ContainerRef:
    """runtime: containerd | cri-o | docker | podman, empty where the path does not tell (cgroupfs driver).
    container_id: 64 hex digits, empty for the pod's own cgroup and the runtime's helpers in it.
    pod_uid: with dashes, or 32 hex digits (static pod), empty outside Kubernetes.
    qos: guaranteed | burstable | besteffort, empty outside Kubernetes."""

    runtime: str
    container_id: str
    pod_uid: str = ""
    qos: str = ""


def parse(path: str) -> ContainerRef | None:
    """None: neither a pod nor a container."""
    segments = [segment for segment in path.split("/") if segment]
    for position, segment in enumerate(segments):
        if joined := _ONE_SEGMENT.fullmatch(segment):
            pod = _POD.fullmatch(joined["pod"])
            if pod:
                return _in_pod(pod, segments[:position], joined)
        if pod := _POD.fullmatch(segment):
            below = segments[position + 1] if position + 1 < len(segments) else ""
            return _in_pod(pod, segments[:position], _SCOPE.fullmatch(below))
    return _standalone(segments)


def whole_pod(path: str) -> str:
    """The path of the pod's own cgroup; outside a pod the path as it is."""
    segments = path.split("/")
    for position, segment in enumerate(segments):
        joined = _ONE_SEGMENT.fullmatch(segment)
        name = joined["pod"] if joined else segment
        if _POD.fullmatch(name):
            return "/".join([*segments[:position], name])
    return path


def _in_pod(pod: re.Match[str], parents: list[str], scope: re.Match[str] | None) -> ContainerRef:
    qos = pod["qos"] or (parents[-1] if parents and parents[-1] in ("burstable", "besteffort") else "guaranteed")
    uid = pod["uid"].replace("_", "-")
    return ContainerRef(_runtime(scope), scope["id"] if scope else "", uid, qos)


def _standalone(segments: list[str]) -> ContainerRef | None:
    """The outermost container wins: what runs inside a kind node is the business of the agent inside it."""
    for position, segment in enumerate(segments):
        scope = _SCOPE.fullmatch(segment)
        parent = segments[position - 1] if position else ""
        if scope and (scope["prefix"] or parent == "docker"):
            return ContainerRef(_runtime(scope) or "docker", scope["id"])
    return None


def _runtime(scope: re.Match[str] | None) -> str:
    return _RUNTIMES.get(scope["prefix"] or "", "") if scope else ""
