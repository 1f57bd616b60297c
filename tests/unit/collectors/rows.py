"""Rows as the kernel writes them, and a collector's answer to them."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from agent.collectors.packet import MAPPED
from agent.kernel.door import KernelSettings, Loaded
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.loaded import Enumerations
from bpfleet.api import Collector, Sample
from bpfleet.metrics import Flow

TRANSPORTS = {"other": 0, "tcp": 1, "udp": 2, "icmp": 3}
"""`enum transport` of bpf/include/net.h."""

V4 = MAPPED + bytes((198, 51, 100, 2))
V6 = bytes.fromhex("20010db8000000000000000000000002")
FOLDED_V4, FOLDED_V6 = MAPPED + bytes(4), bytes(16)
"""What forget_peer() in net.h leaves of an address."""


def key(cgroup_id: int, flow: Flow) -> bytes:
    """`struct flow_key` of net.h."""
    fields = struct.pack("=Q16sHB", cgroup_id, flow.address, flow.port, TRANSPORTS[flow.transport])
    return fields + bytes(5)


def amounts(*six: int) -> tuple[int, ...]:
    """`struct packet_flow` of packet.bpf.c from bytes, packets and segments received, then sent, on lines of their own.
    Of the segments received the kernel counts those beyond one a packet."""
    received_bytes, received_packets, received_segments, *sent = six
    received = received_bytes, received_packets, max(0, received_segments - received_packets)
    return (*(0,) * 8, *received, *(0,) * 5, *sent)


def owner_key(cgroup_id: int) -> bytes:
    return struct.pack("=Q", cgroup_id)


@dataclass
class Fed:
    """A collector on fake maps. samples(): of one drain."""

    collector: Collector
    tables: FakeTables
    loaded: Loaded

    def samples(self) -> list[Sample]:
        self.loaded.begin_drain()
        return list(self.collector.collect(self.loaded.maps(self.collector.name)))

    def delivered(self) -> dict[str, int]:
        return {channel: count for channel, count in self.loaded.delivered().items() if count}


def feed(
    collector: Collector,
    hashes: Mapping[str, Mapping[bytes, tuple[int, ...]]],
    *names: str,
    enumerations: Enumerations | None = None,
) -> Fed:
    """names: the hashes that the collector reads; those without rows are empty. enumerations: of the kernel."""
    tables = FakeTables(hashes={name: dict(hashes.get(name, {})) for name in names})
    return Fed(
        collector,
        tables,
        FakeDoor({collector.name: tables}, enumerations=enumerations).load([collector], KernelSettings()),
    )
