"""Is the body of every request and answer counted once, on both sides, with its size to the byte?

Witnesses: nginx's $body_bytes_sent and $content_length, what the client of the test has sent and read, and dialogues in
which the test says every byte itself.
"""

import json
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import http_load
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.dialogues import Dialogue
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page
from tests.support.requests import requests
from tests.support.servers import Nginx

from agent.settings import BODY

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]
Bodies = dict[tuple[str, ...], list[int]]
"""Sizes by method, or by method and status."""

V4, V6 = "198.51.100.2", "2001:db8::2"
SIDES = ("server", "client")
BOUNDS = (*BODY, float("inf"))
LOG = (
    "log_format bodies '$request_method $status $body_bytes_sent $content_length'; "
    "access_log {folder}/bodies.log bodies;"
)
CONNECTIONS, REQUESTS = 3, 40
BIG, UPLOAD = 3_000_000, 2_500_000


@pytest.fixture(scope="module")
def agent(house: House) -> Iterator[Agent]:
    house.empty()
    with Agent("--collectors", "+http_bodies") as running:
        yield running


class Rows(dict[tuple[str, ...], tuple[float, tuple[int, ...]]]):
    """By the metric's own labels: the sum, and how many are in each bucket."""


def counted(page: Page, side: str, what: str, cgroup: Cgroup) -> Rows:
    family = f"http_{side}_{what}_body_size_bytes"
    found = Rows()
    for have, total in page.where(f"{family}_sum", workload=cgroup.workload):
        own = {name: value for name, value in have.items() if name.startswith("http_")}
        buckets = page.buckets(family, workload=cgroup.workload, **own)
        assert tuple(bound for bound, _ in buckets) == BOUNDS
        if any(count for _, count in buckets):
            found[tuple(own[name] for name in sorted(own))] = total, tuple(int(count) for _, count in buckets)
    return found


def wanted(bodies: Bodies) -> Rows:
    rows = Rows()
    for labels, sizes in bodies.items():
        buckets = Counter(bisect_left(BOUNDS, size) for size in sizes)
        rows[labels] = float(sum(sizes)), tuple(buckets[number] for number in range(len(BOUNDS)))
    return rows


def expect(page: Page, client: Cgroup, server: Cgroup, sent: Bodies, answered: Bodies) -> None:
    for side, cgroup, other in (("server", server, "client"), ("client", client, "server")):
        assert counted(page, side, "request", cgroup) == wanted(sent), side
        assert counted(page, side, "response", cgroup) == wanted(answered), side
        assert not counted(page, other, "request", cgroup) and not counted(page, other, "response", cgroup)


def lost(agent: Agent) -> dict[str, int]:
    agent.drained()
    rows = agent.page().where("bpfleet_lost_total", channel="http_bodies")
    return {have["reason"]: int(value) for have, value in rows}


def grown(agent: Agent, before: dict[str, int]) -> dict[str, int]:
    return {
        reason: value - before.get(reason, 0) for reason, value in lost(agent).items() if value != before.get(reason, 0)
    }


def collected(pairs: list[tuple[tuple[str, ...], int]]) -> Bodies:
    bodies: Bodies = {}
    for labels, size in pairs:
        bodies.setdefault(labels, []).append(size)
    return bodies


def asked_by_load(depth: int) -> list[tuple[str, int]]:
    """What tests/support/http_load.py sends: method and size of the body of each request."""
    sender = http_load.Load("", 0)
    numbers = [number * 5 + turn for number in range(CONNECTIONS) for turn in range(REQUESTS)]
    made = [sender.request(number, depth > 1) for number in numbers]
    return [(method, len(request.partition(b"\r\n\r\n")[2])) for method, request in made]


def by_status(page: Page, side: str, cgroup: Cgroup) -> dict[tuple[str, str], int]:
    return {(method, status): count for (method, status, _), count in requests(page, side, cgroup).items()}


def logged(folder: Path) -> list[list[str]]:
    """Method, status, bytes of the answer's body, and what the request's head says of its own."""
    return [line.split(" ") for line in (folder / "bodies.log").read_text().splitlines()]


