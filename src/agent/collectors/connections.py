"""TCP connections per workload and peer: opened, accepted, failed, closed, active, how fast and how long.

Kernel half: connections.bpf.c and old_connections.bpf.c.
"""

import struct
from collections.abc import Iterator, Mapping

from agent.collectors import packet
from bpfleet import catalogue
from bpfleet.api import (
    AnyOf,
    Channel,
    Collector,
    Distribution,
    Maps,
    Metric,
    RawTracepoint,
    Sample,
    SocketIterator,
    TracingTracepoint,
)

NANOSECONDS = 1e9


class Connections(Collector):
    name = "connections"
    program = "connections.bpf.c"
    parts = ("old_connections.bpf.c",)
    base = packet.PACKET
    # The order matters: state changes are followed first, then the listeners are known, then what is open already.
    probes = (
        AnyOf(
            (
                TracingTracepoint("on_state", tracepoint="inet_sock_set_state"),
                RawTracepoint("on_state_by_address", tracepoint="inet_sock_set_state"),
            )
        ),
        AnyOf(
            (TracingTracepoint("on_state_left_out", tracepoint="inet_sock_set_state", beside="on_state"),),
            optional=True,
        ),
        AnyOf((SocketIterator("on_listening_socket"),), optional=True),
        AnyOf(
            (
                SocketIterator("on_old_socket", beside="on_state"),
                SocketIterator("on_old_socket_by_address", beside="on_state_by_address"),
            ),
            optional=True,
        ),
    )
    metrics = (
        catalogue.CONNECTIONS_OPENED,
        catalogue.CONNECTIONS_ACCEPTED,
        catalogue.CONNECTIONS_FAILED,
        catalogue.CONNECTIONS_CLOSED,
        catalogue.CONNECTIONS_ACTIVE,
        catalogue.CONNECT_DURATION,
        catalogue.CONNECTION_LIFETIME,
        catalogue.FLOW_TCP_CONNECTS,
        catalogue.FLOW_TCP_ACCEPTS,
    )
    channels = (
        Channel("connection_events", lost=("map_full", "no_storage"), runs=("on_state_by_address",)),
        Channel("connect_durations", lost=("map_full",)),
        Channel("connection_lifetimes", lost=("map_full",)),
    )

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return packet.limits(limits)

    def collect(self, maps: Maps) -> Iterator[Sample]:
        yield from self._events(maps)
        yield from _durations(maps, "connection_connects", "connect_durations", catalogue.CONNECT_DURATION)
        yield from _durations(maps, "connection_lifetimes", "connection_lifetimes", catalogue.CONNECTION_LIFETIME)

    def _events(self, maps: Maps) -> Iterator[Sample]:
        for name in ("connection_flows", "connection_others"):
            for key, (events, opened, accepted, closed, activated, deactivated, *failed) in maps.growth(name):
                cgroup_id, flow = packet.decode(key)
                maps.deliver("connection_events", events)
                if opened:
                    yield Sample(catalogue.CONNECTIONS_OPENED, opened, cgroup_id)
                    yield Sample(catalogue.FLOW_TCP_CONNECTS, opened, cgroup_id, ("success",), flow)
                if accepted:
                    yield Sample(catalogue.CONNECTIONS_ACCEPTED, accepted, cgroup_id)
                    yield Sample(catalogue.FLOW_TCP_ACCEPTS, accepted, cgroup_id, flow=flow)
                if closed:
                    yield Sample(catalogue.CONNECTIONS_CLOSED, closed, cgroup_id)
                if activated != deactivated:
                    yield Sample(catalogue.CONNECTIONS_ACTIVE, activated - deactivated, cgroup_id)
                for reason, count in zip(catalogue.FAILURES, failed, strict=True):
                    if count:
                        yield Sample(catalogue.CONNECTIONS_FAILED, count, cgroup_id, (reason,))
                        yield Sample(catalogue.FLOW_TCP_CONNECTS, count, cgroup_id, (reason,), flow)


def _durations(maps: Maps, name: str, channel: str, metric: Metric) -> Iterator[Sample]:
    for key, row in maps.growth(name):
        (cgroup_id,) = struct.unpack("=Q", key)
        maps.deliver(channel, sum(row[:-1]))
        yield Sample(metric, Distribution(row[:-1], row[-1] / NANOSECONDS), cgroup_id)
