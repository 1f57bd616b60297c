"""Are the node's sockets listed as ss lists them, and are their windows counted once each in every walk?

Witnesses: `ss` in each namespace, TCP_INFO, a lone connection that counts the walks.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from tests.support.agents import DRAIN_SECONDS, WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup, await_line
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.pages import Page
from tests.support.servers import await_listener
from tests.support.tcp_infos import receive_window
from tests.support.terminals import BPFLEET

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]
Listed = dict[str, Any]

V4, V6 = "198.51.100.2", "2001:db8::2"
WALK_SECONDS = 0.6
WALKING = WITHOUT_HTTP | {"BPFLEET_SOCKETS_INTERVAL_SECONDS": str(WALK_SECONDS)}
CWND = "bpfleet_tcp_congestion_window_segments"
RWND = "bpfleet_tcp_receive_window_bytes"
SWND = "bpfleet_tcp_send_window_bytes"
WINDOWS = (CWND, RWND, SWND)
CONNECTIONS = 499
ATTEMPTS = 20
"""To have two equal answers of ss around a walk."""

LISTED_CAPABILITIES = ("bpf", "perfmon")
SOME_OF_EACH_KIND = """
import socket, sys
one, other = sys.argv[1:3]
def udp(host):
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
kept = []
for host in (one, other):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.create_server((host, 5001), family=family, backlog=23)
    pairs = [(socket.create_connection((host, 5001)), server.accept()[0]) for _ in range(3)]
    waiting = [socket.create_connection((host, 5001)) for _ in range(2)]
    pairs[0][0].send(bytes(700))
    half = pairs[1][0].shutdown(socket.SHUT_WR)
    bound, connected = udp(host), udp(host)
    bound.bind((host, 5002))
    connected.connect((host, 5002))
    connected.send(bytes(100))
    kept.append((server, pairs, waiting, bound, connected))
dual = socket.create_server(("::", 5003), family=socket.AF_INET6, dualstack_ipv6=True)
mapped = [socket.create_connection(("127.0.0.1", 5003)), dual.accept()[0]]
raw = [socket.socket(socket.AF_INET, socket.SOCK_RAW, 6), socket.socket(socket.AF_INET6, socket.SOCK_RAW, 17)]
print("ready", flush=True)
sys.stdin.readline()
"""
SHARED_BY_CHILDREN = """
import os, resource, socket, sys
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, port, count, children = sys.argv[1], *map(int, sys.argv[2:])
if children:
    server = socket.create_server((host, port), backlog=count)
    print("ready", flush=True)
    kept = [server.accept()[0] for _ in range(count)]
    for _ in range(children):
        if not os.fork():
            sys.stdin.readline()
            os._exit(0)
else:
    kept = [socket.create_connection((host, port)) for _ in range(count)]
print("open", flush=True)
sys.stdin.readline()
"""
HANDED_ON = """
import os, socket, sys
server = socket.create_server((sys.argv[1], 5009))
with open(sys.argv[2], "w") as target:
    target.write(str(os.getpid()))
print("ready", flush=True)
sys.stdin.readline()
"""
HOSTILE_COMMAND = """
import socket, sys
server = socket.create_server((sys.argv[1], 5010))
with open("/proc/self/comm", "wb") as name:
    name.write(b'\\x1b[2J"\\n\\xff\\xc3\\xa9')
print("ready", flush=True)
sys.stdin.readline()
"""


def python(text: str, *words: object) -> list[str]:
    return [sys.executable, "-I", "-c", text, *map(str, words)]


def command(*words: str, prefix: Sequence[str] = (), **more: str) -> "subprocess.CompletedProcess[str]":
    """more: of the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BPFLEET_")} | more
    argv = [*prefix, *BPFLEET, "sockets", "--identity-kubernetes", "off", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS)


def listed(*words: str, prefix: Sequence[str] = ()) -> list[Listed]:
    told = command("--json", *words, prefix=prefix)
    assert told.returncode == 0, told.stderr
    document: dict[str, Any] = json.loads(told.stdout)
    assert document["matched"] == len(document["sockets"])
    assert document["unread_rows"] == 0
    sockets: list[Listed] = document["sockets"]
    return sockets


def space_of(namespace: Namespace) -> int:
    return os.stat(f"/proc/self/fd/{namespace.fd}").st_ino


