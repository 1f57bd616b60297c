"""A sink whose other end is in trouble takes a bounded memory, and the books say what it cost."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.support import bad_servers
from tests.support.receivers import free_ports

EVENTS = 25_000
WARM = 600
"""More than a batch, so that the sink has begun to send."""

MIB = 1 << 20
BOUND = 10 * MIB

FEED = """
import json, os, sys, time
from tests.support import sending
from tests.support.sending import event

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

name, options, count, WARM = json.loads(sys.argv[1])
to = sending.Sending(sending.sink(name, **options))
filler = "x" * 100
to.put(*(event(-1 - number, filler=filler) for number in range(WARM)))
time.sleep(0.3)
before = highest = resident()
for start in range(0, count, 500):
    to.put(*(event(number, filler=filler) for number in range(start, start + 500)))
    highest = max(highest, resident())
    time.sleep(0.01)
standing = to.standing()
print(json.dumps([highest - before, standing.account.seen, standing.account.lost]), flush=True)
os._exit(0)
"""


@dataclass(frozen=True)
class Fed:
    """grown: in bytes."""

    grown: int
    seen: int
    lost: dict[str, int]


def fed(port: int) -> dict[str, Fed]:
    """What became of each kind of sink, at the same time."""
    running = {}
    for kind, (name, options) in KINDS.items():
        given = {place: value.format(port=port) for place, value in options.items()}
        arguments = json.dumps([name, {"timeout_seconds": 0.5, **given}, EVENTS, WARM])
        running[kind] = subprocess.Popen(
            [sys.executable, "-c", FEED, arguments], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": "src:."}
        )
    return {kind: Fed(*json.loads(each.communicate(timeout=60)[0])) for kind, each in running.items()}


KINDS = {
    "grpc": ("otlp", {"endpoint": "http://127.0.0.1:{port}", "protocol": "grpc"}),
    "http": ("otlp", {"endpoint": "http://127.0.0.1:{port}", "protocol": "http/protobuf"}),
    "syslog": ("syslog", {"address": "tcp://127.0.0.1:{port}"}),
}


def silent(connection: socket.socket) -> None:
    bad_servers.silent_without_reading(connection)


def endless(connection: socket.socket) -> None:
    bad_servers.endless(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 4096)(connection)


def check(found: dict[str, Fed]) -> None:
    for kind, each in found.items():
        print(f"{kind}: {each.grown / MIB:.1f} MiB")
        assert each.seen == EVENTS + WARM
        assert sum(each.lost.values()) > 0
        assert each.grown < BOUND, f"{kind}: {each.grown / MIB:.1f} MiB"


def test_a_server_that_is_down_costs_what_the_queue_holds() -> None:
    (port,) = free_ports(1)
    found = fed(port)
    check(found)
    assert {each.lost["unanswered"] for each in found.values()} == {0}


@pytest.mark.parametrize("serve", [silent, endless])
def test_a_server_that_does_not_read_or_does_not_end_costs_what_the_queue_holds(
    serve: Callable[[socket.socket], None],
) -> None:
    with bad_servers.Listener(serve) as server:
        check(fed(server.port))
