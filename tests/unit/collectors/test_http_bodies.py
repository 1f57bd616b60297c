import struct

from tests.unit.collectors.rows import feed

from agent.collectors.http import CLIENT, SERVER
from agent.collectors.http_bodies import HttpBodies
from bpfleet.catalogue import (
    HTTP_CLIENT_REQUEST_BODY,
    HTTP_CLIENT_RESPONSE_BODY,
    HTTP_METHODS,
    HTTP_SERVER_REQUEST_BODY,
    HTTP_SERVER_RESPONSE_BODY,
)
from bpfleet.metrics import Distribution, Sample


def key(cgroup_id: int, status: int, method: str, role: int, is_answer: bool) -> bytes:
    """`struct http_body_key` of http_bodies.bpf.c."""
    return struct.pack("=QHBBB3x", cgroup_id, status, HTTP_METHODS.index(method), role, is_answer)


def test_bodies_are_told_by_side_and_direction_answers_with_their_status() -> None:
    """Two bounds: three buckets and the sum in bytes."""
    hashes = {
        "http_body_rows": {
            key(23, 0, "POST", SERVER, False): (0, 7, 0, 700),
            key(23, 200, "POST", SERVER, True): (7, 0, 0, 0),
            key(29, 0, "GET", CLIENT, False): (3, 0, 0, 0),
            key(29, 404, "GET", CLIENT, True): (0, 2, 1, 5_000),
        },
        "http_body_others": {key(31, 0, "_OTHER", CLIENT, True): (0, 0, 11, 11_000)},
    }
    made = feed(HttpBodies(), hashes, *hashes)
    assert made.samples() == [
        Sample(HTTP_SERVER_REQUEST_BODY, Distribution((0, 7, 0), 700.0), 23, ("POST",)),
        Sample(HTTP_SERVER_RESPONSE_BODY, Distribution((7, 0, 0), 0.0), 23, ("POST", "200")),
        Sample(HTTP_CLIENT_REQUEST_BODY, Distribution((3, 0, 0), 0.0), 29, ("GET",)),
        Sample(HTTP_CLIENT_RESPONSE_BODY, Distribution((0, 2, 1), 5000.0), 29, ("GET", "404")),
        Sample(HTTP_CLIENT_RESPONSE_BODY, Distribution((0, 0, 11), 11000.0), 31, ("_OTHER", "")),
    ]
    assert made.samples() == []
    assert made.delivered() == {"http_bodies": 7 + 7 + 3 + 3 + 11}


def test_it_is_off_unless_asked_for() -> None:
    assert not HttpBodies.default
