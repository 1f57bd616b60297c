"""What identity answers with: the owner of a cgroup and the peer at the other side of a flow."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from bpfleet import names

UNKNOWN: Final = "_unknown"
"""Namespace of what runs in a cgroup that nobody could name; no Kubernetes name can begin with an underscore."""

MAX_LABEL = 1024
"""Longest label value in characters: a cgroup path may have 4,096 bytes, and one that long names nothing."""


def text(value: object) -> str:
    """A label value from a foreign string: encodable as UTF-8, of bounded length; anything but a string is empty.

    Everything else (quotes, line ends, escape codes) stays as it is: each output escapes for itself."""
    if not isinstance(value, str):
        return ""
    return value[:MAX_LABEL].encode("utf-8", "backslashreplace").decode("utf-8")


@dataclass(frozen=True)
class Owner:
    """Who a cgroup belongs to.

    key: container id, pod uid or cgroup path; unique, also over time. settled: False where something was not to be
    had yet, so that a later answer for the same cgroup may differ. host_network: shares the node's addresses."""

    namespace: str
    pod: str = ""
    container: str = ""
    workload: str = ""
    workload_kind: str = ""
    image: str = ""
    node: str = ""
    zone: str = ""
    key: str = ""
    settled: bool = True
    host_network: bool = False
    pod_uid: str = ""

    @property
    def labels(self) -> tuple[str, str, str, str, str]:
        """In the order of names.IDENTITY."""
        return (self.namespace, self.pod, self.container, self.workload, self.workload_kind)


class Peer(NamedTuple):
    """kind: service | pod | node | host | external | unknown; what does not exist or is not known is empty."""

    kind: str
    namespace: str = ""
    name: str = ""
    zone: str = ""


OTHER = Owner(names.OTHER, workload=names.OTHER, key=names.OTHER)
"""Owner of what the kernel had no room to tell apart (cgroup id 0)."""

NOBODY = Owner(UNKNOWN, workload=UNKNOWN, key=UNKNOWN, settled=False)
"""Owner of a cgroup that was gone before anybody saw its name."""

PEER_UNKNOWN = Peer("unknown")
PEER_EXTERNAL = Peer("external")
