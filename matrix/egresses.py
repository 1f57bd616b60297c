"""Is every destination told once, by whichever call it is named, and with the name that was asked for, on this kernel?
Without the agent: the collectors alone, in a cgroup of their own, and servers on this host."""

import contextlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support import reaching
from tests.support.reaching import TCP_WAYS, UDP_WAYS

from agent.collectors.dns_names import DnsNames
from agent.collectors.egress import Egress
from agent.kernel import facts
from agent.security.orders import Orders, Watch
from bpfleet.api import Event
from bpfleet.testing import Trial, loaded

ALL, FEW = Watch(100_000, 100_000, group=1), Watch(1, 23, group=1)
PORT = 5053
ADDRESSES = {"127.0.0.1": "127.0.0.1", "::1": "::1", "::ffff:127.0.0.1": "127.0.0.1"}
"""As they are named, as they are told."""

LOOPBACK = frozenset([(bytes(10) + b"\xff\xff\x7f\0\0\0", 104), (bytes(15) + b"\1", 128)])
ASYNCHRONOUS = "5.12"
"""From here on io_uring calls in the name of who asked."""

MANY = 1_009
FLOOD = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for number in range(int(sys.argv[1])):
        sock.sendto(b"", ("127.0.0.1", 9))
"""
NAMES = """
import socket, struct
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.53", 53))
print("ready", flush=True)
while True:
    question, sender = sock.recvfrom(2000)
    record = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([127, 0, 0, 1])
    sock.sendto(question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question[12:] + record, sender)
"""
ASKS = """
import socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    name = b"\\x04shop\\x04test\\0" + struct.pack("!HH", 1, 1)
    sock.sendto(struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 0) + name, ("127.0.0.53", 53))
    sock.recv(2000)
    sock.sendto(b"hello", ("127.0.0.1", int(sys.argv[1])))
"""


@contextlib.contextmanager
def server(*argv: str) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


def checks() -> Iterator[tuple[str, int, int]]:
    """What, how many were told, how many there were."""
    names, egress = DnsNames(), Egress()
    egress.meet((names, egress))
    with server(reaching.__file__, "serve", str(PORT)), server("-c", NAMES):
        with loaded(egress) as trial, loaded(names) as resolving:
            yield "destinations told that nobody watches", told(trial, ["tcp", "udp_sendto"])[0], 0
            egress.steer(trial.maps, Orders({"egress": {trial.cgroup_id: ALL}}, {}, {1: LOOPBACK}))
            yield "destinations told that are allowed", told(trial, [*TCP_WAYS, *UDP_WAYS])[0], 0
            egress.steer(trial.maps, Orders({"egress": {trial.cgroup_id: ALL}}, {}, {2: LOOPBACK}))
            for way in (*TCP_WAYS, *UDP_WAYS):
                found, done = told(trial, [way])
                yield f"destinations of {way}", found, done * UDP_WAYS.get(way, 1)
            if facts.version(platform.release()) >= facts.version(ASYNCHRONOUS):
                yield "destinations of io_uring", *told(trial, ["uring"])
            yield from _names(trial, resolving, names)
            yield from _counts(trial)


def told(trial: Trial, ways: list[str]) -> tuple[int, int]:
    """How many events there are, or less than none if some say anything but what was asked for; and how many calls had
    their answer: a kernel may lack a protocol."""
    calls = [(way, address, PORT) for way in ways for address in ADDRESSES]
    said = trial.run([sys.executable, reaching.__file__, "call", json.dumps(calls)])
    process, *answers = said.stdout.splitlines()
    wanted = set(ADDRESSES.values())
    found = trial.events()
    wrong = sum(not _is_of(event, int(process)) or peer(event) not in wanted for event in found)
    return -wrong if wrong else len(found), sum(answer.startswith("hello") for answer in answers)


def _is_of(event: Event, process: int) -> bool:
    executable = event.attributes.get("process.executable.path")
    return (event.attributes["process.pid"], executable) == (process, str(Path(sys.executable).resolve()))


def peer(event: Event) -> object:
    return event.attributes["network.peer.address"] if event.attributes["network.peer.port"] == PORT else None


def _names(trial: Trial, resolving: Trial, names: DnsNames) -> Iterator[tuple[str, int, int]]:
    names.steer(resolving.maps, Orders({"egress": {trial.cgroup_id: ALL}}))
    trial.run([sys.executable, "-c", ASKS, str(PORT)])
    found = [event.attributes.get("dns.question.name") for event in trial.events()]
    yield "a destination by the name that was asked for", int(found == [None, "shop.test"]), 1
    yield "books: answers", resolving.books()["dns_names"].delivered, 1


def _counts(trial: Trial) -> Iterator[tuple[str, int, int]]:
    before = trial.books()["egress"]
    Egress().steer(trial.maps, Orders({"egress": {trial.cgroup_id: FEW}}))
    trial.run([sys.executable, "-c", FLOOD, str(MANY)])
    told, refused = len(trial.events()), sum(int(str(sample.value)) for sample in trial.samples())
    yield "told + beyond the workload's share = destinations", told + refused, MANY
    yield "books: seen", trial.books()["egress"].seen - before.seen, MANY
