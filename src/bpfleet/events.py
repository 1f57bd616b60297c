"""An event: one thing that happened, with its time and its owner, as opposed to a count."""

from collections.abc import Mapping
from typing import NamedTuple

from bpfleet.metrics import Flow

Attribute = str | int | float | bool


class Event(NamedTuple):
    """name: as OpenTelemetry names events, dotted (`network.tcp.state_change`). time_ns: by the kernel's monotonic
    clock (bpf_ktime_get_ns). cgroup_id: the owner's. attributes: by OpenTelemetry's names where there are any; strings
    may hold anything that a process wrote. flow: the peer, where there is one."""

    name: str
    time_ns: int
    cgroup_id: int
    attributes: Mapping[str, Attribute]
    flow: Flow | None = None
