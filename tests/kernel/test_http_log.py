"""Is every request that is to be logged told once, as what it was, and is the rest counted?

Witnesses: nginx's access log, the dialogues that say every byte themselves, wrk, the books.
"""

import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.dialogues import Dialogue
from tests.support.events import TRIES
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.planted import planted
from tests.support.relay import Relay
from tests.support.request_logs import FORMAT, Row, began, opened, requests_of, row, served
from tests.support.requests import requests
from tests.support.servers import Nginx, start_thinker

from agent.collectors import http_log
from agent.collectors.http import Http
from agent.collectors.http_log import HttpLog, Mode
from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.settings import Settings
from bpfleet.api import Distribution, Event

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT")
STATUSES = (200, 201, 202, 204, 301, 302, 400, 403, 404, 410, 500, 503)
HOSTS = ("one.test", "two.test:80")
ROUNDS = 5
"""9 methods, 12 statuses and 2 hosts so often are 1,080 requests."""

KEPT = 320
"""Of the 384 bytes of a head a target with its version and Host."""

PAUSES = (0.023, 0.11, 0.31)
CLOCK_SECONDS = 0.002
"""nginx's clock goes by milliseconds and is set once in a turn of its loop; both ends of a duration are rounded."""

STARVED_SECONDS = 0.05
"""A single reading, on a machine that others keep busy."""

GET = b"GET /%d?q=%d HTTP/1.1\r\nHost: one.test\r\nX: y\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

MANY_PATHS = """
import http.client, sys, threading
def ask(number):
    connection = http.client.HTTPConnection(sys.argv[1], 80)
    for turn in range(int(sys.argv[3])):
        query = "page=of-a-book&" * (turn * 37 % 900 // 15)
        connection.request("GET", f"/{number}/{turn}?n=1&{query}", headers={"Host": "one.test"})
        connection.getresponse().read()
threads = [threading.Thread(target=ask, args=(number,)) for number in range(int(sys.argv[2]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""


def virtual_hosts(server: Cgroup, folder: Path) -> None:
    """nginx that answers /STATUS with that status, under two names, and passes /slow on."""
    places = " ".join(f'location = /{status} {{ return {status} "x\\n"; }}' for status in STATUSES)
    slow = f"location /slow/ {{ proxy_pass http://{V4}:8080/; }}"
    servers = " ".join(
        f"server {{ listen 80; listen [::]:80; server_name {name.split(':')[0]}; {places} {slow} }}" for name in HOSTS
    )
    Nginx(server, folder, directives=f"{FORMAT.format(folder=folder)} {servers}")


def curl(client: Cgroup, folder: Path, requests: list[tuple[str, str, str]], address: str = V4) -> None:
    """One curl for all of them, in turn. requests: method, path, host; every seventh by HTTP/1.0."""
    lines = []
    for number, (method, path, host) in enumerate(requests):
        base = f"[{address}]" if ":" in address else address
        lines += [
            f'url = "http://{base}{path if method != "CONNECT" else "/"}"',
            f'header = "Host: {host}"',
            'output = "/dev/null"',
            "globoff",
        ]
        lines.append("head" if method == "HEAD" else f'request = "{method}"')
        lines += [f'request-target = "{path}"'] * (method == "CONNECT")
        lines += ["http1.0"] * (number % 7 == 0) + ["next"]
    (folder / "curl").write_text("\n".join(lines[:-1]) + "\n")
    client.run(["curl", "-sS", "-K", str(folder / "curl")])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "requests.jsonl"


@pytest.fixture(scope="module")
def agent(house: House, file: Path) -> Iterator[Agent]:
    """One that logs all requests, for the tests that need an agent."""
    house.empty()
    asked = ("--requests-log", "all", "--requests-per-second", "100000", *opened())
    with Agent(*asked, "--sinks-jsonl-path", str(file)) as running:
        yield running


@needs("nginx", "curl")
@pytest.mark.parametrize("address", [V4, V6])
def test_the_log_is_nginxs_row_by_row_on_both_sides(
    agent: Agent, file: Path, place: Place, pair: Pair, tmp_path: Path, address: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    virtual_hosts(server, tmp_path)
    asked = [
        (method, f"/{status}?n={number}" if method != "CONNECT" else host, host)
        for number in range(ROUNDS)
        for status in STATUSES
        for host in HOSTS
        for method in METHODS
    ]
    curl(client, tmp_path, asked, address)
    of_server = requests_of(agent, file, server, len(asked))
    of_client = requests_of(agent, file, client, len(asked))
    wanted = served(tmp_path)
    assert len(wanted) == len(asked) == 1080
    assert {each.row.method for each in wanted} == set(METHODS)
    assert len({each.row.status for each in wanted}) == len(STATUSES) + 1  # 405 for TRACE
    assert {each.row.version for each in wanted} == {"1.0", "1.1"}

    sent = [(method, path, host) for method, path, host in asked]
    for told in (of_server, of_client):
        assert [(each.method, each.target, each.host) for each in map(row, told)] == sent
        assert [plain(row(each)) for each in told] == [plain(each.row) for each in wanted]
        times = [began(each) for each in told]
        assert times == sorted(times)
    for side, told, failed in (("server", of_server, 500), ("client", of_client, 400)):
        assert {each["bpfleet.http.role"] for each in told} == {side}
        for each in told:
            status = each["http.response.status_code"]
            assert each.get("error.type") == (str(status) if status >= failed else None)
            local, peer = (address, CLIENTS[address]) if side == "server" else (CLIENTS[address], address)
            assert (each["network.local.address"], each["network.peer.address"]) == (local, peer)
            assert each["network.local.port" if side == "server" else "network.peer.port"] == 80
            assert each["network.type"] == ("ipv6" if ":" in address else "ipv4")
    ports = [[each["network.peer.port"] for each in of_server], [each["network.local.port"] for each in of_client]]
    assert ports[0] == ports[1]


CLIENTS = {V4: "198.51.100.1", V6: "2001:db8::1"}


def plain(told: Row) -> Row:
    """nginx's $host has no port; and it refuses CONNECT before it knows whose it is."""
    return told._replace(host=told.host.partition(":")[0] * (told.method != "CONNECT"))


