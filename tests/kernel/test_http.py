"""Are requests counted once, on both sides, as what they were, also on a bad link?

Witnesses: nginx's access log, what wrk, curl and the clients of the test have read.
"""

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from tests.support import http_load
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup, tell
from tests.support.dialogues import Dialogue
from tests.support.marks import needs
from tests.support.namespaces import Namespace, veth_pair
from tests.support.relay import Relay
from tests.support.requests import active_requests, lost_requests, requests
from tests.support.scenes import Evening, Scene, wanted
from tests.support.servers import Nginx, start_thinker

from agent.collectors.http import Http
from agent.kernel.door import Loaded
from bpfleet.api import Distribution, Probe, TracingTracepoint

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
ONE_CPU = min(os.sched_getaffinity(0))
LOG = "log_format asked '$request_method $status'; access_log {folder}/asked.log asked;"
AT_ONCE = 2
END_SECONDS = 20.0

UPLOAD_BYTES = 2_000_000
"""Of more than a million curl asks first."""


def web(server: Cgroup, folder: Path, port: int = 80) -> Nginx:
    """nginx with a file of each size."""
    nginx = Nginx(server, folder, port, directives=f"keepalive_requests 1000000; {LOG.format(folder=folder)}")
    for size in http_load.SIZES:
        nginx.file(str(size), size)
    return nginx


def asked(folder: Path) -> dict[tuple[str, str], int]:
    """nginx's log of all servers: requests by method and status."""
    lines = (folder / "asked.log").read_text().splitlines()
    return dict(Counter((method, status) for method, status in map(str.split, lines)))


