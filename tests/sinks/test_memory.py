"""A sink whose other end is in trouble takes a bounded memory, and the books say what it cost."""

import json
import socket
import subprocess
import sys

import pytest
from tests.support import bad_servers
from tests.support.receivers import free_ports

EVENTS = 40_000
MIB = 1 << 20
BOUND = 10 * MIB

FEED = """
import json, os, sys, time
from tests.support import sending
from tests.support.sending import event

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

name, options, count = json.loads(sys.argv[1])
to = sending.Sending(sending.sink(name, **options))
filler = "x" * 100
to.put(*(event(-1 - number, filler=filler) for number in range(500)))
time.sleep(0.3)
before = highest = resident()
for start in range(0, count, 500):
    to.put(*(event(number, filler=filler) for number in range(start, start + 500)))
    highest = max(highest, resident())
    time.sleep(0.01)
standing = to.standing()
print(json.dumps([before, highest - before, standing.account.seen, standing.account.lost]))
os._exit(0)
"""


def fed(name: str, **options: str | float) -> tuple[int, dict[str, int]]:
    """What it grew by in bytes, and what was lost."""
    arguments = json.dumps([name, {"timeout_seconds": 0.5, **options}, EVENTS])
    done = subprocess.run(
        [sys.executable, "-c", FEED, arguments], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": "src:."}
    )
    assert done.returncode == 0, done.stderr
    _, grown, seen, lost = json.loads(done.stdout)
    assert seen == EVENTS + 500
    return grown, lost


def silent(connection: socket.socket) -> None:
    bad_servers.silent_without_reading(connection)


def endless(connection: socket.socket) -> None:
    bad_servers.endless(b"HTTP/1.1 200 OK\r\n\r\n", b"y" * 4096)(connection)


@pytest.mark.parametrize("serve", [None, silent, endless], ids=["down", "silent", "endless"])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"], ids=["grpc", "http"])
def test_otlp(protocol: str, serve: object) -> None:
    check("otlp", "endpoint", "http", serve, protocol=protocol)


@pytest.mark.parametrize("serve", [None, silent, endless], ids=["down", "silent", "endless"])
def test_syslog(serve: object) -> None:
    check("syslog", "address", "tcp", serve)


def check(name: str, place: str, scheme: str, serve: object, **options: str) -> None:
    if serve is None:
        (port,) = free_ports(1)
        grown, lost = fed(name, **options, **{place: f"{scheme}://127.0.0.1:{port}"})
        assert lost["queue_full"] and not lost["unanswered"]
    else:
        with bad_servers.Listener(serve) as server:  # type: ignore[arg-type]
            grown, lost = fed(name, **options, **{place: f"{scheme}://127.0.0.1:{server.port}"})
    assert grown < BOUND, f"{grown / MIB:.1f} MiB"
