"""A list of sockets as a table for a person or as JSON for a program.

Command names, workloads and peers are not trusted: the table escapes what is not printable, JSON everything that is
not ASCII.
"""

import json
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from agent.escapes import clean
from agent.identity import addresses
from agent.socket_lists import Socket

SECONDS_A_MICROSECOND = 1e-6


class Column(NamedTuple):
    """needed: False where the table goes without it if nobody has a value."""

    title: str
    show: Callable[[Socket], str]
    is_number: bool = False
    needed: bool = True


def _windows(value: Callable[[Socket], int]) -> Callable[[Socket], str]:
    return lambda each: str(value(each)) if each.is_connection else "-"


def _queues(value: Callable[[Socket], int]) -> Callable[[Socket], str]:
    return lambda each: str(value(each)) if each.has_queues else "-"


COLUMNS = (
    Column("NAMESPACE", lambda each: clean(each.owner.namespace)),
    Column("WORKLOAD", lambda each: clean(each.owner.workload)),
    Column("POD", lambda each: clean(each.owner.pod), needed=False),
    Column("PROCESS", lambda each: process(each)),
    Column("PROTOCOL", lambda each: each.protocol),
    Column("STATE", lambda each: each.state),
    Column("LOCAL", lambda each: end(each.row.local, each.row.local_port)),
    Column("PEER", lambda each: end(each.row.remote, each.row.remote_port)),
    Column("PEER NAME", lambda each: peer(each), needed=False),
    Column("RTT ms", lambda each: f"{each.row.rtt_us / 1000:.3f}" if each.is_connection else "-", is_number=True),
    Column("CWND", _windows(lambda each: each.row.congestion_window), is_number=True),
    Column("RWND", _windows(lambda each: each.row.receive_window), is_number=True),
    Column("SWND", _windows(lambda each: each.row.send_window), is_number=True),
    Column("RECV-Q", _queues(lambda each: each.row.receive_queue), is_number=True),
    Column("SEND-Q", _queues(lambda each: each.row.send_queue), is_number=True),
    Column("RETRANS", _windows(lambda each: each.row.retransmitted), is_number=True),
)

SORTS: dict[str, Callable[[Socket], int]] = {
    "workload": lambda each: 0,
    "rtt": lambda each: each.row.rtt_us,
    "congestion-window": lambda each: each.row.congestion_window,
    "receive-window": lambda each: each.row.receive_window,
    "send-window": lambda each: each.row.send_window,
    "receive-queue": lambda each: each.row.receive_queue,
    "send-queue": lambda each: each.row.send_queue,
    "retransmits": lambda each: each.row.retransmitted,
    "sent": lambda each: each.row.sent_bytes,
    "received": lambda each: each.row.received_bytes,
}
"""What comes first is the largest; where equal, and for `workload`, by owner, protocol and ends."""


def ordered(sockets: Sequence[Socket], sort: str) -> list[Socket]:
    value = SORTS[sort]
    return sorted(sockets, key=lambda each: (-value(each), *_place(each)))


def _place(each: Socket) -> tuple[object, ...]:
    row, owner = each.row, each.owner
    ends = (row.local, row.local_port, row.remote, row.remote_port)
    return (owner.namespace, owner.workload, owner.pod, each.protocol, each.state, *ends, row.namespace, row.inode)


def table(sockets: Sequence[Socket]) -> Iterator[str]:
    """Aligned text, a line a socket. Cells are made twice, so that those of 50,000 sockets are never here at once."""
    widths = [max((len(column.show(each)) for each in sockets), default=0) for column in COLUMNS]
    shown = [(column, max(width, len(column.title))) for column, width in zip(COLUMNS, widths, strict=True)
             if column.needed or width]  # fmt: skip
    yield _line((column.title, column.is_number, width) for column, width in shown)
    for each in sockets:
        yield _line((column.show(each), column.is_number, width) for column, width in shown)


def _line(cells: Iterable[tuple[str, bool, int]]) -> str:
    padded = (cell.rjust(width) if is_number else cell.ljust(width) for cell, is_number, width in cells)
    return "  ".join(padded).rstrip() + "\n"


def process(each: Socket) -> str:
    """The first process that holds it, and how many more do."""
    first = next(iter(each.holders))
    more = f" +{len(each.holders) - 1}" if len(each.holders) > 1 else ""
    return f"{first}/{clean(each.holders[first])}{more}"


def peer(each: Socket) -> str:
    if each.peer is None or each.peer.kind == "unknown":
        return ""
    kind, namespace, name, _ = each.peer
    return clean(" ".join(filter(None, (kind, "/".join(filter(None, (namespace, name)))))))


def end(address: bytes, port: int) -> str:
    text = address_text(address)
    return f"{f'[{text}]' if ':' in text else text}:{port or '*'}"


def address_text(address: bytes) -> str:
    if address.startswith(addresses.MAPPED):
        return socket.inet_ntop(socket.AF_INET, address[12:])
    return socket.inet_ntop(socket.AF_INET6, address)


def document(sockets: Sequence[Socket], node: str, matched: int, unread: int) -> Iterator[str]:
    """One JSON document, a line a socket. matched: how many there are, of which these are shown; unread: rows that the
    walk left out."""
    yield f'{{"node": {json.dumps(node)}, "matched": {matched}, "unread_rows": {unread}, "sockets": ['
    for at, each in enumerate(sockets):
        yield ("," if at else "") + "\n" + json.dumps(described(each))
    yield "\n]}\n"


def described(each: Socket) -> dict[str, object]:
    """Every key is always there; null where there is no such thing."""
    row, owner, other = each.row, each.owner, each.peer
    return {
        "namespace": owner.namespace,
        "pod": owner.pod,
        "container": owner.container,
        "workload": owner.workload,
        "workload_kind": owner.workload_kind,
        "cgroup_id": row.cgroup_id,
        "processes": [{"pid": number, "command": name} for number, name in each.holders.items()],
        "network_namespace": row.namespace,
        "inode": row.inode,
        "protocol": each.protocol,
        "family": each.family,
        "state": each.state,
        "local_address": address_text(row.local),
        "local_port": row.local_port,
        "peer_address": address_text(row.remote) if other else None,
        "peer_port": row.remote_port if other else None,
        "peer_kind": other.kind if other else None,
        "peer_namespace": other.namespace if other else None,
        "peer_name": other.name if other else None,
        **_measured(each),
    }


def _measured(each: Socket) -> dict[str, object]:
    row = each.row
    connection: dict[str, object] = {
        "rtt_seconds": round(row.rtt_us * SECONDS_A_MICROSECOND, 6),
        "rtt_variation_seconds": round(row.rtt_variation_us * SECONDS_A_MICROSECOND, 6),
        "congestion_window_segments": row.congestion_window,
        "receive_window_bytes": row.receive_window,
        "send_window_bytes": row.send_window,
        "segment_bytes": row.segment_bytes,
        "retransmitted_segments": row.retransmitted,
        "sent_bytes": row.sent_bytes,
        "acknowledged_bytes": row.acknowledged_bytes,
        "received_bytes": row.received_bytes,
    }
    if not each.is_connection:
        connection = dict.fromkeys(connection)
    is_listener = each.state == "listening"
    queues, waiting = each.has_queues and not is_listener, each.has_queues and is_listener
    return {
        **connection,
        "receive_queue_bytes": row.receive_queue if queues else None,
        "send_queue_bytes": row.send_queue if queues else None,
        "waiting_connections": row.receive_queue if waiting else None,
        "waiting_connections_limit": row.send_queue if waiting else None,
    }
