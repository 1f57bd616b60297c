"""Is every packet that the kernel drops counted once, with its reason, for the owner of the network in which it was?

Witnesses: nftables' own counters; UdpNoPorts, RcvbufErrors, InCsumErrors and InErrors of the namespace.
"""

import json
import os
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.agents import WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace, veth_pair
from tests.support.pages import Page
from tests.support.puppets import checksum
from tests.support.servers import Nginx

from agent.collectors.drops import Drops
from agent.identity.netns import WALK_SECONDS
from agent.kernel.btf import VMLINUX
from agent.kernel.door import KernelDoor, KernelSettings

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
ADDRESSES = [V4, V6]
CLOSED_PORT = 9
DROPS = "bpfleet_packet_drops_total"
NODE = "/"
TCP, UDP = 6, 17
LOOKS = 10
DUPLICATES = {"tcp_old_data", "tcp_old_sequence", "tcp_rfc7323_paws_ack"}
"""What TCP sends again on a starved machine although it had arrived."""


@pytest.fixture(scope="module")
def agent(house: House) -> Iterator[Agent]:
    house.empty()
    with Agent("--collectors", "+drops", environment=WITHOUT_HTTP) as running:
        yield running


Settle = Callable[..., list[dict[str, int]]]
"""settle(client, server): what was dropped since the last time, by reason, for each of them."""


@pytest.fixture
def settle(agent: Agent) -> Settle:
    before: dict[str, Counter[str]] = {}

    def growth(*places: Cgroup) -> list[dict[str, int]]:
        page, found = settled(agent), []
        for each in places:
            drops = page.where(DROPS, workload=each.workload)
            now = Counter({labels["reason"]: int(value) for labels, value in drops})
            found.append(dict(now - before.get(each.workload, Counter())))
            before[each.workload] = now
        return found

    return growth


def settled(agent: Agent) -> Page:
    """After everything that has happened is on it, at its true value. Whose the namespaces are is known by now."""
    agent.drained()
    return Page.parse(agent.get("/metrics?view=live")[1].decode())


def of_the_node(agent: Agent, more_than: float) -> float:
    """Its datagrams of a wrong length, once there are more: whose an unknown namespace is may be asked for a second
    later."""
    for _ in range(LOOKS):
        if (found := settled(agent).value(DROPS, workload=NODE, reason="pkt_too_small")) > more_than:
            break
        time.sleep(WALK_SECONDS)
    return found


def wait_until_quiet(settle: Settle, *places: Cgroup) -> None:
    """The making of a namespace drops some packets: multicast that nobody wants, for some tenths of a second. And whose
    an unknown namespace is may be asked for a second later."""
    for _ in range(LOOKS):
        time.sleep(WALK_SECONDS)
        if not any(settle(*places)):
            return
    raise AssertionError(f"after {LOOKS} looks packets are still dropped")


@pytest.fixture
def homes(place: Place, pair: Pair, settle: Settle) -> tuple[Cgroup, Cgroup]:
    """A workload in each namespace, that has it to itself. The second one listens on port 5001."""
    client, server = place("client", pair[0]), place("server", pair[1])
    client.start(["sleep", "600"])
    server.serve("::", 5001, mode="echo", dual=True)
    wait_until_quiet(settle, client, server)
    return client, server


def filtered(space: Namespace, hook: str, rule: str, family: str = "inet") -> Callable[[], int]:
    """Drop what the rule matches; returns nftables' own count of it."""
    where = "device veth0 " if family == "netdev" else ""
    chain = f"type filter hook {hook} {where}priority 0;"
    space.run(
        [
            "nft",
            f"add table {family} t; add chain {family} t c {{ {chain} }}; add rule {family} t c {rule} counter drop",
        ]
    )

    def dropped() -> int:
        listed = json.loads(space.run(["nft", "-j", "list", "chain", family, "t", "c"]).stdout)["nftables"]
        (line,) = (entry["rule"]["expr"] for entry in listed if "rule" in entry)
        return int(next(part["counter"]["packets"] for part in line if "counter" in part))

    return dropped


@needs("nft")
@pytest.mark.parametrize("address", ADDRESSES)
def test_datagrams_that_a_filter_drops_are_the_receivers(
    settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup], address: str
) -> None:
    client, server = homes
    dropped = filtered(pair[1], "input", "udp dport 5002")
    client.talk("udp_burst", address, 5002, count=23, size=64)

    assert settle(client, server) == [{}, {"netfilter_drop": 23}]
    assert dropped() == 23


@needs("nft")
@pytest.mark.parametrize("address", ADDRESSES)
def test_connections_to_a_filtered_port(settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup], address: str) -> None:
    client, server = homes
    dropped = filtered(pair[1], "input", "tcp dport 5002")
    client.talk("abandon", address, 5002, count=19, pause=1.5)  # each SYN is sent again after a second

    assert settle(client, server) == [{}, {"netfilter_drop": dropped()}]
    assert dropped() >= 19


