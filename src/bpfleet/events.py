"""An event: one thing that happened, with its time and its owner, as opposed to a count."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from bpfleet.metrics import Flow

HTTP_REQUEST: Final = "bpfleet.http.request"
"""The request log: an HTTP request and what came of it."""

SECURITY_EXEC: Final = "bpfleet.security.exec"
SECURITY_FILE_OPEN: Final = "bpfleet.security.file_open"
SECURITY_CHMOD: Final = "bpfleet.security.chmod"
SECURITY_PTRACE: Final = "bpfleet.security.ptrace"
SECURITY_EGRESS: Final = "bpfleet.security.egress"
SECURITY: Final = (SECURITY_EXEC, SECURITY_FILE_OPEN, SECURITY_CHMOD, SECURITY_PTRACE, SECURITY_EGRESS)
"""What a watched workload did that a policy decides about."""

SECURITY_SEVERITY: Final = "bpfleet.security.severity"
"""The attribute: critical | warning | info."""

Attribute = str | int | float | bool


class Event(NamedTuple):
    """What a collector tells.

    name: as OpenTelemetry names events, dotted (`bpfleet.tcp.state_change`). time_ns: by the kernel's monotonic
    clock (bpf_ktime_get_ns). cgroup_id: the owner's. attributes: by OpenTelemetry's names where there are any; strings
    may hold anything that a process wrote. flow: the peer, where there is one."""

    name: str
    time_ns: int
    cgroup_id: int
    attributes: Mapping[str, Attribute]
    flow: Flow | None = None


class Record(NamedTuple):
    """What a sink gets: an event with its owner and its peer by name.

    time_ns: since 1970 (UTC). resource: whose it is (`k8s.pod.name` ...). Strings are valid Unicode of bounded length;
    they may hold control characters."""

    name: str
    time_ns: int
    resource: Mapping[str, str]
    attributes: Mapping[str, Attribute]
