"""A TCP peer whose every segment is ours: for conversations that no kernel would hold."""

import os
import select
import socket
import struct
import threading
from collections.abc import Callable

from tests.support.namespaces import Namespace

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
MODULUS = 1 << 32
QUEUE_PACKETS = 1000
MAX_PACKET = 65535

Answer = Callable[["Segment"], list["Segment"]]


class Segment:
    """An IPv4 TCP segment without options and data; addresses as 4 bytes."""

    def __init__(
        self, source: bytes, target: bytes, ports: tuple[int, int], flags: int, sequence: int, acknowledged: int
    ) -> None:
        self.source, self.target, self.ports, self.flags = source, target, ports, flags
        self.sequence, self.acknowledged = sequence % MODULUS, acknowledged % MODULUS

    @classmethod
    def parse(cls, packet: bytes) -> "Segment | None":
        """None for everything that is not TCP over IPv4."""
        if packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_TCP:
            return None
        start = (packet[0] & 15) * 4
        source, target, sequence, acknowledged, _, flags = struct.unpack_from("!HHIIBB", packet, start)
        return cls(packet[12:16], packet[16:20], (source, target), flags, sequence, acknowledged)

    def reply(self, flags: int, sequence: int, acknowledged: int = 0) -> "Segment":
        return Segment(self.target, self.source, self.ports[::-1], flags, sequence, acknowledged)

    def packet(self) -> bytes:
        fields = (*self.ports, self.sequence, self.acknowledged, 5 << 4, self.flags, 65535)
        pseudo = self.source + self.target + struct.pack("!HH", socket.IPPROTO_TCP, 20)
        tcp = struct.pack("!HHIIBBHHH", *fields, 0, 0)
        tcp = struct.pack("!HHIIBBHHH", *fields, checksum(pseudo + tcp), 0)
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + self.source + self.target
        return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Puppet:
    """198.51.100.2 at the end of the namespace's tun0, which is 198.51.100.1: answers each TCP segment with what
    `answer` says. For the time of a `with`."""

    def __init__(self, namespace: Namespace, answer: Answer) -> None:
        self.namespace, self.answer = namespace, answer

    def __enter__(self) -> "Puppet":
        self.tun = self.namespace.tun("tun0", ["198.51.100.1"], QUEUE_PACKETS)
        self.ends, self.end = os.pipe()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.end)
        self.thread.join()
        os.close(self.ends)
        os.close(self.tun)

    def run(self) -> None:
        while True:
            ready, _, _ = select.select([self.tun, self.ends], [], [])
            if self.ends in ready:
                return
            segment = Segment.parse(os.read(self.tun, MAX_PACKET))
            for reply in self.answer(segment) if segment else ():
                os.write(self.tun, reply.packet())