@pytest.fixture
def walker(alone: House) -> Iterator[Agent]:
    """An agent that walks."""
    with Agent("--collectors", "+sockets", environment=WALKING) as one:
        yield one


# The metrics


@needs("redis-server", "redis-cli")
def test_the_windows_of_a_long_redis_connection_are_those_of_ss(walker: Agent, place: Place, pair: Pair) -> None:
    server, client = place("redis", pair[1]), place("client", pair[0])
    server.start(["redis-server", "--port", "6379", "--save", "", "--protected-mode", "no"], stdout=subprocess.DEVNULL)
    await_listener(server, 6379)
    connection = client.start(["redis-cli", "-h", V4])
    assert connection.stdin
    for size in (23, 60_000, 300_000, 1_000_000):
        connection.stdin.write(f"SET key {'x' * size}\nGET key\n")
        connection.stdin.flush()
        assert await_line(connection.stdout, "OK")
        assert len(await_line(connection.stdout, "x" * size)) > size

        for cgroup, space, port in ((client, pair[0], "--peer-port"), (server, pair[1], "--local-port")):
            (row,), witness = between_equal_answers(space, lambda port=port: listed(port, "6379"))  # type: ignore[misc]
            assert row["workload"] == cgroup.workload
            assert told_by_ss(row) == witness
            (holder,) = row["processes"]
            assert row["receive_window_bytes"] == receive_window(holder["pid"], row["inode"])

            (before, after), still = between_equal_answers(space, lambda one=cgroup: grown(walker, one))  # type: ignore[misc]
            samples = after.value(f"{CWND}_count") - before.value(f"{CWND}_count")
            assert samples >= 1
            for family, window in (
                (CWND, int(still["cwnd"])),
                (SWND, int(still["snd_wnd"])),
                (RWND, receive_window(holder["pid"], row["inode"])),
            ):
                assert after.value(f"{family}_count") - before.value(f"{family}_count") == samples
                assert after.value(f"{family}_sum") - before.value(f"{family}_sum") == samples * window
                grew = [(bound, now - then) for (bound, now), (_, then)
                        in zip(after.buckets(family), before.buckets(family), strict=True)]  # fmt: skip
                assert next(bound for bound, count in grew if count) >= window
                assert [count for bound, count in grew if count] == [samples]


def between_equal_answers(space: Namespace, ask: Callable[[], Any]) -> tuple[Any, dict[str, str]]:
    """What is asked for while the one connection of the namespace stands still, and what ss says of it."""
    for _ in range(ATTEMPTS):
        before, answer, after = fields_of_ss(space), ask(), fields_of_ss(space)
        if before == after:
            return answer, after
    raise AssertionError(f"ss never said the same twice: {before} {after}")


def fields_of_ss(space: Namespace) -> dict[str, str]:
    """Of the namespace's one established connection; queues and what grows with time are left out."""
    (line,) = space.sockets("state", "established")
    words = ("cwnd", "snd_wnd", "rtt", "mss", "bytes_sent", "bytes_acked", "bytes_received", "retrans")
    fields = {name: found[1] for name in words if (found := re.search(rf"\b{name}:(\S+)", line))}
    return {"queues": " ".join(line.split()[:2]), **fields}


def told_by_ss(row: Listed) -> dict[str, str]:
    """Our row in ss's words: it leaves out what is 0, and rounds milliseconds to three digits."""
    said = {
        "queues": f"{row['receive_queue_bytes']} {row['send_queue_bytes']}",
        "cwnd": str(row["congestion_window_segments"]),
        "snd_wnd": str(row["send_window_bytes"]),
        "rtt": f"{row['rtt_seconds'] * 1e3:.6g}/{row['rtt_variation_seconds'] * 1e3:.6g}",
        "mss": str(row["segment_bytes"]),
        "bytes_sent": str(row["sent_bytes"]),
        "bytes_acked": str(row["acknowledged_bytes"]),
        "bytes_received": str(row["received_bytes"]),
    }
    if row["retransmitted_segments"]:
        said["retrans"] = f"0/{row['retransmitted_segments']}"
    return {name: value for name, value in said.items() if value != "0"}


def grown(agent: Agent, cgroup: Cgroup, samples: int = 2) -> tuple[Page, Page]:
    """Two pages with at least so many samples of a cgroup between them."""
    before = with_samples(agent, 1, cgroup)
    return before, with_samples(agent, int(before.value(f"{CWND}_count")) + samples, cgroup)


