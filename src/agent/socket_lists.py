"""The sockets of a node as a person knows them: each once, who holds it, whose it is, who is at the other side.

Words for protocols and states are those of ss.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from agent.collectors.sockets import Row
from agent.identity import addresses
from agent.identity.model import Owner, Peer
from bpfleet.metrics import Flow

RAW = 3
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp", 132: "sctp", 136: "udplite", 262: "mptcp"}
STATES = {
    1: "established",
    2: "syn-sent",
    3: "syn-recv",
    4: "fin-wait-1",
    5: "fin-wait-2",
    7: "unconnected",
    8: "close-wait",
    9: "last-ack",
    10: "listening",
    11: "closing",
}
"""include/net/tcp_states.h, which every protocol uses. TIME_WAIT has no descriptor."""

STREAMS = ("tcp", "mptcp")
TRANSPORTS = {"tcp": "tcp", "mptcp": "tcp", "udp": "udp", "icmp": "icmp"}


@dataclass(frozen=True, slots=True)
class Socket:
    """holders: the command of each process that has a descriptor of it, by process id in ascending order. peer: None
    where there is no other side."""

    row: Row
    holders: Mapping[int, str]
    owner: Owner
    peer: Peer | None

    @property
    def protocol(self) -> str:
        return _protocol(self.row)

    @property
    def state(self) -> str:
        return STATES.get(self.row.state, f"unknown({self.row.state})")

    @property
    def family(self) -> str:
        """Of the addresses: an IPv6 socket may carry IPv4."""
        return "ipv4" if self.row.local.startswith(addresses.MAPPED) else "ipv6"

    @property
    def is_connection(self) -> bool:
        """Whether it has windows and a round-trip time."""
        return self.protocol == "tcp" and self.state not in ("listening", "unconnected")

    @property
    def has_queues(self) -> bool:
        """A listener of MPTCP keeps its queue in a socket of its own, which has no descriptor."""
        return not (self.protocol == "mptcp" and self.state == "listening")

    @property
    def waits(self) -> bool:
        """For whoever comes: what `ss -l` shows."""
        if self.state == "listening":
            return True
        return self.state == "unconnected" and self.protocol not in STREAMS and self.row.local_port != 0


Name = Callable[[int], Owner]
Find = Callable[[Flow, Owner], Peer]


def gather(rows: Iterable[Row], owner: Name, peer: Find) -> list[Socket]:
    """Each socket once. owner: of a cgroup id; peer: who is at the other side."""
    first: dict[int, Row] = {}
    holders: dict[int, dict[int, str]] = {}
    for row in rows:
        first.setdefault(row.identity, row)
        holders.setdefault(row.identity, {})[row.process] = command(row.command)
    return [_socket(row, holders[identity], owner(row.cgroup_id), peer) for identity, row in first.items()]


@lru_cache(maxsize=1024)
def command(name: bytes) -> str:
    """The kernel's name of a process, which the process may set to any bytes."""
    return name.partition(b"\0")[0].decode("utf-8", "backslashreplace")


def _socket(row: Row, holders: dict[int, str], owner: Owner, peer: Find) -> Socket:
    return Socket(row, dict(sorted(holders.items())), owner, peer(_flow(row), owner) if row.remote_port else None)


def _flow(row: Row) -> Flow:
    return Flow(row.remote, row.remote_port, TRANSPORTS.get(_protocol(row), "other"))


def _protocol(row: Row) -> str:
    return "raw" if row.type == RAW else PROTOCOLS.get(row.protocol, f"unknown({row.protocol})")
