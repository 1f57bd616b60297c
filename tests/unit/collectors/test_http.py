import struct

import pytest
from tests.unit.collectors import rows
from tests.unit.collectors.rows import Fed, feed

from agent.collectors.http import CLIENT, SERVER, Http, error_type
from bpfleet.catalogue import (
    FLOW_HTTP_DURATION,
    FLOW_HTTP_REQUESTS,
    HTTP_CLIENT_ACTIVE,
    HTTP_CLIENT_DURATION,
    HTTP_METHODS,
    HTTP_SERVER_ACTIVE,
    HTTP_SERVER_DURATION,
)
from bpfleet.metrics import Distribution, Flow, Sample, Summed


def key(cgroup_id: int, status: int, method: str, role: int, error: int = 0) -> bytes:
    """`struct http_key` of http.bpf.c."""
    return struct.pack("=QHBBB3x", cgroup_id, status, HTTP_METHODS.index(method), role, error)


NO_METHOD = 10
"""Of a place for a request in which there is none."""


def socket(cgroup_id: int, role: int, *methods: str, beyond: int = 0) -> bytes:
    """`struct http_waiting` of http.bpf.c."""
    numbers = [HTTP_METHODS.index(method) for method in methods]
    return struct.pack("=QIB3x16B", cgroup_id, beyond, role, *numbers, *[NO_METHOD] * (16 - len(methods)))


def fed(**hashes: dict[bytes, tuple[int, ...]]) -> Fed:
    made = feed(Http(), hashes, "http_rows", "http_others", "http_flows", "http_flow_others")
    made.tables.walks["on_http_socket"] = b""
    return made


def test_requests_that_wait_are_told_by_what_has_changed_since_the_last_walk() -> None:
    made = fed()
    sockets = [socket(23, SERVER, "GET"), socket(23, SERVER, *["GET"] * 16, beyond=5), socket(23, CLIENT, "POST")]
    made.tables.walks["on_http_socket"] = b"".join(sockets)
    assert made.samples() == [
        Sample(HTTP_CLIENT_ACTIVE, 1, 23, ("POST",)),
        Sample(HTTP_SERVER_ACTIVE, 5, 23, ("_OTHER",)),
        Sample(HTTP_SERVER_ACTIVE, 17, 23, ("GET",)),
    ]
    assert made.samples() == []
    made.tables.walks["on_http_socket"] = socket(23, SERVER, "GET", "PUT") + socket(29, SERVER, "GET")
    assert made.samples() == [
        Sample(HTTP_CLIENT_ACTIVE, -1, 23, ("POST",)),
        Sample(HTTP_SERVER_ACTIVE, -5, 23, ("_OTHER",)),
        Sample(HTTP_SERVER_ACTIVE, -16, 23, ("GET",)),
        Sample(HTTP_SERVER_ACTIVE, 1, 23, ("PUT",)),
        Sample(HTTP_SERVER_ACTIVE, 1, 29, ("GET",)),
    ]
    made.tables.walks["on_http_socket"] = b""
    assert sum(sample.value for sample in made.samples() if isinstance(sample.value, int)) == -3
    assert made.samples() == []


def test_what_was_told_of_before_a_failure_is_not_told_again() -> None:
    made = fed()
    made.tables.walks["on_http_socket"] = socket(23, CLIENT, "GET") + socket(23, SERVER, "GET")
    drain = made.collector.collect(made.loaded.maps("http"))
    told = [next(drain), next(drain)]  # whoever asks for the second has taken the first
    assert [sample.metric for sample in told] == [HTTP_CLIENT_ACTIVE, HTTP_SERVER_ACTIVE]
    assert made.samples() == told[1:]