@needs("nginx", "curl")
def test_times_and_durations_are_nginxs(agent: Agent, file: Path, place: Place, pair: Pair, tmp_path: Path) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    start_thinker(server, 8080)
    virtual_hosts(server, tmp_path)
    asked = [("GET", f"/slow/{pause}", HOSTS[0]) for pause in PAUSES for _ in range(5)]
    curl(client, tmp_path, asked)
    told = [each for each in requests_of(agent, file, server, 3 * len(asked)) if each["network.local.port"] == 80]
    wanted = served(tmp_path)
    assert len(told) == len(wanted) == len(asked)
    durations = [abs(each["bpfleet.duration"] - line.took) for each, line in zip(told, wanted, strict=True)]
    starts = [abs(began(each) - (line.ended - line.took)) for each, line in zip(told, wanted, strict=True)]
    for differences in (durations, starts):
        assert statistics.median(differences) <= CLOCK_SECONDS
        assert max(differences) <= STARVED_SECONDS
    for each, (_, path, _) in zip(told, asked, strict=True):
        assert each["bpfleet.duration"] >= float(path.rpartition("/")[2])


@needs("nginx")
def test_on_a_bad_link_every_row_is_a_request_that_was_served_and_none_is_told_twice(
    agent: Agent, file: Path, place: Place, relay: Relay, tmp_path: Path
) -> None:
    """What is counted is told, and with its own path; what http loses there is not told."""
    client, server = place("client", relay.a), place("server", relay.b)
    virtual_hosts(server, tmp_path)
    relay.use({"drop": "0.05", "duplicate": "0.05", "reorder": "0.05", "delay_ms": 1})
    client.run([sys.executable, "-c", MANY_PATHS, V4, "8", "40"])
    page = agent.settled(client, server)
    for side, cgroup in (("server", server), ("client", client)):
        counted = sum(requests(page, side, cgroup).values())
        told = [row(each) for each in requests_of(agent, file, cgroup, counted)]
        asked = {each.row.target.partition("?")[0]: each.row for each in served(tmp_path)}
        assert len(asked) == 320
        assert len(told) == len({each.target.partition("?")[0] for each in told}) == counted >= 0.9 * 320
        for each in told:
            wanted = asked[each.target.partition("?")[0]]
            if len(wanted.target) <= KEPT:
                assert each == wanted
            else:
                assert wanted.target.startswith(each.target.removesuffix("...")) and len(each.target) > KEPT - 20


