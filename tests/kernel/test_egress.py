"""Is every destination outside the list of a watched workload told once, by whichever call, and is nobody else touched?

Witnesses: strace, the client's own log, dnsmasq, the books.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.support import fast_starts
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup, v2_root
from tests.support.events import TRIES, Told, of, parsed
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace, veth_pair
from tests.support.reaching import TCP_WAYS, UDP_WAYS

from agent.collectors.dns_names import DnsNames
from agent.collectors.egress import Egress
from agent.kernel.door import KernelDoor, KernelSettings
from agent.security.orders import Orders, Watch
from agent.settings import Settings
from bpfleet.api import Collector, Event, Sample

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

REACHING = str(Path(__file__).parents[1] / "support/reaching.py")
V4, V6, MAPPED = "198.51.100.2", "2001:db8::2", "::ffff:198.51.100.2"
PORT, CLOSED = 5001, 9
LOOPBACK = ("127.0.0.0/8", "::1/128")
PLENTY = 1_000_000

EVERYWHERE = [
    *((way, address, PORT) for way in (*TCP_WAYS, *UDP_WAYS) if way != "udp_own_peer" for address in (V4, V6, MAPPED)),
    *(("tcp", address, CLOSED) for address in (V4, V6)),
    *(("tcp", address, PORT) for address in ("192.0.2.23", "2001:db8:2::23")),  # no route there
]
CALL = re.compile(r"^(\d+) +(connect|sendto|sendmsg|sendmmsg)\((\d+)")
NAMED = re.compile(r'sin6?_port=htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([0-9a-f.:]+)"')

MANY_ALLOWED = """
import socket, sys
for number in range(10_000):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if number % 2 else socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect_ex((sys.argv[1], 9))
    if number % 1500 == 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((sys.argv[2], 1000 + number // 1500))
"""
FLOOD = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for number in range(int(sys.argv[2])):
        sock.sendto(b"", (sys.argv[1], 9))
"""


class Watched:
    """The collectors on the kernel, without an agent around them."""

    def __init__(self, stack: ExitStack) -> None:
        self.egress, self.names = Egress(), DnsNames()
        collectors: tuple[Collector, ...] = (self.names, self.egress)
        settings = Settings()
        chosen = KernelSettings(
            cgroup_root=str(v2_root()),
            limits=asdict(settings.limits),
            bounds=asdict(settings.histograms),
            cache=str(fast_starts.programs()),
        )
        self.loaded = stack.enter_context(closing(KernelDoor().load(collectors, chosen)))
        for outcome in self.loaded.outcomes.values():
            assert outcome.up, outcome
        self.reason = self.loaded.outcomes["egress"].reason
        self.egress.meet(collectors)
        self.before = self.books()

    def watch(self, watches: Mapping[Cgroup | Path, Watch], allowed: Mapping[int, Iterable[str]] | None = None) -> None:
        """allowed: networks by group."""
        paths = {each if isinstance(each, Path) else each.path: watch for each, watch in watches.items()}
        asked = {path.stat().st_ino: watch for path, watch in paths.items()}
        lists = {group: frozenset(map(prefix, networks)) for group, networks in (allowed or {}).items()}
        orders = Orders({"egress": asked}, {}, lists)
        for each in (self.names, self.egress):
            assert each.steer(self.loaded.maps(each.name), orders) == 0
        self.before = self.books()

    def drain(self) -> tuple[list[Event], list[Sample]]:
        self.loaded.begin_drain()
        samples = [sample for each in (self.names, self.egress) for sample in each.collect(self.loaded.maps(each.name))]
        return list(self.egress.events(self.loaded.maps("egress"))), samples

    def told(self, cgroup: Cgroup) -> list[Event]:
        """And of nobody else."""
        events, _ = self.drain()
        assert {event.cgroup_id for event in events} <= {cgroup.path.stat().st_ino}
        return events

    def books(self) -> dict[str, tuple[int, ...]]:
        delivered = self.loaded.delivered()
        return {name: (*row, delivered.get(name, 0)) for name, row in self.loaded.books().items()}

    def grown(self, channel: str) -> tuple[int, ...]:
        """Since the last watch: seen, lost by rate_limit and ring_full, delivered."""
        return tuple(now - then for now, then in zip(self.books()[channel], self.before[channel], strict=True))


def prefix(network: str) -> tuple[bytes, int]:
    of = ip_network(network)
    if of.version == 4:
        return bytes(10) + b"\xff\xff" + of.network_address.packed, 96 + of.prefixlen
    return of.network_address.packed, of.prefixlen


def destination(event: Event) -> tuple[Any, ...]:
    return event.attributes["network.peer.address"], event.attributes["network.peer.port"]


def plain(address: str) -> str:
    """Without the form that IPv4 has in a socket of IPv6."""
    of = ip_address(address)
    return str((of.version == 6 and of.ipv4_mapped) or of)


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        found = Watched(stack)
        assert not found.reason
        yield found


@pytest.fixture(scope="module")
def nodes() -> Iterator[Pair]:
    """A client's network and that of a server of reaching.py."""
    with Namespace("client") as client, Namespace("server") as server, veth_pair(client, server):
        with Cgroup("server", server) as cgroup:
            cgroup.start([sys.executable, "-I", REACHING, "serve", str(PORT)], ready="ready")
            yield client, server


@pytest.fixture(autouse=True)
def by_itself(alone: object) -> None:
    """No agent drains or counts meanwhile."""


def reach(cgroup: Cgroup, calls: list[tuple[str, str, int]], *before: str) -> tuple[int, list[str]]:
    """The process' id, and what came of each call."""
    argv = [*before, sys.executable, "-I", REACHING, "call", json.dumps(calls)]
    number, *answers = cgroup.run(argv).stdout.splitlines()
    return int(number), answers


def traced(log: Path) -> list[tuple[int, str, int]]:
    """Process, address and port of each destination that strace saw a process name, in order. A connect() right after
    one that is under way asks how that goes."""
    found, before = [], ""
    for line in log.read_text().splitlines():
        call = CALL.match(line)
        if call and not (line.endswith("= 0") and before.startswith(call[0]) and "EINPROGRESS" in before):
            found += [(int(call[1]), plain(address), int(port)) for port, address in NAMED.findall(line)]
        before = line
    return found


@needs("strace")
def test_each_way_out_is_told_once_as_strace_saw_it_and_nothing_that_is_allowed(
    watched: Watched, place: Place, nodes: Pair, tmp_path: Path
) -> None:
    client, log = place("client", nodes[0]), tmp_path / "strace"
    _, unwatched = reach(client, EVERYWHERE)
    assert Counter(unwatched) == {
        "hello": 3 * (len(TCP_WAYS) + len(UDP_WAYS) - 2),
        "helloagain": 3,
        "ECONNREFUSED": 2,
        "ENETUNREACH": 2,
    }
    assert watched.told(client) == []

    watched.watch(
        {client: Watch(PLENTY, PLENTY, 7)}, {7: [*LOOPBACK, "198.51.100.0/25", "2001:db8::/32", "192.0.2.0/24"]}
    )
    assert reach(client, EVERYWHERE)[1] == unwatched
    assert watched.told(client) == []
    assert watched.grown("egress") == (0, 0, 0, 0)

    watched.watch({client: Watch(PLENTY, PLENTY, 8)}, {8: LOOPBACK, 7: ["198.51.100.0/24"]})
    strace = ("strace", "-f", "-qq", "-s", "9", "-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(log))
    process, answers = reach(client, EVERYWHERE, *strace)
    assert answers == unwatched
    told = watched.told(client)
    assert [(event.attributes["process.pid"], *destination(event)) for event in told] == traced(log)
    ways = [way for way, _, _ in EVERYWHERE for _ in range(UDP_WAYS.get(way, 1))]
    assert [event.attributes["network.transport"] for event in told] == [
        "udp" if way in UDP_WAYS else "tcp" for way in ways
    ]
    assert [event.attributes["bpfleet.network.call"] for event in told] == [
        "send" if "_send" in way else "connect" for way in ways
    ]
    for event in told:
        assert event.name == "bpfleet.security.egress"
        address, port = destination(event)
        assert event.attributes["network.type"] == ("ipv6" if ":" in address else "ipv4")
        assert event.flow == (prefix(f"{address}")[0], port, event.attributes["network.transport"])
        assert event.attributes["process.pid"] == process
        assert event.attributes["process.executable.path"] == os.path.realpath(sys.executable)
        assert event.attributes["bpfleet.process.parent.name"] == "strace"
        assert event.attributes["process.user.id"] == os.geteuid()
    assert watched.grown("egress") == (len(told), 0, 0, len(told))


def test_ways_that_strace_cannot_show_are_told_too(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    process, answers = reach(client, [("uring", V4, PORT), ("uring", V6, PORT), ("udp_unspecified", V4, PORT)])
    assert answers == ["hello"] * 3
    told = watched.told(client)
    assert [destination(event) for event in told] == [(V4, PORT), (V6, PORT), (V4, PORT)]
    assert {event.attributes["process.pid"] for event in told} == {process}


def test_port_0_is_no_way_out(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    assert reach(client, [("udp_port_zero", address, 0) for address in ("127.0.0.9", "::1")])[1] == ["hello"] * 2
    assert [destination(event) for event in watched.told(client)] == [("127.0.0.9", 0), ("::1", 0)]


def test_a_datagram_to_the_one_that_its_socket_is_connected_to_is_no_second_destination(
    watched: Watched, place: Place, nodes: Pair
) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    assert reach(client, [("udp_own_peer", address, PORT) for address in (V4, V6, MAPPED)])[1] == ["hello"] * 3
    told = [(destination(event)[0], event.attributes["bpfleet.network.call"]) for event in watched.told(client)]
    assert told == [(V4, "connect"), (V6, "connect"), (V4, "connect")]


def test_the_address_of_all_zeros_is_this_host(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    zeros = [
        (way, address, CLOSED) for way in ("tcp", "udp_connected") for address in ("0.0.0.0", "::", "::ffff:0.0.0.0")
    ]
    watched.watch({client: Watch(PLENTY, PLENTY, 1)}, {1: LOOPBACK})
    assert Counter(reach(client, zeros)[1]) == {"ECONNREFUSED": 6}
    assert watched.told(client) == []
    watched.watch({client: Watch(PLENTY, PLENTY, 2)}, {1: LOOPBACK})
    reach(client, zeros[:3])
    assert [destination(event)[0] for event in watched.told(client)] == ["0.0.0.0", "::", "0.0.0.0"]


def test_what_it_is_blind_to(watched: Watched, place: Place, nodes: Pair) -> None:
    """Raw, packet and ping sockets, UDP-Lite that is connected, and a socket that somebody else has connected."""
    client, other = place("client", nodes[0]), place("other", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    nodes[0].write("net/ipv4/ping_group_range", "0 0")
    ways = [("raw", V4, 0), ("packet", V4, 0), ("udp_lite", V4, PORT), ("ping", V4, 0)]
    assert reach(client, ways)[1] == ["28 bytes", "40 bytes", "9 bytes", "17 bytes"]
    passed = (
        "import os, socket, sys; sock = socket.create_connection((sys.argv[1], int(sys.argv[2]))); "
        "open(sys.argv[3], 'w').write(str(os.getpid())); sock.send(b'hello'); print(sock.recv(9).decode())"
    )
    moved = other.run([sys.executable, "-I", "-c", passed, V4, str(PORT), str(client.path / "cgroup.procs")])
    assert moved.stdout == "hello\n"
    assert watched.told(client) == []


def test_seven_among_10_000_that_are_allowed_are_seven_events(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY, 1)}, {1: [f"{V4}/32"]})
    client.run([sys.executable, "-I", "-c", MANY_ALLOWED, V4, "198.51.100.3"])
    assert [destination(event) for event in watched.told(client)] == [
        ("198.51.100.3", 1000 + each) for each in range(7)
    ]
    assert watched.grown("egress") == (7, 0, 0, 7)


def test_a_flood_costs_only_its_own_share_and_is_counted(watched: Watched, place: Place, nodes: Pair) -> None:
    flooding, neighbour, nobody = (place(name, nodes[0]) for name in ("flooding", "neighbour", "nobody"))
    watched.watch({flooding: Watch(10, 23), neighbour: Watch(10, 23)})
    flood = flooding.start([sys.executable, "-I", "-c", FLOOD, V4, "50000"])
    neighbour.run([sys.executable, "-I", "-c", FLOOD, V6.replace(V6, "198.51.100.3"), "13"])
    nobody.run([sys.executable, "-I", "-c", FLOOD, V4, "1000"])
    assert flood.wait() == 0
    events, samples = watched.drain()
    told = Counter(event.cgroup_id for event in events)
    own, others = (each.path.stat().st_ino for each in (flooding, neighbour))
    assert told[others] == 13 and 23 <= told[own] < 500 and len(told) == 2
    assert watched.grown("egress") == (50_013, 50_000 - told[own], 0, 13 + told[own])
    suppressed = [sample for sample in samples if sample.metric.name == "security.suppressed"]
    assert [(each.value, each.cgroup_id, each.labels) for each in suppressed] == [
        (50_000 - told[own], own, ("egress",))
    ]


def test_more_than_the_ring_holds_is_lost_by_number(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    client.run([sys.executable, "-I", "-c", FLOOD, V4, "5000"])
    told = watched.told(client)
    assert 2000 < len(told) < 5000
    assert watched.grown("egress") == (5000, 0, 5000 - len(told), len(told))


def test_who_is_not_watched_any_more_is_told_nothing_of(watched: Watched, place: Place, nodes: Pair) -> None:
    client, later = place("client", nodes[0]), place("later", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    watched.watch({later: Watch(PLENTY, PLENTY)})
    for each in (client, later):
        reach(each, [("tcp", V4, PORT)])
    assert [destination(event) for event in watched.told(later)] == [(V4, PORT)]


RESOLVED = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


def asking(cgroup: Cgroup, folder: Path, *argv: str) -> str:
    """A program that asks the name server of the other side, as glibc does."""
    (folder / "resolv.conf").write_text(f"nameserver {V4}\noptions timeout:20 attempts:1\n")
    command = ["unshare", "-m", "sh", "-c", RESOLVED, str(folder / "resolv.conf"), *argv]
    return cgroup.run(command, check=False).stdout


def serve_names(server: Cgroup, *records: str) -> None:
    """dnsmasq, which answers when this returns."""
    server.start(
        [
            *("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--user=root"),
            *("--pid-file=", f"--listen-address={V4},{V6}", "--bind-interfaces", "--log-facility=-", *records),
        ],
        stderr=subprocess.DEVNULL,
    )
    assert server.namespace
    while not server.namespace.run(["ss", "-ulnH", "sport = :53"]).stdout:
        pass


@needs("dnsmasq", "curl", "unshare")
def test_a_destination_carries_the_name_that_was_asked_for(
    watched: Watched, place: Place, nodes: Pair, tmp_path: Path
) -> None:
    client, server = place("client", nodes[0]), place("names", nodes[1])
    serve_names(
        server,
        *("--host-record=four.example.test,198.51.100.2", f"--host-record=six.example.test,{V6}"),
        *(f"--host-record=both.example.test,{V4},{V6}", "--cname=alias.example.test,six.example.test"),
    )
    watched.watch({client: Watch(PLENTY, PLENTY, 1)}, {1: LOOPBACK})
    for name, addresses in (("four", {V4}), ("Six", {V6}), ("both", {V4, V6}), ("alias", {V6})):
        asked = f"{name}.example.test"
        asking(client, tmp_path, "curl", "-sS", "-m", "20", f"http://{asked}:{CLOSED}/")
        told = watched.told(client)
        servers = [event for event in told if destination(event) == (V4, 53)]
        reached = [event for event in told if event.attributes["network.peer.port"] == CLOSED]
        assert len(servers) + len(reached) == len(told) and servers
        assert {destination(event)[0] for event in reached} == addresses
        assert {event.attributes.get("dns.question.name") for event in reached} == {asked.lower()}
        assert {event.attributes.get("bpfleet.dns.resolver") for event in reached} == {V4}
        assert {event.attributes["network.transport"] for event in reached} >= {"tcp"}
    seen, *lost, delivered = watched.grown("dns_names")
    assert (seen, lost) == (delivered, [0, 0]) and seen >= 8


BAD_SERVER = """
import random, socket, struct, sys
chosen = random.Random(23)
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    question, sender = sock.recvfrom(2000)
    record = b"\\xc0\\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + bytes([192, 0, 2, 9])
    good = question[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0) + question[12:] + record
    kind = question[12:].split(b"\\0")[0][1:2]
    bad = {
        b"g": good,
        b"c": good[: chosen.randrange(1, len(good))],
        b"r": chosen.randbytes(chosen.randrange(1, 1400)),
        b"l": good[:12] + b"\\xc0\\x0c" + good[14:],
        b"h": good[:12] + b"\\x3f" * 1300,
        b"e": b"",
        b"b": good + bytes(4000),
    }
    sock.sendto(bad[kind], sender)
"""
ASKS = """
import socket, struct, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.settimeout(5)
sock.bind(("", 0))
for number in range(int(sys.argv[2])):
    kind = sys.argv[3][number % len(sys.argv[3])].encode()
    name = bytes([len(kind) + 3]) + kind + b"%03d" % (number % 1000) + b"\\x04test\\0"
    sock.sendto(struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + name + struct.pack("!HH", 1, 1), (sys.argv[1], 53))
    sock.recv(9000)
"""


def test_answers_of_a_bad_server_do_no_harm(watched: Watched, place: Place, nodes: Pair) -> None:
    client, server, nobody = place("client", nodes[0]), place("bad", nodes[1]), place("nobody", nodes[0])
    server.start([sys.executable, "-I", "-c", BAD_SERVER, V4], ready="ready")
    watched.watch({client: Watch(PLENTY, PLENTY, 1)}, {1: [f"{V4}/32"]})
    asks = [sys.executable, "-I", "-c", ASKS, V4]
    client.run([*asks, "420", "crlhebg"])
    nobody.run([*asks, "70", "crlhebg"])
    _, samples = watched.drain()
    of = client.path.stat().st_ino
    assert {sample.cgroup_id for sample in samples} == {of}
    answers = {sample.labels[0]: sample.value for sample in samples if sample.metric.name == "dns_names.answers"}
    seen, *lost, delivered = watched.grown("dns_names")
    assert lost == [0, 0] and seen == delivered == sum(answers.values())
    assert seen == 360, "60 of 420 are empty"
    assert answers["unreadable"] >= 180 and answers["read"] >= 60 and answers["cut"] >= 60
    assert {known.address for known in watched.names.table.known(of, 0)} == {prefix("192.0.2.9")[0]}

    client.run([*asks, "1", "g"])
    reach(client, [("tcp_later", "192.0.2.9", CLOSED)])
    (event,) = watched.told(client)
    assert event.attributes["dns.question.name"] == "g000.test"


def test_a_flood_of_answers_is_counted(watched: Watched, place: Place, nodes: Pair) -> None:
    client, server = place("client", nodes[0]), place("bad", nodes[1])
    server.start([sys.executable, "-I", "-c", BAD_SERVER, V4], ready="ready")
    watched.watch({client: Watch(PLENTY, PLENTY, 1)}, {1: [f"{V4}/32"]})
    client.run([sys.executable, "-I", "-c", ASKS, V4, "3000", "g"])
    watched.drain()
    seen, limited, full, delivered = watched.grown("dns_names")
    assert seen == 3000 == limited + delivered and not full and delivered >= 500


def test_a_port_that_is_not_the_resolvers_says_nothing(watched: Watched, place: Place, nodes: Pair) -> None:
    client = place("client", nodes[0])
    watched.watch({client: Watch(PLENTY, PLENTY)})
    reach(client, [("udp_sendto", V4, PORT)])
    assert watched.grown("dns_names") == (0, 0, 0, 0)


WITH_LESS = """
import json, sys
from contextlib import ExitStack
sys.path[:0] = {path!r}
from tests.kernel.test_egress import *
with ExitStack() as stack:
    watched = Watched(stack)
    watched.watch({{Path({cgroup!r}): Watch(PLENTY, PLENTY)}})
    print("ready", flush=True)
    input()
    print(json.dumps([watched.reason, *(dict(event.attributes) for event in watched.drain()[0])]))
"""


@needs("setpriv")
@pytest.mark.parametrize("kept", ["bpf perfmon net_admin", "bpf net_admin"])
def test_three_capabilities_are_enough_and_without_perfmon_less_is_said_of_the_process(
    place: Place, stack: ExitStack, kept: str
) -> None:
    capabilities = ",".join(f"+{one}" for one in kept.split())
    setpriv = ["setpriv", f"--bounding-set=-all,{capabilities}", f"--inh-caps=-all,{capabilities}"]
    here = stack.enter_context(Namespace("alone"))
    client, agent = place("client", here), place("agent", here)
    place("bad", here).start([sys.executable, "-I", "-c", BAD_SERVER, "127.0.0.53"], ready="ready")
    path = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    text = WITH_LESS.format(path=path, cgroup=str(client.path))
    reader = agent.start([*setpriv, sys.executable, "-c", text], ready="ready")
    client.run([sys.executable, "-I", "-c", ASKS, "127.0.0.53", "1", "g"])
    process, _ = reach(client, [("tcp_later", "192.0.2.9", CLOSED)])
    told, _ = reader.communicate("\n", timeout=RUN_SECONDS)
    reason, asked, reached = json.loads(told)
    assert bool(reason) == ("perfmon" not in kept) == ("without the capability PERFMON" in reason)
    assert (asked["network.peer.address"], asked["network.peer.port"]) == ("127.0.0.53", 53)
    assert reached["process.pid"] == process
    assert (reached["network.peer.address"], reached["dns.question.name"]) == ("192.0.2.9", "g000.test")
    of_process = {name for name in reached if "process." in name}
    if "perfmon" in kept:
        assert of_process > {"process.vpid", "process.parent_pid", "process.executable.path"}
    else:
        assert of_process == {"process.pid", "process.user.id"}


POLICY = f"""\
version: 1
name: shop
scope: {{namespaces: [shop]}}
rules:
  - name: unexpected-egress
    event: egress
    severity: critical
    allow:
      - address: [{V4}, 127.0.0.0/8]
      - name: [good.test]
"""
OWNERS = """\
- {cgroup: "/*-shop-*", namespace: shop, pod: shop-1, container: main, workload: shop, workload_kind: Deployment}
"""


def seen(agent: Agent) -> int:
    agent.drained()
    return int(agent.page().value("bpfleet_seen_total", channel="egress"))


@needs("dnsmasq", "curl", "unshare")
def test_a_policy_of_addresses_and_names_is_broken_by_what_it_does_not_name(
    house: House, place: Place, nodes: Pair, tmp_path: Path
) -> None:
    """The whole way, from the call to the record; names that are allowed become addresses of the kernel's list."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/shop.yaml").write_text(POLICY)
    (tmp_path / "owners.yaml").write_text(OWNERS)
    (tmp_path / "events.jsonl").touch()
    serve_names(
        place("names", nodes[1]),
        *(
            f"--host-record=www.good.test,{V6}",
            "--host-record=www.bad.test,2001:db8:2::7",
        ),
    )
    with Agent(
        *("--collectors", "cgroups,egress", "--security-watch", "all", "--security-fold-seconds", "0"),
        *("--security-policies", str(tmp_path / "policies"), "--identity-static-file", str(tmp_path / "owners.yaml")),
        *("--sinks-file-path", str(tmp_path / "events.jsonl"), "--sinks-jsonl-path", ""),
    ) as agent:
        shop = place("shop", nodes[0])
        asking(shop, tmp_path, "curl", "-m", "20", f"http://www.good.test:{CLOSED}/")
        before = seen(agent)
        asking(shop, tmp_path, "curl", "-m", "20", f"http://www.good.test:{CLOSED}/")
        reach(shop, [("tcp", V4, PORT), ("udp_sendto", V4, PORT), ("tcp", V6, PORT)])
        assert seen(agent) == before, "the kernel's list has the resolver, and by now the name's address"
        asking(shop, tmp_path, "curl", "-m", "20", f"http://www.bad.test:{CLOSED}/")
        reach(shop, [("udp_sendto", "2001:db8:2::9", 123)])
        told: list[Told] = []
        for _ in range(TRIES):
            agent.drained()
            told = of(parsed((tmp_path / "events.jsonl").read_text()), "shop")
            if len(told) >= 2:
                break
        assert seen(agent) == before + 2
    by_name, by_address = told
    for record, address, transport in ((by_name, "2001:db8:2::7", "tcp"), (by_address, "2001:db8:2::9", "udp")):
        assert record["security_rule.name"] == "unexpected-egress" and record["k8s.pod.name"] == "shop-1"
        assert (record["network.peer.address"], record["network.transport"]) == (address, transport)
    assert by_name["dns.question.name"] == "www.bad.test" and by_name["process.executable.name"] == "curl"
    assert "dns.question.name" not in by_address