@needs("nft")
@pytest.mark.parametrize("address", ADDRESSES)
def test_what_the_senders_own_filter_drops_is_the_senders(
    settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup], address: str
) -> None:
    client, server = homes
    dropped = filtered(pair[0], "output", "tcp dport 5001")
    client.talk("abandon", address, 5001, count=19, pause=0.1)

    assert settle(client, server) == [{"netfilter_drop": dropped()}, {}]
    assert dropped() >= 19


@needs("nft")
def test_a_packet_that_still_has_its_senders_socket_is_dropped_where_it_is(
    settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup]
) -> None:
    """It loses that socket only when the receiver's IP layer takes it, which is after the hook of the device."""
    client, server = homes
    dropped = filtered(pair[1], "ingress", "udp dport 5002", family="netdev")
    client.talk("udp_burst", V4, 5002, count=29, size=64)

    assert settle(client, server) == [{}, {"netfilter_drop": 29}]
    assert dropped() == 29


@needs("nft")
def test_what_a_router_drops_is_the_routers(settle: Settle, place: Place, stack: ExitStack) -> None:
    first, router, last = (stack.enter_context(Namespace(name)) for name in ("a", "router", "b"))
    stack.enter_context(veth_pair(first, router, ("veth0", "left")))
    stack.enter_context(veth_pair(router, last, ("right", "veth0"), subnet=1))
    router.write("net/ipv4/ip_forward", 1)
    first.ip("route add 203.0.113.0/24 via 198.51.100.2")
    client, middle, server = place("client", first), place("middle", router), place("server", last)
    for each in (client, middle, server):
        each.start(["sleep", "600"])
    wait_until_quiet(settle, client, middle, server)
    dropped = filtered(router, "forward", "udp dport 5002")
    client.talk("udp_burst", "203.0.113.2", 5002, count=31, size=64)

    assert settle(client, middle, server) == [{}, {"netfilter_drop": 31}, {}]
    assert dropped() == 31


@pytest.mark.parametrize(("address", "counter"), [(V4, "UdpNoPorts"), (V6, "Udp6NoPorts")])
def test_datagrams_to_a_closed_port(
    settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup], address: str, counter: str
) -> None:
    client, server = homes
    client.talk("udp_burst", address, CLOSED_PORT, count=37, size=64, unconnected=True)

    assert settle(client, server) == [{}, {"no_socket": 37}]
    assert pair[1].counters()[counter] == 37


@pytest.mark.parametrize(("address", "counter"), [(V4, "UdpRcvbufErrors"), (V6, "Udp6RcvbufErrors")])
def test_a_full_receive_queue(
    settle: Settle, pair: Pair, homes: tuple[Cgroup, Cgroup], address: str, counter: str
) -> None:
    client, server = homes
    server.begin("udp_deaf", address, 5002, size=20000)
    client.talk("udp_burst", address, 5002, count=200, size=1000)

    found = settle(client, server)
    full = pair[1].counters()[counter]
    assert 0 < full < 200
    assert found == [{}, {"socket_rcvbuff": full}]


def test_datagrams_that_nobody_reads_are_nobodys(agent: Agent, settle: Settle, homes: tuple[Cgroup, Cgroup]) -> None:
    """At the socket's end nothing of them tells any more in which network they were: they count for no workload."""
    client, server = homes
    deaf = server.begin("udp_deaf", V4, 5002, size=1 << 20)
    client.talk("udp_burst", V4, 5002, count=41, size=64)
    assert settle(client, server) == [{}, {}]
    before = settled(agent).value(DROPS, namespace="_unknown")
    deaf.communicate("\n")

    assert settle(client, server) == [{}, {}]
    assert settled(agent).value(DROPS, namespace="_unknown") - before >= 41


@pytest.mark.parametrize(
    ("protocol", "reason", "counter"), [(UDP, "udp_csum", "UdpInCsumErrors"), (TCP, "tcp_csum", "TcpInCsumErrors")]
)
def test_bad_checksums(
    settle: Settle, place: Place, stack: ExitStack, protocol: int, reason: str, counter: str
) -> None:
    space = stack.enter_context(Namespace("a"))
    home = place("home", space)
    home.serve("0.0.0.0", 5001)
    tun = space.tun("tun0", ["198.51.100.1"], 100)
    wait_until_quiet(settle, home)
    try:
        for _ in range(43):
            os.write(tun, damaged(protocol))
    finally:
        os.close(tun)

    assert settle(home) == [{reason: 43}]
    assert space.counters()[counter] == 43


def damaged(protocol: int) -> bytes:
    """A datagram or a SYN to port 5001 of 198.51.100.1, whose IP header is right and whose own checksum is not."""
    body = (
        struct.pack("!HHHH", 5000, 5001, 8, 1)
        if protocol == UDP
        else struct.pack("!HHIIBBHHH", 5000, 5001, 1, 0, 5 << 4, 2, 65535, 1, 0)
    )
    addresses = bytes((198, 51, 100, 2, 198, 51, 100, 1))
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0) + addresses
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