def load(
    client: Cgroup, host: str, port: int = 80, timeout: float = 120, prefix: Sequence[str] = (), **options: int
) -> dict[tuple[str, str], int]:
    """Answers that were read, by method and status. prefix: a command that runs the client."""
    words = [f"--{name}={value}" for name, value in options.items()]
    command = [*prefix, sys.executable, http_load.__file__, host, str(port), *words]
    done = client.run(command, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return {(name.split()[0], name.split()[1]): count for name, count in json.loads(done.stdout).items()}


def without_errors(rows: dict[tuple[str, str, str], int]) -> dict[tuple[str, str], int]:
    return {(method, status): count for (method, status, _), count in rows.items()}


def await_ends(*spaces: Namespace) -> None:
    """Until no connection is left, also none whose last words were dropped. Raises TimeoutError."""
    end = time.monotonic() + END_SECONDS
    while any(space.sockets("state", "connected", "exclude", "time-wait") for space in spaces):
        if time.monotonic() > end:
            raise TimeoutError("connections do not end")
        time.sleep(0.05)


def in_brackets(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class Room:
    """Two workloads, the network between them and a folder."""

    def __init__(self, stack: ExitStack, folder: Path, link: Relay | None = None) -> None:
        self.stack, self.folder, self.link = stack, folder, link
        if link:
            self.spaces = (link.a, link.b)
        else:
            self.spaces = (stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b")))
            stack.enter_context(veth_pair(*self.spaces))
        self.client, self.server = self.place("client"), self.place("server")

    def place(self, name: str) -> Cgroup:
        return self.stack.enter_context(Cgroup(name, self.spaces[not name.startswith("client")]))


def wrk_asks_nginx(room: Room, host: str, headers: tuple[str, ...]) -> Scene:
    """wrk ends in the middle of its last requests: nginx may have answered what nobody read any more."""
    nginx = Nginx(room.server, room.folder)
    room.client.run(["wrk", "-t2", "-c16", "-d1", *headers, f"http://{in_brackets(host)}/"])
    page = yield [room.client, room.server]
    served = len(nginx.served())
    assert served > 300
    assert requests(page, "server", room.server) == {("GET", "200", ""): served}
    found = requests(page, "client", room.client)
    assert found.pop(("GET", "200", "")) + sum(found.values()) == served
    assert set(found) <= {("GET", "", "closed"), ("GET", "", "reset")}
    assert sum(found.values()) <= 16


def curl_uses_every_method(room: Room, host: str) -> Scene:
    web(room.server, room.folder)
    codes: Counter[str] = Counter()
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE"):
        for path in ("", "5", "absent", "60000"):
            body = ["-d", "x" * 2000] if method in ("POST", "PUT", "PATCH") else []
            words = ["-I"] if method == "HEAD" else ["-X", method, *body]
            url = f"http://{in_brackets(host)}/{path}"
            codes[room.client.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words, url]).stdout] += 1
    page = yield [room.client, room.server]
    served = asked(room.folder)
    known = Counter({(m if m != "PURGE" else "_OTHER", status): n for (m, status), n in served.items()})
    assert sum(codes.values()) == sum(known.values()) == 36
    assert set(codes) == {"200", "404", "405"}
    assert without_errors(requests(page, "server", room.server)) == known
    assert without_errors(requests(page, "client", room.client)) == known


def bodies_of_every_size(room: Room, host: str, depth: int) -> Scene:
    """depth: so many requests are sent at a time. On one CPU, as a network card's queue has a connection: packets
    that come by several overtake each other, and whoever pipelines loses its place, by number."""
    web(room.server, room.folder)
    for process in (room.server.path / "cgroup.procs").read_text().split():
        os.sched_setaffinity(int(process), {ONE_CPU})
    prefix = ["taskset", "--cpu-list", str(ONE_CPU)]
    read = load(room.client, host, prefix=prefix, connections=10, requests=160, depth=depth)
    page = yield [room.client, room.server]
    assert sum(read.values()) == 1600
    assert asked(room.folder) == read
    assert without_errors(requests(page, "server", room.server)) == read
    assert without_errors(requests(page, "client", room.client)) == read


def redis_is_no_http(room: Room) -> Scene:
    room.server.start(["redis-server", "--port", "6379", "--bind", V4, "--protected-mode", "no", "--save", ""],
                      ready="Ready to accept")  # fmt: skip
    room.client.run(["redis-benchmark", "-h", V4, "-q", "-n", "2000", "-t", "set,get"])
    room.client.run(["redis-benchmark", "-h", V4, "-q", "-n", "2000", "GET", "HTTP/1.1"])
    page = yield [room.client, room.server]
    assert page.value("bpfleet_network_io_packets_total", workload=room.server.workload) > 2000
    for cgroup in (room.client, room.server):
        assert requests(page, "server", cgroup) == requests(page, "client", cgroup) == {}


def a_server_that_thinks(room: Room) -> Scene:
    """For 4.4 s at most, more than 32 bits of nanoseconds hold (4.29 s)."""
    start_thinker(room.server, 80)
    room.client.run(["curl", "-s", "--parallel", *(f"http://{V4}/{pause}" for pause in ("0.15", "0.35", "4.4"))])
    page = yield [room.client, room.server]
    for side, cgroup in (("server", room.server), ("client", room.client)):
        name = f"http_{side}_request_duration_seconds"
        assert [bound for bound, count in page.buckets(name, workload=cgroup.workload) if count] == [0.25, 0.5, 5.0]
        assert 4.9 < page.value(f"{name}_sum", workload=cgroup.workload) < 5.75


REFUSES = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status):
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print(self.command, status, file=open(sys.argv[1], "a"))
    def handle_expect_100(self):
        self.answer(417)
        return False
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(200)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer(("", 80), Handler)
print("ready", flush=True)
server.serve_forever()
"""


def curl_keeps_a_body_back(room: Room) -> Scene:
    """Told 417 it asks again without Expect, on the same connection, and goes on with that."""
    room.server.start([sys.executable, "-c", REFUSES, str(room.folder / "asked.log")], ready="ready")
    upload = room.folder / "upload"
    upload.write_bytes(bytes(UPLOAD_BYTES))
    post = ["-s", "--expect100-timeout", "20", "--data-binary", f"@{upload}", f"http://{V4}/"]
    told = room.client.run(["curl", "-v", *post, "--next", "-s", f"http://{V4}/[1-5]", "--next", *post])
    page = yield [room.client, room.server]
    assert told.stderr.count("Connected to") == 1
    assert asked(room.folder) == {("POST", "417"): 2, ("POST", "200"): 2, ("GET", "200"): 5}
    assert without_errors(requests(page, "server", room.server)) == asked(room.folder)
    assert without_errors(requests(page, "client", room.client)) == asked(room.folder)


AGAIN = """
import ctypes, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
nowhere = bytes(16)  # AF_UNSPEC: the end of this connection, not of the socket
with socket.socket() as sock:
    for _ in range(23):
        sock.connect((sys.argv[1], 80))
        for _ in range(3):
            sock.sendall(b"GET /0 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        if libc.connect(sock.fileno(), nowhere, len(nowhere)):
            raise OSError(ctypes.get_errno(), "connect")
"""


def a_socket_that_is_connected_again(room: Room) -> Scene:
    """Its sequence numbers begin anew each time."""
    web(room.server, room.folder)
    room.client.run([sys.executable, "-c", AGAIN, V4])
    page = yield [room.client, room.server]
    assert asked(room.folder) == {("GET", "200"): 69}
    assert requests(page, "client", room.client) == {("GET", "200", ""): 69}
    assert requests(page, "server", room.server) == {("GET", "200", ""): 69}


SCENES: dict[str, Callable[[Room], Scene]] = {
    "slow": a_server_that_thinks,
    "redis": redis_is_no_http,
    "kept back": curl_keeps_a_body_back,
    "connected again": a_socket_that_is_connected_again,
    **{
        f"wrk {way} {host}": partial(wrk_asks_nginx, host=host, headers=headers)
        for host in (V4, V6)
        for way, headers in (("keep-alive", ()), ("one connection a request", ("-H", "Connection: close")))
    },
    **{f"methods {host}": partial(curl_uses_every_method, host=host) for host in (V4, V6)},
    **{
        f"bodies {depth} {host}": partial(bodies_of_every_size, host=host, depth=depth)
        for host in (V4, V6)
        for depth in (1, 5, 16)
    },
}


@pytest.fixture(scope="module")
def evening(
    request: pytest.FixtureRequest, house: House, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evening]:
    def scene(stack: ExitStack, name: str) -> Scene:
        room = Room(stack, tmp_path_factory.mktemp("room"))
        yield from SCENES[name](room)

    played = Evening(
        house.running(), {(name,): partial(scene, name=str(name)) for (name,) in wanted(request, "name")}, AT_ONCE
    )
    yield played
    played.close()


@needs("nginx", "wrk", "curl", "redis-server")
@pytest.mark.parametrize("name", SCENES)
def test_requests_are_those_of_servers_and_clients(evening: Evening, name: str) -> None:
    evening.check(name)


@needs("nginx", "wrk", "curl", "redis-server")
def test_none_of_them_is_lost(evening: Evening) -> None:
    assert evening.grown == {}


@needs("nginx")
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"drop": "0.1", "delay_ms": 1}, id="10 % dropped"),
        pytest.param({"duplicate": "0.1"}, id="10 % doubled"),
        pytest.param({"reorder": "0.1", "delay_ms": 1}, id="10 % reordered"),
        pytest.param({"drop": "0.05", "duplicate": "0.05", "reorder": "0.05", "delay_ms": 1}, id="all at once"),
    ],
)
def test_on_a_bad_link_counted_and_lost_are_what_was_served(
    agent: Agent, place: Place, relay: Relay, tmp_path: Path, faults: dict[str, object]
) -> None:
    """Lost is not told by side; what either side lacks is what is lost. IPv4 and IPv6, with and without pipelining, at
    the same time."""
    rooms = []
    for number, (host, depth) in enumerate((host, depth) for host in (V4, V6) for depth in (1, 5)):
        folder = tmp_path / str(number)
        folder.mkdir()
        client, server = place("client", relay.a), place("server", relay.b)
        web(server, folder, 80 + number)
        rooms.append((client, server, folder, host, depth, 80 + number))
    relay.use(faults)
    before = lost_requests(agent)
    with ThreadPoolExecutor(len(rooms)) as pool:
        jobs = [
            pool.submit(load, client, host, port, connections=8, requests=75, depth=depth)
            for client, _, _, host, depth, port in rooms
        ]
        every = [job.result() for job in jobs]
    await_ends(relay.a, relay.b)
    page = agent.settled(*(cgroup for room in rooms for cgroup in room[:2]))
    lacking = 0
    for read, (client, server, folder, host, depth, _) in zip(every, rooms, strict=True):
        assert asked(folder) == read
        assert sum(read.values()) == 600
        sides = [
            without_errors(requests(page, side, cgroup)) for side, cgroup in (("server", server), ("client", client))
        ]
        for side in sides:
            assert set(side) <= set(read)
            assert all(side[row] <= read[row] for row in side)
        missing = sum(600 - sum(side.values()) for side in sides)
        if depth == 1:
            assert missing <= 0.01 * 600
        lacking += missing
        print(host, depth, [600 - sum(side.values()) for side in sides])
        assert active_requests(page, client, server) == {}
    print(f"served {4 * 600}, lost on both sides {lacking}, {relay.settled()}")
    assert lacking == lost_requests(agent) - before


PIPELINES = """
import itertools, socket, sys
body = b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
lengths = (b" 27", b"27", b"   27 ", b"  0000027", b" 00000000000027")
heads = (b"GET /5 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n",
         b"HEAD /900 HTTP/1.1\\r\\nHost: a\\r\\nUser-Agent: a/1.0\\r\\n\\r\\n",
         *(b"POST /5 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length:" + one + b"\\r\\n\\r\\n" + body for one in lengths))
def ask(sock, count, kinds):
    sock.sendall(b"".join(itertools.islice(itertools.cycle(heads[:kinds]), count)))
    answers = b""
    while answers.count(b"HTTP/1.1 ") < count:
        part = sock.recv(1 << 20)
        assert part
        answers += part
for depth, kinds in itertools.product(map(int, sys.argv[3:]), (1, 2, 3, 7)):
    with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as sock:
        for _ in range(3):
            ask(sock, depth, kinds)
            ask(sock, 1, 1)
"""
DEPTHS = (1, 16, 17, 64, 200, 1000)


@needs("nginx")
def test_of_pipelines_of_any_depth_counted_and_lost_are_what_was_served(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """Sent in one piece each, three times on a connection with one request of its own between."""
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = web(server, tmp_path)
    before = lost_requests(agent)
    for host in (V4, V6):
        client.run([sys.executable, "-c", PIPELINES, host, "80", *map(str, DEPTHS)])
    page = agent.settled(client, server)
    sides = [sum(requests(page, side, cgroup).values()) for side, cgroup in (("server", server), ("client", client))]
    assert lines(nginx) == 2 * 4 * 3 * (sum(DEPTHS) + len(DEPTHS))
    assert sum(sides) + lost_requests(agent) - before == 2 * lines(nginx)
    assert all(2 * 4 * 3 * (1 + 1 + 16 + 1) <= side < lines(nginx) for side in sides)
    assert active_requests(page, client, server) == {}


FULL_SEGMENTS = """
import itertools, socket, sys
role, host, port, kinds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
body = b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"
heads = (b"GET /5 HTTP/1.1\\r\\nHost:a\\r\\n\\r\\n",
         b"HEAD /5 HTTP/1.1\\r\\nHost:a\\r\\n\\r\\n",
         b"POST /5 HTTP/1.1\\r\\nHost: a\\r\\nContent-Length: 27\\r\\n\\r\\n" + body)[:kinds]
count = 64000 * kinds // len(b"".join(heads))
large = b"Content-Length: 1000000\\r\\n\\r\\n" + bytes(1000000)
def await_all(sock, mark, count):
    rest = b""
    while count:
        part = sock.recv(1 << 20)
        assert part
        rest += part
        count -= rest.count(mark)
        rest = rest[-len(mark) + 1:]
def ask(sock, count, requests):
    sock.sendall(requests)
    await_all(sock, b"HTTP/1.1 ", count)
def answer(sock, count):
    await_all(sock, b"\\r\\n\\r\\n", count)
    sock.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n" * count)
if role == "server":
    with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        print("ready", flush=True)
        with listener.accept()[0] as sock:
            await_all(sock, bytes(1000000), 1)
            sock.sendall(b"HTTP/1.1 200 OK\\r\\n" + large)
            for _ in range(3):
                answer(sock, count)
                answer(sock, 1)
            assert not sock.recv(1)
else:
    with socket.create_connection((host, port)) as sock:
        ask(sock, 1, b"POST /5 HTTP/1.1\\r\\nHost: a\\r\\n" + large)
        for _ in range(3):
            ask(sock, count, b"".join(itertools.islice(itertools.cycle(heads), count)))
            ask(sock, 1, heads[0])
print(1 + 3 * (count + 1))
"""


@needs("nginx")
def test_of_segments_of_64_kib_full_of_requests_or_answers_counted_and_lost_are_what_was_served(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """The first exchange is large, so that TCP sends the pipelines behind it in one piece each: they are the shortest
    requests, some whose answers cannot be told apart (HEAD), some with bodies. nginx answers one by one, the test's own
    server all at once."""
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = web(server, tmp_path)
    before, served, port = lost_requests(agent), 0, 5100
    for host in (V4, V6):
        for kinds in (1, 2, 3):
            asked = client.run([sys.executable, "-c", FULL_SEGMENTS, "client", host, "80", str(kinds)])
            served += int(asked.stdout)
            if kinds == 3:
                continue
            port += 1
            words = [host, str(port), str(kinds)]
            answers = server.start([sys.executable, "-c", FULL_SEGMENTS, "server", *words], ready="ready")
            client.run([sys.executable, "-c", FULL_SEGMENTS, "client", *words])
            assert answers.stdout
            served += int(answers.stdout.readline())
    page = agent.settled(client, server)
    sides = [sum(requests(page, side, cgroup).values()) for side, cgroup in (("server", server), ("client", client))]
    assert lines(nginx) < served
    assert sum(sides) + lost_requests(agent) - before == 2 * served
    # Of each connection the first exchange: where segments overtake each other, more than that is lost, and counted.
    assert all(10 <= side < served for side in sides)
    assert active_requests(page, client, server) == {}


GIVES_UP = """
import socket, sys
sock = socket.create_connection((sys.argv[1], 80))
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 400)
print("ready", flush=True)
sys.stdin.readline()
sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
try:
    sock.recv(1)