def test_requests_are_told_by_side_method_status_and_error() -> None:
    """Two bounds: three buckets and the sum in nanoseconds."""
    made = fed(
        http_rows={
            key(23, 200, "GET", SERVER): (5, 7, 1, 4_000_000_000),
            key(23, 404, "POST", CLIENT): (1, 0, 0, 2_000_000),
            key(29, 0, "_OTHER", CLIENT, 1): (0, 0, 3, 9_000_000_000),
        },
        http_others={key(31, 0, "_OTHER", SERVER): (0, 11, 0, 1_000_000_000)},
    )
    assert made.samples() == [
        Sample(HTTP_SERVER_DURATION, Distribution((5, 7, 1), 4.0), 23, ("GET", "200", "")),
        Sample(HTTP_CLIENT_DURATION, Distribution((1, 0, 0), 0.002), 23, ("POST", "404", "404")),
        Sample(HTTP_CLIENT_DURATION, Distribution((0, 0, 3), 9.0), 29, ("_OTHER", "", "reset")),
        Sample(HTTP_SERVER_DURATION, Distribution((0, 11, 0), 1.0), 31, ("_OTHER", "", "")),
    ]
    made.samples()
    assert made.delivered() == {"http_requests": 13 + 1 + 3 + 11}


def test_requests_by_peer_are_told_by_side_and_result() -> None:
    """Successes, errors and nanoseconds, each as client and as server."""
    peer, folded = Flow(rows.V4, 8080, "tcp"), Flow(rows.FOLDED_V4, 0, "tcp")
    made = fed(
        http_flows={rows.key(23, peer): (7, 3, 2, 0, 4_000_000_000, 3_000_000)},
        http_flow_others={rows.key(29, folded): (0, 0, 0, 5, 0, 500_000_000)},
    )
    assert made.samples() == [
        Sample(FLOW_HTTP_REQUESTS, 7, 23, ("client", "success"), peer),
        Sample(FLOW_HTTP_REQUESTS, 2, 23, ("client", "error"), peer),
        Sample(FLOW_HTTP_DURATION, Summed(4.0, 9), 23, ("client",), peer),
        Sample(FLOW_HTTP_REQUESTS, 3, 23, ("server", "success"), peer),
        Sample(FLOW_HTTP_DURATION, Summed(0.003, 3), 23, ("server",), peer),
        Sample(FLOW_HTTP_REQUESTS, 5, 29, ("server", "error"), folded),
        Sample(FLOW_HTTP_DURATION, Summed(0.5, 5), 29, ("server",), folded),
    ]
    assert made.delivered() == {"http_peers": 12}


def test_a_row_that_was_read_between_its_additions_loses_none_of_them() -> None:
    peer = Flow(rows.V4, 8080, "tcp")
    made = fed(http_flows={rows.key(23, peer): (0, 0, 0, 0, 1_000_000_000, 0)})
    assert made.samples() == [Sample(FLOW_HTTP_DURATION, Summed(1.0, 0), 23, ("client",), peer)]
    made.tables.hashes["http_flows"][rows.key(23, peer)] = (1, 0, 0, 0, 1_000_000_000, 0)
    assert made.samples() == [
        Sample(FLOW_HTTP_REQUESTS, 1, 23, ("client", "success"), peer),
        Sample(FLOW_HTTP_DURATION, Summed(0.0, 1), 23, ("client",), peer),
    ]


@pytest.mark.parametrize(
    ("role", "status", "error", "found"),
    [
        (SERVER, 200, 0, ""),
        (SERVER, 404, 0, ""),
        (SERVER, 499, 0, ""),
        (SERVER, 500, 0, "500"),
        (CLIENT, 399, 0, ""),
        (CLIENT, 400, 0, "400"),
        (CLIENT, 599, 0, "599"),
        (CLIENT, 0, 0, ""),
        (CLIENT, 0, 1, "reset"),
        (SERVER, 0, 2, "closed"),
        (SERVER, 0, 3, "timeout"),
        (CLIENT, 0, 4, "unknown"),
    ],
)
def test_an_error_is_what_the_convention_calls_one(role: int, status: int, error: int, found: str) -> None:
    assert error_type(role, status, error) == found