@pytest.mark.undisturbed
def test_what_is_dropped_in_the_hosts_network_is_the_nodes(agent: Agent, settle: Settle, place: Place) -> None:
    """Datagrams whose length field is wrong: nobody else on this host sends any."""
    client = place("client")
    before = settled(agent).value(DROPS, workload=NODE, reason="pkt_too_small")
    client.talk("raw_burst", "127.0.0.1", UDP, count=47, size=64)

    assert settle(client) == [{}]
    page = settled(agent)
    assert page.value(DROPS, workload=NODE, reason="pkt_too_small", namespace="_host") - before == 47


@pytest.mark.undisturbed
@pytest.mark.parametrize("sharers", [2, 0])
def test_a_network_that_several_or_none_live_in_is_the_nodes(
    agent: Agent, settle: Settle, place: Place, pair: Pair, sharers: int
) -> None:
    client = place("client", pair[0])
    shared = [place(f"sharer{number}", pair[1]) for number in range(sharers)]
    for each in shared:
        each.start(["sleep", "600"])
    wait_until_quiet(settle, client, *shared)
    before = settled(agent).value(DROPS, workload=NODE, reason="pkt_too_small")
    client.talk("raw_burst", V4, UDP, count=53, size=64)

    assert settle(client, *shared) == [{}] * (1 + sharers)
    assert of_the_node(agent, before) - before == 53
    assert pair[1].counters()["UdpInErrors"] == 53


@needs("nginx", "curl")
@pytest.mark.parametrize("address", ADDRESSES)
def test_ordinary_traffic_drops_nothing(settle: Settle, place: Place, pair: Pair, tmp_path: Path, address: str) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    client.start(["sleep", "600"])
    nginx = Nginx(server, tmp_path)
    nginx.file("large", 1 << 20)
    wait_until_quiet(settle, client, server)
    host = f"[{address}]" if ":" in address else address
    for many, closing in (("[1-500]", []), ("[1-500]", ["-H", "Connection: close"])):
        client.run(["curl", "-sf", "-o", "/dev/null", *closing, f"http://{host}/?{many}"])
    for _ in range(20):
        client.run(["curl", "-sf", "-o", "/dev/null", f"http://{host}/", f"http://{host}/large"])
    server.serve(address, 5001, mode="late", pause=0.08)
    client.talk("connect", address, 5001, count=10)  # its FIN meets a socket in TIME_WAIT

    of_client, of_server = settle(client, server)
    assert len(nginx.served()) == 1040
    again = sum(side.counters()["TcpRetransSegs"] for side in pair)
    assert of_client.keys() | of_server.keys() <= DUPLICATES
    assert sum((*of_client.values(), *of_server.values())) <= again


def test_the_books_balance(agent: Agent) -> None:
    page = settled(agent)
    seen, delivered = (page.value(f"bpfleet_{name}_total", channel="drops") for name in ("seen", "delivered"))
    assert seen == delivered > 0
    assert page.value("bpfleet_lost_total", channel="drops") == 0


@needs("bpftool")
def test_reasons_are_named_as_the_kernel_names_them() -> None:
    dump = subprocess.run(["bpftool", "-j", "btf", "dump", "file", VMLINUX], check=True, capture_output=True).stdout
    named = {each["name"]: each for each in json.loads(dump)["types"] if each["kind"] == "ENUM"}
    loaded = KernelDoor().load([Drops()], KernelSettings(limits={"cgroups": 16}))
    try:
        for name in Drops.enumerations:
            expected = {value["val"] & 0xFFFFFFFF: value["name"] for value in named[name]["values"]}
            assert loaded.maps("drops").enumeration(name) == expected
            assert len(expected) > 2
    finally:
        loaded.close()


@pytest.mark.undisturbed
def test_sums_stay_exact_when_there_are_more_networks_than_room(place: Place, stack: ExitStack) -> None:
    """A map of four rows and one of two, and twelve kinds of drops in six networks."""
    drops = Drops()
    loaded = KernelDoor().load([drops], KernelSettings(limits={"cgroups": 1}))
    stack.callback(loaded.close)
    for number in range(6):
        home = place(f"home{number}", stack.enter_context(Namespace(str(number))))
        home.talk("raw_burst", "127.0.0.1", UDP, count=11, size=64)
        home.talk("udp_burst", "127.0.0.1", CLOSED_PORT, count=7, size=64, unconnected=True)
    counted: Counter[str] = Counter()
    for _ in range(LOOKS):  # other packets of this host may be dropped between the two readings
        seen, lost = loaded.books()["drops"]
        loaded.begin_drain()
        for sample in drops.collect(loaded.maps("drops")):
            assert isinstance(sample.value, int)
            counted[sample.labels[0]] += sample.value
        if loaded.books()["drops"] == (seen, lost):
            break
    assert seen == loaded.delivered()["drops"] + lost >= 6 * 18
    assert counted["_other"] > 0 and lost > 0
