"""What the fragments of packet.bpf.c share: the program they are part of, and the key of its rows."""

import struct
from collections.abc import Mapping
from typing import NamedTuple

from bpfleet.api import CgroupPacket, Flow, Fragment

PACKET = Fragment(
    "packet.bpf.c",
    (CgroupPacket("on_ingress", direction="ingress"), CgroupPacket("on_egress", direction="egress")),
)

PROGRAMS = ("on_ingress", "on_egress")
"""Each packet of a socket is one run of one of them."""

TRANSPORTS = ("other", "tcp", "udp", "icmp")
"""By the numbers of `enum transport` in net.h."""

MAPPED = bytes(10) + b"\xff\xff"
"""Begins an IPv4 address in the form of an IPv6 one (RFC 4291 2.5.5.2)."""

_KEY = struct.Struct("=Q16sHB5x")


def decode(key: bytes) -> tuple[int, Flow]:
    """`struct flow_key` of net.h -> cgroup id and flow."""
    cgroup_id, address, port, transport = _KEY.unpack(key)
    return cgroup_id, Flow(address, port, TRANSPORTS[transport])


class Amounts(NamedTuple):
    """`struct packet_flow` without the words that keep its cache lines apart. Segments: of TCP, those sent are new."""

    received_bytes: int
    received_packets: int
    received_segments: int
    sent_bytes: int
    sent_packets: int
    sent_segments: int


def amounts(row: tuple[int, ...]) -> Amounts:
    """Received segments are the packets and what super-packets hold beyond one."""
    received_bytes, received_packets, received_more = row[8:11]
    return Amounts(received_bytes, received_packets, received_packets + received_more, *row[16:19])


def family(flow: Flow) -> str:
    return "ipv4" if flow.address.startswith(MAPPED) else "ipv6"


def limits(settings: Mapping[str, int]) -> dict[str, str]:
    return {"MAX_FLOWS": str(settings["flows"]), "MAX_CGROUPS": str(settings["cgroups"])}
