"""Sizes of the bodies of HTTP/1.x requests and answers, per workload, as server and as client.

Kernel half: http_bodies.bpf.c, a part of http.bpf.c.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.collectors import packet
from agent.collectors.http import CLIENT, SERVER
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Distribution, Maps, Sample, TracingTracepoint

_KEY: Final = struct.Struct("=QHBBB3x")
_REQUESTS: Final = {SERVER: catalogue.HTTP_SERVER_REQUEST_BODY, CLIENT: catalogue.HTTP_CLIENT_REQUEST_BODY}
_ANSWERS: Final = {SERVER: catalogue.HTTP_SERVER_RESPONSE_BODY, CLIENT: catalogue.HTTP_CLIENT_RESPONSE_BODY}


class HttpBodies(Collector):
    """A part of the collector `http`, without which it does not load."""

    name = "http_bodies"
    program = "http_bodies.bpf.c"
    base = packet.PACKET
    probes = (TracingTracepoint("on_http_bodies_end", tracepoint="inet_sock_set_state"),)
    metrics = (*_REQUESTS.values(), *_ANSWERS.values())
    channels = (Channel("http_bodies", lost=("map_full", "unknown", "cut_off")),)
    default = False
    since = "5.12"  # atomic instructions other than to add

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {**packet.limits(limits), "MAX_HTTP_ROWS": str(limits["http_rows"])}

    def collect(self, maps: Maps) -> Iterator[Sample]:
        for name in ("http_body_rows", "http_body_others"):
            for row in maps.growth(name):
                sample = _sample(*row)
                maps.deliver("http_bodies", sum(row[1][:-1]))
                yield sample


def _sample(key: bytes, row: tuple[int, ...]) -> Sample:
    cgroup_id, status, method, role, is_answer = _KEY.unpack(key)
    labels = (catalogue.HTTP_METHODS[method], *[str(status or "")] * is_answer)
    metric = (_ANSWERS if is_answer else _REQUESTS)[role]
    return Sample(metric, Distribution(row[:-1], float(row[-1])), cgroup_id, labels)