def test_a_request_that_comes_byte_by_byte_is_one_row(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    short, long = GET % (1, 1), b"PUT /%s HTTP/1.1\r\nHost: two.test\r\n\r\n" % (b"xa" * 75)
    with Dialogue(client, server, V4).connection() as c:
        for request in (short, long):
            c.client(*(request[at : at + 1] for at in range(len(request))))
            c.server(OK)
    rows = [Row("GET", "/1?q=1", "1.1", "one.test", 200), Row("PUT", f"/{'xa' * 75}", "1.1", "two.test", 200)]
    for cgroup in (server, client):
        assert list(map(row, requests_of(agent, file, cgroup, 2))) == rows


def test_a_head_in_two_segments_is_whole_wherever_it_is_cut(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    """With heads of 53 bytes, 253 and 453: lines that are carried over, and such that are not."""
    client, server = place("client", pair[0]), place("server", pair[1])
    rows = []
    with Dialogue(client, server, V6).connection() as c:
        for filling in (0, 200):
            request = b"GET /%s HTTP/1.1\r\nHost: a.test\r\nX: %s\r\n\r\n" % (b"pa" * (filling // 2), b"v" * 10)
            for cut in range(1, len(request), 1 if not filling else 7):
                c.client(request[:cut], request[cut:])
                c.server(OK)
                rows.append(Row("GET", f"/{'pa' * (filling // 2)}", "1.1", "a.test", 200))
        c.client(b"GET /far HTTP/1.1\r\nX: %s\r\n" % (b"x" * 300), b"Host: a.test\r\n\r\n")
        c.server(OK)
        rows.append(Row("GET", "/far", "1.1", "a.test", 200))
        c.client(b"GET /%s HTTP/1.1\r\nHost: a.test\r\n\r\n" % (b"x" * 2000))
        c.server(OK)
    for cgroup in (server, client):
        *told, cut_off = requests_of(agent, file, cgroup, len(rows) + 1)
        assert list(map(row, told)) == rows
        assert cut_off["url.path"] == "/...", "what may be half a secret is not told"
        assert "server.address" not in cut_off


def test_ten_pipelined_requests_are_ten_rows(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    with Dialogue(client, server, V4).connection() as c:
        c.client(GET % (0, 0))
        c.server(OK)
        for _ in range(3):
            c.client(b"".join(GET % (number, number) for number in range(10)))
            c.server(OK * 4, OK * 6)
        c.client(*(GET % (number, number) for number in range(10)))
        c.server(*[OK] * 10)
    paths = ["/0?q=0", *[f"/{number}?q={number}" for number in range(10)] * 4]
    for cgroup in (server, client):
        assert [row(each).target for each in requests_of(agent, file, cgroup, 41)] == paths


def test_heads_are_kept_of_a_segment_of_which_not_all_can_be_read(
    agent: Agent, file: Path, place: Place, pair: Pair
) -> None:
    """60 kB in one segment: both ends on one host."""
    client, server = place("client", pair[1]), place("server", pair[1])
    paths = [f"/{number}?q={number}" for number in range(3)]
    long = b"GET /1?q=1 HTTP/1.1\r\nHost: one.test\r\nX: %s\r\n\r\n" % (b"x" * 60_000)
    with Dialogue(client, server, V4).connection() as c:
        c.client(GET % (0, 0) + long)
        c.server(OK + OK)
    with Dialogue(client, server, V4, 5002).connection() as c:
        c.client(GET % (2, 2))
        c.server(OK[:-6] + b"X: %s\r\n" % (b"x" * 60_000) + OK[-6:])
    for cgroup in (server, client):
        assert [row(each).target for each in requests_of(agent, file, cgroup, 3)] == paths


def test_a_request_that_comes_with_the_handshakes_last_packet_has_its_path(
    agent: Agent, file: Path, place: Place, pair: Pair
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    for number in range(3):
        with Dialogue(client, server, V4, 5001 + number).connection(late=GET % (number, 7)) as c:
            c.server(OK)
    for cgroup in (server, client):
        told = requests_of(agent, file, cgroup, 3)
        assert [row(each).target for each in told] == [f"/{number}?q=7" for number in range(3)]


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_request_without_an_answer_is_told_at_its_sockets_end(
    agent: Agent, file: Path, place: Place, pair: Pair, who: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    c = Dialogue(client, server, V4).open()
    c.client(GET % (1, 1))
    c.server(OK)
    c.client(GET % (2, 2), GET % (3, 3))
    c.close(who, reset=True)
    for side, cgroup in (("server", server), ("client", client)):
        told = requests_of(agent, file, cgroup, 3)
        assert [(row(each).target, row(each).status) for each in told] == [
            ("/1?q=1", 200), ("/2?q=2", 0), ("/3?q=3", 0)
        ]  # fmt: skip
        ends = [each.get("error.type") for each in told]
        assert ends == [None, *["closed" if side == who else "reset"] * 2]
        assert told[1]["bpfleet.duration"] >= told[2]["bpfleet.duration"] > 0


def test_hostile_bytes_are_inert(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    """The file itself is proven so: requests_of() reads it with parsed()."""
    client, server = place("client", pair[0]), place("server", pair[1])
    path, host = b'/\x1b]0;owned\x07\x00"},{\xff', b"\x9b2J\x00.test"
    with Dialogue(client, server, V4).connection() as c:
        c.client(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host))
        c.server(OK)
        c.client(b"M\x1bX / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.server(OK)
    told = requests_of(agent, file, server, 2)
    assert row(told[0]) == Row("GET", '/%1B]0;owned%07%00"},{%FF', "1.1", "%9B2j%00.test", 200)
    assert row(told[1]).method == "REDACTED"  # no method has such a character: it may be anything
    assert told[1]["http.request.method"] == "_OTHER"


def test_no_planted_secret_is_in_any_byte_that_is_written(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    """Although this agent's paths and queries are open. (As a method, one would end what the kernel follows.)"""
    client, server = place("client", pair[0]), place("server", pair[1])
    found = [each for each in planted() if each.head.startswith(b"GET ")][::5]
    with Dialogue(client, server, V4).connection() as c:
        for each in found:
            c.client(each.head)
            c.server(OK)
    for cgroup in (server, client):
        assert len(requests_of(agent, file, cgroup, len(found))) == len(found) > 50
    written = file.read_bytes()
    assert [each.secret for each in found if each.secret.encode() in written] == []


def test_the_books_of_an_agent_balance(agent: Agent) -> None:
    """After all that the tests above have made of it. In the second channel, what is delivered are heads. Asking for
    the page is a request itself, which may come between reading the ring and reading the books."""
    for _ in range(TRIES):
        agent.drained()
        page = agent.page()
        rows = [
            [page.value(f"bpfleet_{word}_total", channel=channel) for word in BOOKS]
            for channel in ("http_log", "http_log_heads")
        ]
        if all(seen == delivered + lost > 0 for seen, delivered, lost in rows):
            break
    else:
        raise AssertionError(f"the books do not balance: {rows}")
    assert lost_of(page.where("bpfleet_lost_total"), "http_log") == {}


LOOK_SECONDS = 0.2

MANY = 1_000_000
"""More than can be made in a second."""

MOST_SECONDS = 4
"""Of the clock, that wrk's second touches; it may end late."""

PORTS = itertools.count(5001)
BOOKS = ("seen", "delivered", "lost")


def lost_of(rows: Iterator[tuple[dict[str, str], float]], channel: str) -> dict[str, float]:
    return {labels["reason"]: value for labels, value in rows if labels["channel"] == channel and value}


# Modes and losses, on the programs themselves


class LogBooks(NamedTuple):
    seen: int
    delivered: int
    rate_limit: int
    ring_full: int


class Log:
    """The collectors of the log without an agent, on a cgroup of the test's own: nobody reads unless the test does."""

    def __init__(self, loaded: Loaded, parent: Cgroup) -> None:
        self._loaded, self._collector, self.parent = loaded, HttpLog(), parent
        self.others, self.modes = Mode("off"), dict[int, Mode]()
        self.counted: Counter[int] = Counter()
        self.began = LogBooks(0, 0, 0, 0)

    def begin(self) -> None:
        """Of a test: what was before does not count."""
        self.read()
        self.modes.clear()
        self.counted.clear()
        self.began = LogBooks(0, 0, 0, 0)
        self.began = self.books()

    def steer(self, cgroup: Cgroup, mode: Mode) -> None:
        self.modes[cgroup.path.stat().st_ino] = mode
        assert self._collector.steer(self._loaded.maps("http_log"), self.others, self.modes) == 0

    def read(self) -> list[Event]:
        self._loaded.begin_drain()
        for sample in Http().collect(self._loaded.maps("http")):
            if isinstance(sample.value, Distribution) and isinstance(sample.cgroup_id, int):
                self.counted[sample.cgroup_id] += sum(sample.value.counts)
        return list(self._collector.events(self._loaded.maps("http_log")))

    def requests(self, cgroup: Cgroup) -> int:
        """What the collector `http` has counted."""
        return self.counted[cgroup.path.stat().st_ino]

    def settled(self) -> LogBooks:
        """The books when nothing comes any more: a server closes its sockets after the client has ended."""
        now, before = self.books(), None
        while now != before:
            time.sleep(LOOK_SECONDS)
            now, before = self.books(), now
        return now

    def books(self) -> LogBooks:
        """Since the test began."""
        seen, rate_limit, ring_full = self._loaded.books()["http_log"]
        now = LogBooks(seen, self._loaded.delivered().get("http_log", 0), rate_limit, ring_full)
        return LogBooks(*(mine - before for mine, before in zip(now, self.began, strict=True)))


@pytest.fixture(scope="module")
def shared() -> Iterator[Log]:
    """Nothing is logged but what a test asks for."""
    requests = replace(Settings().requests, log="off")
    limits = vars(Settings().limits) | http_log.limits(**vars(requests))
    bounds = {"request_seconds": Settings().histograms.request_seconds}
    with Cgroup("log") as parent:
        settings = KernelSettings(cgroup_root=str(parent.path), limits=limits, bounds=bounds)
        loaded = KernelDoor().load([Http(), HttpLog()], settings)
        try:
            assert all(outcome.up for outcome in loaded.outcomes.values()), loaded.outcomes
            yield Log(loaded, parent)
        finally:
            loaded.close()


@pytest.fixture
def log(shared: Log) -> Log:
    shared.begin()
    return shared


@pytest.fixture
def below(shared: Log, stack: ExitStack) -> Place:
    """As `place`, below the cgroup on which the log's programs are."""
    return lambda name, namespace: stack.enter_context(
        Cgroup(f"{shared.parent.path.name}/{name}", namespace, exact_name=True)
    )


def paths(told: list[Event], role: str) -> list[object]:
    return [each.attributes.get("url.path") for each in told if each.attributes["bpfleet.http.role"] == role]


def test_modes_are_each_workloads_own_and_change_at_once(log: Log, below: Place, pair: Pair) -> None:
    client, server = below("client", pair[0]), below("server", pair[1])
    statuses = (200, 404, 500, 200, 503, 302, 400)

    def talk() -> tuple[list[object], list[object]]:
        with Dialogue(client, server, V4, next(PORTS)).connection() as c:
            for number in range(70):
                c.client(GET % (number, number))
                c.server(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % statuses[number % len(statuses)])
        told = log.read()
        return paths(told, "server"), paths(told, "client")

    everything = [f"/{number}?q={number}" for number in range(70)]

    def which(wanted: Callable[[int], bool]) -> list[str]:
        return [path for number, path in enumerate(everything) if wanted(statuses[number % len(statuses)])]

    assert talk() == ([], [])
    log.steer(server, Mode("all"))
    assert talk() == (everything, [])
    log.steer(server, Mode("errors", slow_seconds=60.0))
    log.steer(client, Mode("errors", slow_seconds=60.0))
    assert talk() == (which(lambda status: status >= 500), which(lambda status: status >= 400))
    log.steer(client, Mode("errors", slow_seconds=0.0001))
    assert talk()[1] == everything
    log.steer(server, Mode("sampled", one_in=7))
    log.steer(client, Mode("sampled", one_in=10))
    assert tuple(map(len, talk())) == (10, 7)
    assert tuple(map(len, talk())) == (10, 7)
    log.modes.clear()
    log.others = Mode("all")
    log.steer(client, Mode("off"))
    assert talk() == (everything, [])
    log.others = Mode("off")
    log.steer(client, Mode("off"))
    assert talk() == ([], [])
    books = log.books()
    assert books.seen == books.delivered and books[2:] == (0, 0)


@needs("nginx", "wrk")
def test_one_in_so_many_is_exact_over_all_cpus(log: Log, below: Place, pair: Pair, tmp_path: Path) -> None:
    client, server = below("client", pair[0]), below("server", pair[1])
    log.steer(server, Mode("sampled", one_in=23, per_second=MANY))
    nginx = Nginx(server, tmp_path)
    client.run(["wrk", "-t2", "-c16", "-d1", f"http://{V4}/"])
    log.settled()
    told = log.read()
    assert log.requests(server) == len(nginx.served()) > 1000
    assert len(told) == -(-log.requests(server) // 23)


@needs("nginx", "wrk")
def test_a_reader_that_stands_still_costs_records_and_exactly_that_is_counted(
    log: Log, below: Place, pair: Pair, tmp_path: Path
) -> None:
    client, server = below("client", pair[0]), below("server", pair[1])
    for cgroup in (server, client):
        log.steer(cgroup, Mode("all", per_second=MANY))
    nginx = Nginx(server, tmp_path, directives="keepalive_requests 1000000;")
    while log.books().ring_full < 1000:
        client.run(["wrk", "-t1", "-c16", "-d1", "-H", f"X: {'x' * 400}", f"http://{V4}/"])
    full = log.settled()
    assert (full.delivered, full.rate_limit) == (0, 0)
    told = log.read()
    assert full.seen == len(told) + full.ring_full == log.requests(server) + log.requests(client)
    assert log.requests(server) == len(nginx.served())
    assert set(paths(told, "server")) == {"/"}
    client.run(["curl", "-s", f"http://{V4}/again"])
    assert paths(log.read(), "server") == ["/again"]
    books = log.books()
    assert books.seen == books.delivered + books.ring_full


@needs("nginx", "wrk")
def test_a_flood_of_one_workload_costs_no_other_one_its_records(
    log: Log, below: Place, pair: Pair, tmp_path: Path
) -> None:
    loud, server, quiet = below("loud", pair[0]), below("server", pair[1]), below("quiet", pair[0])
    for cgroup in (loud, quiet):
        log.steer(cgroup, Mode("all", per_second=50))
    Nginx(server, tmp_path)
    flood = loud.start(["wrk", "-t1", "-c4", "-d1", f"http://{V4}/flood"])
    for number in range(11):
        quiet.run(["curl", "-s", f"http://{V4}/quiet/{number}"])
    assert flood.wait(RUN_SECONDS) == 0
    log.settled()
    told = log.read()
    books = log.books()
    asked = Counter(paths(told, "client"))
    loud_ones = asked.pop("/flood")
    assert asked == {f"/quiet/{number}": 1 for number in range(11)}
    assert 50 <= loud_ones <= 50 * MOST_SECONDS
    assert books.rate_limit > 1000
    assert books.seen == books.delivered + books.rate_limit == log.requests(loud) + log.requests(quiet)