except TimeoutError:
    print("gave up", flush=True)
"""


@needs("nginx")
def test_a_request_that_nobody_acknowledges_is_a_timeout(
    agent: Agent, place: Place, relay: Relay, tmp_path: Path
) -> None:
    client, server = place("client", relay.a), place("server", relay.b)
    web(server, tmp_path)
    asks = client.start([sys.executable, "-c", GIVES_UP, V4], ready="ready")
    relay.use(ab={"drop": "1/1"})
    tell(asks, "ask", "gave up")
    page = agent.settled(client, server)
    assert requests(page, "client", client) == {("GET", "", "timeout"): 1}
    assert requests(page, "server", server) == {}
    assert active_requests(page, client, server) == {}


HELD = """
import http.client, sys
held = [http.client.HTTPConnection(sys.argv[1], 80) for _ in range(7)]
def ask(method, path):
    for connection in held:
        connection.request(method, path)
    for connection in held:
        connection.getresponse().read()
ask("GET", "/60000")
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(11):
        ask("GET", "/5")
        ask("HEAD", "/60000")
    print("asked", flush=True)
"""


@needs("nginx")
def test_connections_that_are_older_than_the_agent_are_followed(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    web(server, tmp_path)
    held = client.start([sys.executable, "-c", HELD, V4], ready="ready")
    with Agent() as agent:
        before = lost_requests(agent)
        tell(held, "ask", "asked")
        page = agent.settled(client, server)
        rows = {("GET", "200", ""): 77, ("HEAD", "200", ""): 77}
        assert requests(page, "server", server) == rows
        assert requests(page, "client", client) == rows
        assert active_requests(page, client, server) == {}
        assert lost_requests(agent) == before


@needs("nginx", "wrk")
def test_what_was_under_way_when_the_agent_started_is_lost_by_number(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = Nginx(server, tmp_path)
    busy = client.start(["wrk", "-t1", "-c16", "-d100", f"http://{V4}/"])
    with Agent() as agent:
        began = lines(nginx)
        while lines(nginx) < began + 1000:
            time.sleep(0.1)
        busy.send_signal(signal.SIGINT)
        busy.wait(10)
        page = agent.settled(client, server)
        counted = sum(requests(page, "server", server).values())
        assert lost_requests(agent) <= 32
        assert counted > lines(nginx) - began - 16
        assert set(requests(page, "server", server)) == {("GET", "200", "")}
        assert active_requests(page, client, server) == {}


def lines(nginx: Nginx) -> int:
    """Of its log, which is long."""
    return (nginx.folder / "access.log").read_bytes().count(b"\n")


class WithoutTheFirst(Http):
    """As if the kernel left out all of its runs."""

    probes = (
        *(each for each in Http.probes if isinstance(each, Probe) and each.function != "on_http_end"),
        TracingTracepoint("on_http_end_left_out", tracepoint="inet_sock_set_state"),
    )


class WithCopies(Http):
    """As on Linux 5.10, where the end of a socket finds nothing in its storage."""

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {**super().defines(limits), "HTTP_KEEPS_COPIES": "1"}


@pytest.mark.parametrize("kind", [WithoutTheFirst, WithCopies])
def test_the_end_of_a_socket_is_seen_also_by_other_ways(
    alone: House, place: Place, pair: Pair, door: Callable[..., Loaded], kind: type[Http]
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    loaded = door(client, kind())
    assert loaded.outcomes["http"].up
    loaded.begin_drain()
    assert list(Http().collect(loaded.maps("http"))) == []  # from the first drain on sockets are followed
    dialogue = Dialogue(client, server, V4)
    for _ in range(7):
        c = dialogue.open()
        c.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.server(b"HTTP/1.1 204 No Content\r\n\r\n")
        c.client(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        c.close("server")
    places = {client.path.stat().st_ino: "client", server.path.stat().st_ino: "server"}
    ends = ("GET", "204", ""), ("GET", "", "closed")
    wanted = Counter({(name, end): 7 for name in places.values() for end in ends})
    found = Counter[tuple[str, tuple[str, ...]]]()
    end = time.monotonic() + END_SECONDS
    while found != wanted and time.monotonic() < end:  # the last side's socket ends a moment later
        loaded.begin_drain()
        for sample in Http().collect(loaded.maps("http")):
            if sample.cgroup_id in places and isinstance(sample.value, Distribution):
                found[places[sample.cgroup_id], sample.labels] += sum(sample.value.counts)
    assert found == wanted