def with_samples(agent: Agent, samples: int, *places: Cgroup) -> Page:
    """The first page on which each of these has so many; theirs only. A walk's samples come all at once."""
    names = {("workload", one.workload) for one in places}
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        page = agent.page()
        if all(page.value(f"{CWND}_count", workload=one.workload) >= samples for one in places):
            return Page({series: value for series, value in page.samples.items() if names & series[1]})
        time.sleep(DRAIN_SECONDS / 2)
    raise AssertionError(f"no walk counted {names}")


@pytest.mark.undisturbed
def test_each_walk_counts_each_connection_once_whoever_shares_it(walker: Agent, place: Place, pair: Pair) -> None:
    server, client, pulse = place("server", pair[1]), place("client", pair[0]), place("pulse", pair[0])
    accepting = server.start(python(SHARED_BY_CHILDREN, V4, 5001, CONNECTIONS + 1, 3), ready="ready")
    client.start(python(SHARED_BY_CHILDREN, V4, 5001, CONNECTIONS, 0), ready="open")
    pulse.start(python(SHARED_BY_CHILDREN, V4, 5001, 1, 0), ready="open")
    await_line(accepting.stdout, "open")
    assert {len(row["processes"]) for row in listed("--local-port", "5001")} == {4}

    pages = [with_samples(walker, 1, server, client, pulse)]
    for _ in range(5):
        seen = int(pages[-1].value(f"{CWND}_count", workload=pulse.workload))
        pages.append(with_samples(walker, seen + 1, server, client, pulse))
    for family in WINDOWS:
        for before, after in zip(pages, pages[1:], strict=False):
            walks, ours, theirs = (
                after.value(f"{family}_count", workload=one.workload)
                - before.value(f"{family}_count", workload=one.workload)
                for one in (pulse, client, server)
            )
            assert (ours, theirs) == (CONNECTIONS * walks, (CONNECTIONS + 1) * walks)
            assert walks >= 1