def web(server: Cgroup, folder: Path, port: int, directives: str = "") -> Nginx:
    folder.mkdir()
    nginx = Nginx(
        server, folder, port, directives=f"keepalive_requests 10000; {LOG.format(folder=folder)} {directives}"
    )
    for size in (*http_load.SIZES, BIG):
        nginx.file(str(size), size)
    return nginx


def ask_nginx(client: Cgroup, port: int, folder: Path) -> None:
    """What has no body, HTTP/1.0, large ones, chunks. (Of "100 Continue" nginx says it were the answer's body.)"""
    upload = folder / "upload"
    upload.write_bytes(bytes(UPLOAD))
    url = f"http://{V4}:{port}"
    for words in (
        ("-I", f"{url}/{BIG}"),
        (f"{url}/{BIG}",),
        ("--http1.0", f"{url}/{BIG}"),
        ("-H", "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", f"{url}/{BIG}"),
        (f"{url}/none",),
        (f"{url}/error",),
        ("-H", "Expect:", "--data-binary", f"@{upload}", f"{url}/none"),
        ("-H", "Expect:", "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{upload}", f"{url}/none"),
    ):
        client.run(["curl", "-s", "-o", "/dev/null", *words])


@needs("nginx", "curl")
def test_bodies_are_those_of_nginx_and_of_its_clients(agent: Agent, place: Place, pair: Pair, tmp_path: Path) -> None:
    before = lost(agent)
    scenes = []
    for number, (host, depth) in enumerate(((V4, 1), (V6, 5))):
        client, server, folder = place("client", pair[0]), place("server", pair[1]), tmp_path / str(number)
        web(server, folder, 80 + number)
        words = [host, str(80 + number), f"--connections={CONNECTIONS}", f"--requests={REQUESTS}", f"--depth={depth}"]
        read = json.loads(client.run([sys.executable, http_load.__file__, *words]).stdout)
        scenes.append((client, server, folder, asked_by_load(depth), read))
    client, server, folder = place("client", pair[0]), place("server", pair[1]), tmp_path / "curl"
    places = 'location = /none { return 204; } location = /error { return 503 "no"; }'
    extra = f"server {{ listen {V4}:91; if_modified_since before; root {folder}/files; {places} }}"
    web(server, folder, 90, f"client_max_body_size 9m; {extra}")
    ask_nginx(client, 91, folder)
    asked = [("HEAD", 0), *[("GET", 0)] * 5, *[("POST", UPLOAD)] * 2]
    read = {"HEAD 200": 1, "GET 200": 2, "GET 304": 1, "GET 204": 1, "GET 503": 1, "POST 204": 2}
    scenes.append((client, server, folder, asked, read))

    page = agent.settled(*(cgroup for scene in scenes for cgroup in scene[:2]))
    for client, server, folder, asked, read in scenes:
        lines = logged(folder)
        assert Counter(f"{method} {status}" for method, status, _, _ in lines) == read
        announced = sum(int(size) for _, _, _, size in lines if size.isdigit())
        assert announced == sum(size for _, size in asked) - (UPLOAD if folder.name == "curl" else 0)  # by chunks
        sent = collected([((method,), size) for method, size in asked])
        expect(page, client, server, sent, collected([((line[0], line[1]), int(line[2])) for line in lines]))
        for side, cgroup in (("server", server), ("client", client)):
            assert {f"{m} {status}": n for (m, status), n in by_status(page, side, cgroup).items()} == read
    assert grown(agent, before) == {}


GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LATE = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FEW = b"5;x=y\r\nhello\r\n001\r\n!\r\n0\r\nX: GET / HTTP/1.1\r\n\r\n"
MANY = b"".join(b"%x\r\n%s\r\n" % (size, bytes(size)) for size in (1, 255, 256, 257, 512)) + b"0\r\n\r\n"


