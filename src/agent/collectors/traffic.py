"""Bytes and packets per workload and peer. Kernel half: traffic.bpf.c, in the rows of packet.bpf.c."""

from collections.abc import Iterator, Mapping

from agent.collectors import packet
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Maps, Packet, Sample


class Traffic(Collector):
    name = "traffic"
    program = "traffic.bpf.c"
    base = packet.PACKET
    probes = (Packet("on_packet_traffic"),)
    metrics = (catalogue.NETWORK_IO, catalogue.NETWORK_PACKETS, catalogue.FLOW_BYTES, catalogue.FLOW_PACKETS)
    channels = (
        Channel("packets", lost=("map_full", "unparsed", "no_socket"), seen_by=packet.PROGRAMS),
        Channel("peers", lost=("map_full", "unparsed", "no_socket"), seen_by=packet.PROGRAMS),
    )

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return packet.limits(limits)

    def collect(self, maps: Maps) -> Iterator[Sample]:
        for name in ("flows", "flow_others"):
            for key, row in maps.growth(name):
                received_bytes, received_packets, _, sent_bytes, sent_packets, _ = packet.amounts(row)
                cgroup_id, flow = packet.decode(key)
                family = packet.family(flow)
                maps.deliver("packets", received_packets + sent_packets)
                if name == "flows":
                    maps.deliver("peers", received_packets + sent_packets)
                if received_packets:
                    labels = ("receive", flow.transport, family)
                    yield Sample(catalogue.NETWORK_IO, received_bytes, cgroup_id, labels)
                    yield Sample(catalogue.NETWORK_PACKETS, received_packets, cgroup_id, labels)
                    yield Sample(catalogue.FLOW_BYTES, received_bytes, cgroup_id, ("receive",), flow)
                    yield Sample(catalogue.FLOW_PACKETS, received_packets, cgroup_id, ("receive",), flow)
                if sent_packets:
                    labels = ("transmit", flow.transport, family)
                    yield Sample(catalogue.NETWORK_IO, sent_bytes, cgroup_id, labels)
                    yield Sample(catalogue.NETWORK_PACKETS, sent_packets, cgroup_id, labels)
                    yield Sample(catalogue.FLOW_BYTES, sent_bytes, cgroup_id, ("transmit",), flow)
                    yield Sample(catalogue.FLOW_PACKETS, sent_packets, cgroup_id, ("transmit",), flow)
