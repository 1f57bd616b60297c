import random
import struct

import pytest
from tests.unit.collectors.rows import V4, V6

from agent.collectors.http import CLIENT, SERVER
from agent.collectors.http_log import CARRY, MODES, HttpLog, Mode, decode, limits
from agent.collectors.packet import MAPPED
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.settings import Settings
from bpfleet.api import Event, Flow
from bpfleet.catalogue import HTTP_METHODS
from bpfleet.events import HTTP_REQUEST

LOCAL_V4 = MAPPED + bytes((198, 51, 100, 1))
HEAD = b"GET /shop?item=7 HTTP/1.1\r\nHost: one.test:8080\r\nX: y\r\n\r\n"


def record(
    head: bytes = HEAD,
    carried: int = 0,
    method: str = "GET",
    status: int = 200,
    role: int = SERVER,
    error: int = 0,
    local: bytes = LOCAL_V4,
    remote: bytes = V4,
) -> bytes:
    """`struct http_log_record` of bpf/http_log.bpf.c, as much of it as is sent; what the kernel left in front of the
    carried bytes is anything."""
    length = len(head) - carried
    fixed = struct.pack(
        "=QQQ16s16sHHHHBBBB4x",
        *(7, 1_500_000_000, 23, local, remote, 80, 40000, status, length),
        *(HTTP_METHODS.index(method), role, error, carried),
    )
    return fixed + b"\xaa" * (CARRY - carried) + head


def test_a_request_has_what_was_asked_for_of_whom_and_what_came_of_it() -> None:
    assert decode(record()) == (
        Event(
            HTTP_REQUEST,
            7,
            23,
            {
                "http.request.method": "GET",
                "bpfleet.http.role": "server",
                "bpfleet.duration": 1.5,
                "network.protocol.name": "http",
                "network.transport": "tcp",
                "network.type": "ipv4",
                "network.local.address": "198.51.100.1",
                "network.local.port": 80,
                "network.peer.address": "198.51.100.2",
                "network.peer.port": 40000,
                "http.response.status_code": 200,
                "network.protocol.version": "1.1",
                "url.path": "/shop?item=7",
                "server.address": "one.test:8080",
            },
            Flow(V4, 80, "tcp"),
        ),
        True,
    )


@pytest.mark.parametrize("carried", range(0, len(HEAD), 5))
def test_what_was_carried_over_stands_in_front(carried: int) -> None:
    told, _ = decode(record(carried=carried))
    assert told.attributes["url.path"] == "/shop?item=7"


def test_a_client_is_told_of_its_servers_port() -> None:
    told, _ = decode(record(role=CLIENT, remote=V6, local=V6))
    assert told.flow == Flow(V6, 40000, "tcp")
    assert (told.attributes["network.type"], told.attributes["bpfleet.http.role"]) == ("ipv6", "client")


@pytest.mark.parametrize(
    ("role", "status", "error", "wanted"),
    [
        (SERVER, 404, 0, None),
        (SERVER, 500, 0, "500"),
        (CLIENT, 404, 0, "404"),
        (CLIENT, 0, 1, "reset"),
        (SERVER, 0, 3, "timeout"),
        (SERVER, 0, 99, "unknown(99)"),
    ],
)
def test_errors_are_those_of_the_metrics(role: int, status: int, error: int, wanted: str | None) -> None:
    told, _ = decode(record(role=role, status=status, error=error))
    assert told.attributes.get("error.type") == wanted
    assert ("http.response.status_code" in told.attributes) == bool(status)


def test_an_unknown_method_is_told_as_it_was_written() -> None:
    told, _ = decode(record(b"PURGE / HTTP/1.1\r\n\r\n", method="_OTHER"))
    assert told.attributes["http.request.method"] == "_OTHER"
    assert told.attributes["http.request.method_original"] == "PURGE"


def test_a_request_whose_head_was_not_kept_is_told_without_it() -> None:
    told, has_head = decode(record(b""))
    assert not has_head
    assert told.attributes["http.request.method"] == "GET"
    assert not {"url.path", "server.address", "network.protocol.version"} & told.attributes.keys()


def test_a_head_of_bytes_that_mean_nothing_is_a_request_too() -> None:
    chance = random.Random(23)
    for _ in range(3000):
        head = chance.randbytes(chance.randrange(448))
        told, _ = decode(record(head, carried=min(len(head), chance.randrange(CARRY + 1))))
        assert told.attributes["http.response.status_code"] == 200


def test_a_record_may_end_anywhere_behind_its_fixed_part() -> None:
    whole = record(carried=10)
    fixed = len(record(b"")) - CARRY
    for length in range(fixed, len(whole)):
        assert decode(whole[:length])[0].cgroup_id == 23
    for length in range(fixed):
        with pytest.raises(ValueError, match=f"a record of {length} bytes"):
            decode(whole[:length])


def test_fields_of_any_bytes_are_shown_as_what_they_are() -> None:
    chance = random.Random(29)
    for _ in range(3000):
        told, _ = decode(chance.randbytes(72) + HEAD)
        assert told.name == HTTP_REQUEST
    told, _ = decode(record()[:64] + bytes((200, 9, 0, 255)) + bytes(4) + HEAD)
    assert told.attributes["http.request.method"] == "unknown(200)"
    assert told.attributes["bpfleet.http.role"] == "unknown(9)"


def test_the_books_have_each_record_and_each_head() -> None:
    tables = FakeTables(rings={"http_log": [record(), record(b""), record()]})
    loaded = FakeDoor({"http_log": tables}).load([HttpLog()], KernelSettings())
    assert len(list(HttpLog().events(loaded.maps("http_log")))) == 3
    assert loaded.delivered() == {"http_log": 3, "http_log_heads": 2}


def test_modes_are_rows_of_cgroups_and_one_of_all_others() -> None:
    tables = FakeTables()
    loaded = FakeDoor({"http_log": tables}).load([HttpLog()], KernelSettings())
    modes = {23: Mode("sampled", one_in=7), 29: Mode("off")}
    assert HttpLog().steer(loaded.maps("http_log"), Mode("errors", slow_seconds=0.25), modes) == 0
    assert tables.written["http_log_modes"] == {
        struct.pack("=Q", 0): (1, 1, 250_000_000, 1000),
        struct.pack("=Q", 23): (2, 7, 1_000_000_000, 1000),
        struct.pack("=Q", 29): (0, 1, 1_000_000_000, 1000),
    }


def test_the_constants_are_the_settings() -> None:
    given = vars(Settings().limits) | limits(**vars(Settings().requests))
    defines = HttpLog().defines(given)
    assert defines["HTTP_LOG_DEFAULT"] == str(MODES.index("off"))
    assert (defines["HTTP_LOG_ONE_IN"], defines["HTTP_LOG_SLOW_NS"]) == ("100", "1000000000ULL")
    assert defines["HTTP_LOG_PER_SECOND"] == "1000"


def test_it_is_off_unless_asked_for_and_declares_what_it_tells() -> None:
    assert not HttpLog.default
    assert HttpLog.event_names == (HTTP_REQUEST,)