def test_every_framing_has_its_size(agent: Agent, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    before = lost(agent)
    ok = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s"
    sent: list[tuple[tuple[str, ...], int]] = []
    answered: list[tuple[tuple[str, ...], int]] = []
    dialogue = Dialogue(client, server, V4)
    c = dialogue.open()
    c.client(POST + FEW)
    c.server(CHUNKED + FEW)
    c.client(POST, FEW[:3], FEW[3:14], FEW[14:])
    c.server(CHUNKED[:20], CHUNKED[20:] + FEW[:8], *(FEW[at : at + 1] for at in range(8, len(FEW))))
    c.client(POST + MANY)
    c.server(CHUNKED + MANY[:700], MANY[700:])
    c.client(POST + b"0\r\n\r\n")
    c.server(CHUNKED + b"0\r\n\r\n")
    sizes = (6, 6, 1281, 0)
    sent += [(("POST",), size) for size in sizes]
    answered += [(("POST", "200"), size) for size in sizes]

    c.client(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    c.server(b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n")
    c.client(GET)
    c.server(b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + ok % (256, 256, bytes(256)))
    c.client(GET)
    c.server(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4096\r\n\r\n")
    c.client(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 257\r\n\r\n")
    c.server(b"HTTP/1.1 100 Continue\r\n\r\n")
    c.client(bytes(100), bytes(157))
    c.server(ok % (201, 0, b""))
    c.client(GET * 10)
    c.server(*[ok % (200, 3, b"abc")] * 3, ok % (200, 3, b"abc") * 7)
    c.client(GET)
    c.server(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1000), *[bytes(1000)] * 7)
    c.close("server")
    sent += [(("HEAD",), 0), *[(("GET",), 0)] * 13, (("PUT",), 257)]
    answered += [(("HEAD", "200"), 0), (("GET", "256"), 256), (("GET", "304"), 0), (("PUT", "201"), 0)]
    answered += [*[(("GET", "200"), 3)] * 10, (("GET", "200"), 8000)]

    with dialogue.connection(late=LATE) as c:  # with the handshake's last packet
        c.server(CHUNKED + FEW)
    sent.append((("POST",), 5))
    answered.append((("POST", "200"), 6))
    with dialogue.connection() as c:
        c.client(b"GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n")
        c.server(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n", b"\x81\x05hello")
    with dialogue.connection() as c:
        c.client(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
        c.server(b"HTTP/1.1 200 Go\r\n\r\n", b"tunnel")
    sent += [(("GET",), 0), (("CONNECT",), 0)]
    answered += [(("GET", "101"), 0), (("CONNECT", "200"), 0)]
    assert grown(agent, before) == {}
    page = Page.parse(agent.get("/metrics?view=live")[1].decode())
    expect(page, client, server, collected(sent), collected(answered))


def test_a_body_whose_size_is_not_known_is_lost_by_number(agent: Agent, place: Place, pair: Pair) -> None:
    """On both sides each; but who resets a connection has ended it, and the answer that was to end with it."""
    client, server = place("client", pair[0]), place("server", pair[1])
    before = lost(agent)
    dialogue = Dialogue(client, server, V4)
    c = dialogue.open()
    c.client(GET)
    c.server(CHUNKED + b"5\r\nhe")  # cut off
    c.close("server", reset=True)
    c = dialogue.open()
    c.client(GET)
    c.server(b"HTTP/1.1 200 OK\r\n\r\nhe")
    c.close("server", reset=True)
    c = dialogue.open()
    c.client(POST + b"5\r\nhe")
    c.close()
    assert grown(agent, before) == {"cut_off": 5}
    before = lost(agent)
    with dialogue.connection() as c:
        c.client(GET)
        c.server(CHUNKED + b"what?\r\n")
        c.client(GET)
        c.server(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n")
        c.client(GET)
        c.server(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n")
        c.client(GET)
        c.server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert grown(agent, before) == {"unknown": 6}
    page = Page.parse(agent.get("/metrics?view=live")[1].decode())
    for side, cgroup, read in (("server", server, [2, 0]), ("client", client, [0])):
        assert by_status(page, side, cgroup) == {("GET", "200"): 6, ("POST", ""): 1}
        assert counted(page, side, "request", cgroup) == wanted({("GET",): [0] * 6})
        assert counted(page, side, "response", cgroup) == wanted({("GET", "200"): read})
