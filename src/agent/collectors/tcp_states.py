"""Every state change of every TCP connection, one by one, with its time and both ends. Kernel half: tcp_states.bpf.c.

An event a change is for whoever has to know how one connection went; the collectors `connections` and `tcp` count.
"""

import socket
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from agent.collectors.packet import MAPPED
from bpfleet.api import AnyOf, Channel, Collector, Event, Flow, Maps, RawTracepoint, TracingTracepoint
from bpfleet.events import Attribute

STATE_CHANGE: Final = "bpfleet.tcp.state_change"

STATES: Final = (
    *("", "established", "syn_sent", "syn_received", "fin_wait_1", "fin_wait_2", "time_wait", "closed"),
    *("close_wait", "last_ack", "listen", "closing", "new_syn_received", "bound_inactive"),
)
"""By the kernel's numbers (include/net/tcp_states.h), in the words of OpenTelemetry's `network.connection.state`
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/network/); it has none for the last two."""

SYN_SENT: Final = STATES.index("syn_sent")

EPHEMERAL: Final = range(32768, 61000)
"""As net.h has it: tells the service's port where nothing else does."""

MAX_KNOWN_ADDRESSES = 4096
"""Written as text once, 1 MiB: a busy node has some thousand peers."""

_EVENT: Final = struct.Struct("=QQ16s16sIHHBB6x")


class TcpStates(Collector):
    name = "tcp_states"
    program = "tcp_states.bpf.c"
    probes = (
        AnyOf(
            (
                TracingTracepoint("on_tcp_state", tracepoint="inet_sock_set_state"),
                RawTracepoint("on_tcp_state_without_storage", tracepoint="inet_sock_set_state"),
            )
        ),
        AnyOf(
            (TracingTracepoint("on_tcp_state_left_out", tracepoint="inet_sock_set_state", beside="on_tcp_state"),),
            optional=True,
        ),
    )
    channels = (Channel("tcp_state_events", lost=("ring_full", "no_storage"), runs=("on_tcp_state_without_storage",)),)
    event_names = (STATE_CHANGE,)
    default = False

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("tcp_state_events"):
            maps.deliver("tcp_state_events", 1)
            yield decode(record)


def decode(record: bytes) -> Event:
    """`struct tcp_state_event` of tcp_states.bpf.c. What the kernel does not know yet is left out."""
    time_ns, cgroup_id, local, remote, namespace, local_port, remote_port, old, new = _EVENT.unpack(record)
    is_ipv4 = local.startswith(MAPPED) or remote.startswith(MAPPED)
    attributes: dict[str, Attribute] = {
        "network.transport": "tcp",
        "network.type": "ipv4" if is_ipv4 else "ipv6",
        "network.connection.state": state(new),
        "bpfleet.network.connection.previous_state": state(old),
        "network.local.address": written(local),
    }
    if local_port:
        attributes["network.local.port"] = local_port
    flow = None
    if remote_port:
        attributes["network.peer.address"] = written(remote)
        attributes["network.peer.port"] = remote_port
        is_client = SYN_SENT in (old, new)
        flow = Flow(remote, remote_port if is_client else service_port(local_port, remote_port), "tcp")
    attributes["bpfleet.network.namespace"] = namespace
    return Event(STATE_CHANGE, time_ns, cgroup_id, attributes, flow)


def state(number: int) -> str:
    return STATES[number] if 0 < number < len(STATES) else f"unknown({number})"


@lru_cache(MAX_KNOWN_ADDRESSES)
def written(address: bytes) -> str:
    if address.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[len(MAPPED) :])
    return socket.inet_ntop(socket.AF_INET6, address)


def service_port(local: int, remote: int) -> int:
    """As net.h has it for a socket of which nobody knows who opened it."""
    if not local or (local in EPHEMERAL) != (remote in EPHEMERAL):
        return remote if not local or local in EPHEMERAL else local
    return min(local, remote)
