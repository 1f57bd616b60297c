"""TCP health per workload and peer: segments, what is sent again, resets, round-trip time. Kernel half: tcp.bpf.c."""

import struct
from collections.abc import Iterator, Mapping

from agent.collectors import packet
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Distribution, Maps, Packet, RawTracepoint, Sample, Summed

NANOSECONDS = 1e9


class Tcp(Collector):
    name = "tcp"
    program = "tcp.bpf.c"
    base = packet.PACKET
    probes = (Packet("on_packet_tcp"), RawTracepoint("on_synack_retransmit", tracepoint="tcp_retransmit_synack"))
    metrics = (
        catalogue.TCP_SEGMENTS,
        catalogue.TCP_RETRANSMISSIONS,
        catalogue.TCP_RESETS,
        catalogue.TCP_RTT,
        catalogue.FLOW_TCP_SEGMENTS,
        catalogue.FLOW_TCP_RETRANSMISSIONS,
        catalogue.FLOW_TCP_RTT,
    )
    channels = (
        Channel("tcp_events", lost=("map_full",), runs=("on_synack_retransmit",)),
        Channel("rtts", lost=("map_full",)),
    )

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return packet.limits(limits)

    def collect(self, maps: Maps) -> Iterator[Sample]:
        yield from self._segments(maps)
        yield from self._events(maps)
        for key, row in maps.growth("tcp_rtts"):
            (cgroup_id,) = struct.unpack("=Q", key)
            maps.deliver("rtts", sum(row[:-1]))
            yield Sample(catalogue.TCP_RTT, Distribution(row[:-1], row[-1] / NANOSECONDS), cgroup_id)

    def _segments(self, maps: Maps) -> Iterator[Sample]:
        for name in ("flows", "flow_others"):
            for key, row in maps.growth(name):
                cgroup_id, flow = packet.decode(key)
                if flow.transport != "tcp":
                    continue
                _, _, received, _, _, sent = packet.amounts(row)
                for direction, count in (("receive", received), ("transmit", sent)):
                    if count:
                        yield Sample(catalogue.TCP_SEGMENTS, count, cgroup_id, (direction,))
                        yield Sample(catalogue.FLOW_TCP_SEGMENTS, count, cgroup_id, (direction,), flow)

    def _events(self, maps: Maps) -> Iterator[Sample]:
        for name in ("tcp_flows", "tcp_others"):
            for key, (events, again, resets_received, resets_sent, rtt_ns, rtts) in maps.growth(name):
                cgroup_id, flow = packet.decode(key)
                maps.deliver("tcp_events", events)
                if again:
                    yield Sample(catalogue.TCP_RETRANSMISSIONS, again, cgroup_id)
                    yield Sample(catalogue.FLOW_TCP_RETRANSMISSIONS, again, cgroup_id, flow=flow)
                if resets_received:
                    yield Sample(catalogue.TCP_RESETS, resets_received, cgroup_id, ("receive",))
                if resets_sent:
                    yield Sample(catalogue.TCP_RESETS, resets_sent, cgroup_id, ("transmit",))
                if rtts:
                    yield Sample(catalogue.FLOW_TCP_RTT, Summed(rtt_ns / NANOSECONDS, rtts), cgroup_id, flow=flow)
