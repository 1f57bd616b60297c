"""Requests of HTTP/1.x, one by one: what was asked for, of whom, what came of it.

Kernel half: http_log.bpf.c, a part of http.bpf.c.

What is told here is raw: the whole target, the whole Host. Cutting and redacting come later on the event's way.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from agent.collectors import packet
from agent.collectors.http import CLIENT, ERRORS, FIRST_ERROR, NANOSECONDS, SERVER
from agent.collectors.packet import MAPPED
from agent.collectors.tcp_states import written
from agent.protocols import http1
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Event, Flow, Maps, TailCall
from bpfleet.events import HTTP_REQUEST, Attribute

MODES: Final = ("off", "errors", "sampled", "all")
"""By the numbers of `enum http_log_choice` in http_log.bpf.c."""

ROLES = ("unknown", "client", "server")
"""`enum http_role`"""

CARRY = 64
"""HTTP_CARRY in http.bpf.c: a record's bytes begin with what was carried over, at the end of so many."""

OTHERS = 0
"""In the place of a cgroup's id: all that have no mode of their own."""

_RECORD: Final = struct.Struct("=QQQ16s16sHHHHBBBB4x")
_CGROUP: Final = struct.Struct("=Q")


class Mode(NamedTuple):
    """Which requests are recorded: name, one of MODES; one_in of `sampled`; from slow_seconds on a request is one of
    `errors`; per_second at most."""

    name: str
    one_in: int = 1
    slow_seconds: float = 1.0
    per_second: int = 1_000

    @property
    def row(self) -> tuple[int, int, int, int]:
        """`struct http_log_mode`"""
        return MODES.index(self.name), self.one_in, round(self.slow_seconds * NANOSECONDS), self.per_second


def limits(log: str, slow_seconds: float, one_in: int, per_second: int, **_: object) -> dict[str, int]:
    """The settings' `requests`, as HttpLog.defines() wants them."""
    choice, one_in, slow_ns, per_second = Mode(log, one_in, slow_seconds, per_second).row
    return {
        "http_log_mode": choice,
        "http_log_one_in": one_in,
        "http_log_slow_ns": slow_ns,
        "http_log_per_second": per_second,
    }


class HttpLog(Collector):
    """A part of the collector `http`, without which it does not load."""

    name = "http_log"
    program = "http_log.bpf.c"
    base = packet.PACKET
    probes = (
        TailCall("on_http_log_ingress", direction="ingress", table="http_log_ingress"),
        TailCall("on_http_log_egress", direction="egress", table="http_log_egress"),
    )
    channels = (
        Channel("http_log", lost=("rate_limit", "ring_full")),
        Channel("http_log_heads", lost=("not_kept",)),
    )
    event_names = (HTTP_REQUEST,)
    default = False
    since = "5.12"  # atomic instructions other than to add

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {
            **packet.limits(limits),
            "HTTP_LOG_DEFAULT": str(limits["http_log_mode"]),
            "HTTP_LOG_ONE_IN": str(limits["http_log_one_in"]),
            "HTTP_LOG_SLOW_NS": f"{limits['http_log_slow_ns']}ULL",
            "HTTP_LOG_PER_SECOND": str(limits["http_log_per_second"]),
        }

    def steer(self, maps: Maps, others: Mode, modes: Mapping[int, Mode]) -> int:
        """modes: by cgroup, from now on; others: of all others. Returns how many found no room: they are as others."""
        rows = {_CGROUP.pack(OTHERS): others.row}
        rows.update((_CGROUP.pack(cgroup_id), mode.row) for cgroup_id, mode in modes.items())
        return maps.replace("http_log_modes", rows)

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("http_log"):
            told, has_head = decode(record)
            maps.deliver("http_log", 1)
            if has_head:
                maps.deliver("http_log_heads", 1)
            yield told


def decode(record: bytes) -> tuple[Event, bool]:
    """`struct http_log_record` of http_log.bpf.c, and whether its head was kept. What is not known is left out.
    Raises ValueError for less than a record."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    started_ns, duration_ns, cgroup_id, local, remote, *rest = _RECORD.unpack_from(record)
    local_port, remote_port, status, length, method, role, error, carried = rest
    kept = record[_RECORD.size + CARRY - min(carried, CARRY) : _RECORD.size + CARRY + length]
    head = http1.parse_request(kept)
    attributes: dict[str, Attribute] = {
        "http.request.method": named(catalogue.HTTP_METHODS, method),
        "bpfleet.http.role": named(ROLES, role),
        "bpfleet.duration": duration_ns / NANOSECONDS,
        "network.protocol.name": "http",
        "network.transport": "tcp",
        "network.type": "ipv4" if local.startswith(MAPPED) or remote.startswith(MAPPED) else "ipv6",
        "network.local.address": written(local),
        "network.local.port": local_port,
        "network.peer.address": written(remote),
        "network.peer.port": remote_port,
    }
    if status:
        attributes["http.response.status_code"] = status
    if status >= FIRST_ERROR.get(role, FIRST_ERROR[CLIENT]):
        attributes["error.type"] = str(status)
    elif error:
        attributes["error.type"] = named(ERRORS, error)
    if head.version:
        attributes["network.protocol.version"] = head.version
    if head.target:
        attributes["url.path"] = head.target
    if head.host:
        attributes["server.address"] = head.host
    if not method and head.method:
        attributes["http.request.method_original"] = head.method
    flow = Flow(remote, local_port if role == SERVER else remote_port, "tcp")
    return Event(HTTP_REQUEST, started_ns, cgroup_id, attributes, flow), bool(length or carried)


def named(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"unknown({number})"
