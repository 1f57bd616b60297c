"""Sockets of the node as they are now: how far their windows let them send and receive. Kernel half: sockets.bpf.c.

A walk is a state, not a count: each gives one sample of each established TCP connection. `bpfleet sockets` reads the
same rows, of every socket.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Maps, Metric, Observations, Sample, Walk

FUNCTION, CHANNEL = "on_socket", "sockets"

_ROW = struct.Struct("=6Q16s16s11I6H16s")
_WINDOWS = struct.Struct("=Q8xQ72x3I44x")
"""Of a row: identity, owner and windows only, which is all that is read of each connection in each walk."""


class Row(NamedTuple):
    """`struct socket_row` of sockets.bpf.c: a socket as one process holds it.

    identity: the same for one socket within a walk, and for nothing but that. Addresses: 16 bytes, IPv4 as
    ::ffff:a.b.c.d. namespace: the network namespace's inode number. Queues of a listener: how many connections wait to
    be accepted, and how many may. Windows and what follows: of TCP connections only."""

    identity: int
    inode: int
    cgroup_id: int
    sent_bytes: int
    acknowledged_bytes: int
    received_bytes: int
    local: bytes
    remote: bytes
    namespace: int
    process: int
    receive_queue: int
    send_queue: int
    congestion_window: int
    receive_window: int
    send_window: int
    rtt_us: int
    rtt_variation_us: int
    segment_bytes: int
    retransmitted: int
    local_port: int
    remote_port: int
    protocol: int
    type: int
    family: int
    state: int
    command: bytes


def rows(parts: Iterable[bytes]) -> Iterator[Row]:
    """What a walk wrote: one row for each process that holds a socket."""
    for part in parts:
        yield from map(Row._make, _ROW.iter_unpack(part))


class Sockets(Collector):
    name = "sockets"
    program = "sockets.bpf.c"
    probes = (Walk(FUNCTION, target="task_file"),)
    metrics = (catalogue.TCP_CONGESTION_WINDOW, catalogue.TCP_RECEIVE_WINDOW, catalogue.TCP_SEND_WINDOW)
    channels = (Channel(CHANNEL, lost=("limit",)),)
    default = False
    interval = "interval_seconds"
    every: ClassVar[bool] = False
    """Whether a walk writes sockets of every kind and state, or established TCP connections only."""

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {"MAX_SOCKET_ROWS": str(limits["sockets"]), "EVERY_SOCKET": str(int(self.every))}

    def collect(self, maps: Maps) -> Iterator[Sample]:
        for (metric, cgroup_id), counts in self._windows(maps).items():
            yield Sample(metric, Observations(counts), cgroup_id)

    def _windows(self, maps: Maps) -> dict[tuple[Metric, int], Counter[int]]:
        """By metric and owner: each value and how many connections have it."""
        seen: set[int] = set()
        connections: Counter[tuple[int, ...]] = Counter()
        rows = 0
        for part in maps.walk_parts(FUNCTION):
            for identity, *windows in _WINDOWS.iter_unpack(part):
                if identity not in seen:
                    seen.add(identity)
                    connections[tuple(windows)] += 1
            rows += len(part) // _WINDOWS.size
        maps.deliver(CHANNEL, rows)  # of a walk that broke off nothing is counted
        observed: dict[tuple[Metric, int], Counter[int]] = {}
        for (cgroup_id, *windows), count in connections.items():
            for metric, window in zip(self.metrics, windows, strict=True):
                observed.setdefault((metric, cgroup_id), Counter())[window] += count
        return observed


class EverySocket(Sockets):
    """The same program over sockets of every kind and state."""

    every = True
