"""HTTP/1.x requests per workload, as server and as client: how many, how they ended, how long the answer took.

Kernel half: http.bpf.c and its parts, of which http_flows.bpf.c has the same requests by peer.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from agent.collectors import packet
from bpfleet import catalogue
from bpfleet.api import (
    AnyOf,
    Channel,
    Collector,
    Distribution,
    Maps,
    OptionValue,
    Packet,
    Sample,
    Summed,
    TailCall,
    TracingTracepoint,
    Walk,
)

NANOSECONDS = 1e9

ERRORS = ("", "reset", "closed", "timeout", "unknown")
"""By the numbers of `enum http_error` in http.bpf.c."""

OTHER_METHOD = catalogue.HTTP_METHODS.index("_OTHER")
CLIENT, SERVER = 1, 2
"""`enum http_role`"""

FIRST_ERROR = {SERVER: 500, CLIENT: 400}
"""From this status on an answer is an error of who gave it, or of who got it."""

_KEY = struct.Struct("=QHBBB3x")
_WAITING = struct.Struct("=QIB3x16s")
_SOCKETS = Walk("on_http_socket", target="bpf_sk_storage_map", table="http_sockets")

Waiting = tuple[int, int, int]
"""Cgroup, role and method of requests that wait for their answer."""


ATTACHED: Final = {bytes(4): (1,)}
"""Both programs see what comes from now on: a connection is followed in both directions or in none."""


class Http(Collector):
    name = "http"
    program = "http.bpf.c"
    parts = (
        "http_buffer.bpf.c",
        "http_places.bpf.c",
        "http_pairing.bpf.c",
        "http_heads.bpf.c",
        "http_skimming.bpf.c",
        "http_handshakes.bpf.c",
        "http_following.bpf.c",
        "http_ends.bpf.c",
        "http_flows.bpf.c",
    )
    base = packet.PACKET
    probes = (
        Packet("on_packet_http"),
        TailCall("on_http_ingress", direction="ingress", table="http_ingress"),
        TailCall("on_http_egress", direction="egress", table="http_egress"),
        TailCall("on_http_skim_ingress", direction="ingress", table="http_skim_ingress"),
        TailCall("on_http_skim_egress", direction="egress", table="http_skim_egress"),
        TracingTracepoint("on_http_end", tracepoint="inet_sock_set_state"),
        AnyOf(
            (TracingTracepoint("on_http_end_left_out", tracepoint="inet_sock_set_state", beside="on_http_end"),),
            optional=True,
        ),
        _SOCKETS,
    )
    metrics = (
        catalogue.HTTP_SERVER_DURATION,
        catalogue.HTTP_CLIENT_DURATION,
        catalogue.HTTP_SERVER_ACTIVE,
        catalogue.HTTP_CLIENT_ACTIVE,
        catalogue.FLOW_HTTP_REQUESTS,
        catalogue.FLOW_HTTP_DURATION,
    )
    channels = (
        Channel("http_requests", lost=("map_full", "pipelined", "gap", "no_request")),
        Channel("http_peers", lost=("map_full",)),
    )

    def __init__(self, given: Mapping[str, OptionValue] | None = None) -> None:
        super().__init__(given)
        self._active: dict[Waiting, int] = {}

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        rows, flows = str(limits["http_rows"]), str(limits["http_flows"])
        return {**packet.limits(limits), "MAX_HTTP_ROWS": rows, "MAX_HTTP_FLOWS": flows}

    def collect(self, maps: Maps) -> Iterator[Sample]:
        maps.replace("http_attached", ATTACHED)
        for name in ("http_rows", "http_others"):
            for row in maps.growth(name):
                sample = _sample(*row)
                maps.deliver("http_requests", sum(row[1][:-1]))
                yield sample
        yield from _flows(maps)
        yield from self._changes(waiting(maps.walk(_SOCKETS.function)))

    def _changes(self, now: Mapping[Waiting, int]) -> Iterator[Sample]:
        """A sample is done with when the next one is asked for."""
        for key in sorted(self._active.keys() | now.keys()):
            cgroup_id, role, method = key
            change = now.get(key, 0) - self._active.get(key, 0)
            if not change:
                continue
            metric = catalogue.HTTP_SERVER_ACTIVE if role == SERVER else catalogue.HTTP_CLIENT_ACTIVE
            yield Sample(metric, change, cgroup_id, (catalogue.HTTP_METHODS[method],))
            self._active[key] = now.get(key, 0)
            if not self._active[key]:
                del self._active[key]


def waiting(rows: bytes) -> Counter[Waiting]:
    """`struct http_waiting` of every socket that has such requests. Of those beyond the kept no method is known."""
    found: Counter[Waiting] = Counter()
    for cgroup_id, beyond, role, methods in _WAITING.iter_unpack(rows):
        for method in methods:
            if method < len(catalogue.HTTP_METHODS):
                found[cgroup_id, role, method] += 1
        if beyond:
            found[cgroup_id, role, OTHER_METHOD] += beyond
    return found


def _flows(maps: Maps) -> Iterator[Sample]:
    for name in ("http_flows", "http_flow_others"):
        for key, row in maps.growth(name):
            cgroup_id, flow = packet.decode(key)
            if name == "http_flows":
                maps.deliver("http_peers", sum(row[:4]))
            for role, successes, errors, total_ns in zip(catalogue.ROLES, row[:2], row[2:4], row[4:], strict=True):
                for result, count in (("success", successes), ("error", errors)):
                    if count:
                        yield Sample(catalogue.FLOW_HTTP_REQUESTS, count, cgroup_id, (role, result), flow)
                if successes or errors or total_ns:
                    summed = Summed(total_ns / NANOSECONDS, successes + errors)
                    yield Sample(catalogue.FLOW_HTTP_DURATION, summed, cgroup_id, (role,), flow)


def _sample(key: bytes, row: tuple[int, ...]) -> Sample:
    cgroup_id, status, method, role, error = _KEY.unpack(key)
    metric = catalogue.HTTP_SERVER_DURATION if role == SERVER else catalogue.HTTP_CLIENT_DURATION
    labels = (catalogue.HTTP_METHODS[method], str(status or ""), error_type(role, status, error))
    return Sample(metric, Distribution(row[:-1], row[-1] / NANOSECONDS), cgroup_id, labels)


def error_type(role: int, status: int, error: int) -> str:
    """https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status: the status where it is an error."""
    return str(status) if status >= FIRST_ERROR[role] else ERRORS[error]