def test_walks_keep_their_own_interval(walker: Agent, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    client.begin("hold", V4, 5001)
    before, started = with_samples(walker, 1, client), time.monotonic()
    walks = 10
    with_samples(walker, int(before.value(f"{CWND}_count")) + walks, client)
    seconds = time.monotonic() - started
    assert 2 * walks * DRAIN_SECONDS <= seconds  # at each drain it would take half of that; late walks are caught up
    assert seconds <= 2 * walks * WALK_SECONDS


def test_the_books_of_a_walk_that_exceeds_its_limit_balance(alone: House, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    client.begin("hold", V4, 5001, count=40)
    with Agent("--collectors", "+sockets", environment=WALKING | {"BPFLEET_LIMITS_SOCKETS": "16"}) as agent:
        time.sleep(2 * WALK_SECONDS)
        page = agent.page()
        seen = page.value("bpfleet_seen_total", channel="sockets")
        delivered = page.value("bpfleet_delivered_total", channel="sockets")
        assert seen == delivered + page.value("bpfleet_lost_total", channel="sockets")
        walks = delivered / 16
        assert walks == int(walks) > 0
        assert page.value("bpfleet_lost_total", channel="sockets", reason="limit") >= walks * (80 - 16)
    told = command("--limits-sockets", "16", "--json")
    assert json.loads(told.stdout)["unread_rows"] >= 80 - 16
    assert "rows were left out: limits.sockets is 16" in told.stderr


# The table


def union_of_ss(spaces: Sequence[Namespace]) -> dict[int, tuple[str, ...]]:
    """By inode: protocol, state, queues, both ends, owner. Inode 0 is a connection that nobody has accepted."""
    found = {}
    for space in spaces:
        for line in space.run(["ss", "-tuanHOe"]).stdout.splitlines():
            protocol, state, received, sent, local, remote, *rest = line.split()
            inode = int(re.search(r"ino:(\d+)", line)[1])  # type: ignore[index]
            owner = re.search(r"cgroup:(\S+)", line)[1]  # type: ignore[index]
            if inode:
                found[inode] = (protocol, state, received, sent, plain(local), plain(remote), owner)
    return found


def plain(end: str) -> str:
    """ss writes * for both families' any address, and IPv4 on an IPv6 socket as such."""
    host, _, port = end.rpartition(":")
    host = host.strip("[]").removeprefix("::ffff:")
    return f"{'' if host in ('*', '::', '0.0.0.0') else host} {port}"


SS_STATES = {
    "established": "ESTAB",
    "listening": "LISTEN",
    "unconnected": "UNCONN",
    "close-wait": "CLOSE-WAIT",
    "fin-wait-2": "FIN-WAIT-2",
}


def as_ss(row: Listed) -> tuple[str, ...]:
    waiting = row["state"] == "listening"
    received = row["waiting_connections" if waiting else "receive_queue_bytes"]
    sent = row["waiting_connections_limit" if waiting else "send_queue_bytes"]
    remote = f"{row['peer_address']}:{row['peer_port']}" if row["peer_port"] else "*:*"
    local = f"{row['local_address']}:{row['local_port']}"
    return (row["protocol"], SS_STATES[row["state"]], str(received), str(sent), plain(local), plain(remote),
            row["workload"])  # fmt: skip


@pytest.fixture
def crowd(place: Place, pair: Pair, stack: ExitStack) -> list[Namespace]:
    """Three namespaces with sockets of every kind, each by a cgroup of its own."""
    third = stack.enter_context(Namespace("c"))
    places = (("first", pair[0], "198.51.100.1", "2001:db8::1"), ("second", pair[1], V4, V6),
              ("third", third, "127.0.0.1", "::1"))  # fmt: skip
    for name, space, one, other in places:
        place(name, space).start(python(SOME_OF_EACH_KIND, one, other), ready="ready")
    return [pair[0], pair[1], third]


def test_the_table_is_the_union_of_ss_in_every_namespace(crowd: list[Namespace]) -> None:
    witness = union_of_ss(crowd)
    spaces = {space_of(space) for space in crowd}
    rows = [row for row in listed("--all") if row["network_namespace"] in spaces]
    ours = {row["inode"]: as_ss(row) for row in rows if row["protocol"] != "raw"}
    assert len(ours) == sum(row["protocol"] != "raw" for row in rows)
    assert ours == witness
    assert {row["network_namespace"] for row in rows} == spaces
    assert {(row["protocol"], row["family"]) for row in rows} >= {
        *(("tcp", "ipv4"), ("tcp", "ipv6"), ("udp", "ipv4"), ("udp", "ipv6"), ("raw", "ipv4"), ("raw", "ipv6"))
    }
    raw = [row for row in rows if row["protocol"] == "raw"]
    assert len(raw) == 2 * len(crowd)
    assert {row["congestion_window_segments"] for row in raw} == {None}


def test_the_states_shown_by_default_and_on_demand_are_those_of_ss(crowd: list[Namespace]) -> None:
    spaces = {space_of(space) for space in crowd}
    for ours, theirs in (((), ()), (("--listening",), ("-l",)), (("--state", "close-wait"), ("state", "close-wait"))):
        expected = set()
        for space in crowd:
            for line in space.run(["ss", "-tunHOe", *theirs]).stdout.splitlines():
                expected.add(int(re.search(r"ino:(\d+)", line)[1]))  # type: ignore[index]
        found = {row["inode"] for row in listed("--protocol", "tcp,udp", *ours) if row["network_namespace"] in spaces}
        assert found == expected - {0}


@pytest.mark.parametrize(
    ("words", "expression"),
    [
        (("--port", "5001"), "sport = :5001 or dport = :5001"),
        (("--local-port", "5001,5003"), "sport = :5001 or sport = :5003"),
        (("--peer-port", "5002"), "dport = :5002"),
        (("--address", "2001:db8::/32"), "src 2001:db8::/32 or dst 2001:db8::/32"),
        (("--address", "198.51.100.2"), "src 198.51.100.2 or dst 198.51.100.2"),
        (("--address", "198.51.100.0/24", "--protocol", "udp"), "src 198.51.100.0/24 or dst 198.51.100.0/24"),
    ],
)
def test_filters_find_what_the_same_filters_of_ss_find(
    crowd: list[Namespace], words: tuple[str, ...], expression: str
) -> None:
    spaces = {space_of(space) for space in crowd}
    transports = "-uanHOe" if "udp" in words else "-tuanHOe"
    expected = {
        int(re.search(r"ino:(\d+)", line)[1])  # type: ignore[index]
        for space in crowd
        for line in space.run(["ss", transports, expression]).stdout.splitlines()
    }
    protocols = () if "udp" in words else ("--protocol", "tcp,udp")
    found = {row["inode"] for row in listed("--all", *protocols, *words) if row["network_namespace"] in spaces}
    assert found == expected - {0}
    assert found


def test_owners_and_processes_are_filters_too(place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    serving = server.serve(V4, 5001, mode="hold")
    client.begin("hold", V4, 5001, count=7)
    for words in (("--workload", server.workload), ("--pid", str(serving.pid)), ("--workload", "/bpfleet-test-serv*")):
        rows = listed("--all", *words, "--namespace", "_host")
        assert [row["state"] for row in rows] == [*["established"] * 7, "listening"]
        assert {row["workload"] for row in rows} == {server.workload}
    assert listed("--all", "--workload", server.workload, "--namespace", "shop") == []


def test_the_owner_is_the_cgroup_that_made_the_socket_whoever_holds_it(place: Place, pair: Pair) -> None:
    maker, holder = place("maker", pair[1]), place("holder")
    process = maker.start(python(HANDED_ON, V4, holder.path / "cgroup.procs"), ready="ready")
    assert str(process.pid) in (holder.path / "cgroup.procs").read_text().split()
    (row,) = listed("--listening", "--local-port", "5009")
    assert row["workload"] == maker.workload
    assert row["processes"][0]["pid"] == process.pid


def test_a_hostile_command_name_is_inert_in_both_forms(place: Place, pair: Pair) -> None:
    place("hostile", pair[1]).start(python(HOSTILE_COMMAND, V4), ready="ready")
    words = ("--listening", "--local-port", "5010")
    told = command(*words)
    assert told.returncode == 0
    head, line = told.stdout.splitlines()
    assert head.split()[:4] == ["NAMESPACE", "WORKLOAD", "PROCESS", "PROTOCOL"]
    assert all(each.isprintable() for each in line)
    assert r'\x1b[2J"\n\xff' in line
    (row,) = listed(*words)
    assert row["processes"][0]["command"] == '\x1b[2J"\n\\xff\u00e9'
    poor = command(*words, PYTHONIOENCODING="ascii")
    assert (poor.returncode, poor.stdout.isascii()) == (0, True)
    assert r"\xe9" in poor.stdout


def test_a_connection_in_time_wait_and_one_that_nobody_holds_are_not_seen(place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    server.serve(V4, 5002, mode="sink")
    client.talk("connect", V4, 5001, count=3)  # closed here, not there: FIN_WAIT_2, without a descriptor
    client.talk("connect", V4, 5002, count=5, shutdown=True, read=True)
    by_ss = [line.split()[0] for line in pair[0].run(["ss", "-tanHO"]).stdout.splitlines()]
    assert (by_ss.count("FIN-WAIT-2"), by_ss.count("TIME-WAIT")) == (3, 5)
    assert listed("--all", "--workload", client.workload) == []


@needs("setpriv")
def test_two_capabilities_are_enough_and_without_them_one_line_says_so(place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    client.begin("hold", V4, 5001, count=23)
    few = with_only(LISTED_CAPABILITIES)
    assert len(listed("--local-port", "5001", prefix=few)) == 23
    for kept, lacking in ((("perfmon",), "BPF"), (("bpf",), "PERFMON"), ((), "BPF")):
        told = command(prefix=with_only(kept))
        assert told.returncode == 1
        assert told.stdout == ""
        (line,) = told.stderr.splitlines()
        assert f"the capability {lacking}" in line


@needs("setpriv")
def test_the_collector_counts_with_the_listed_capabilities(alone: House, place: Place, pair: Pair) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve(V4, 5001, mode="hold")
    client.begin("hold", V4, 5001, count=23)
    flags = ("--collectors", "sockets,cgroups")
    with Agent(*flags, environment=WALKING, prefix=with_only(LISTED_CAPABILITIES)) as agent:
        before, after = grown(agent, client)
        walks = (after.value(f"{SWND}_count") - before.value(f"{SWND}_count")) / 23
        assert walks == int(walks) >= 1


def with_only(capabilities: Sequence[str]) -> list[str]:
    kept = ",".join(["-all", *(f"+{one}" for one in capabilities)])
    return ["setpriv", f"--bounding-set={kept}", f"--inh-caps={kept}"]
