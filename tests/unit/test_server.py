import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPResponse

import pytest
from tests.unit.metrics.fakes import Clock

from agent.metrics.exposition import Form
from agent.server import ASKED, MAX_CONNECTIONS, MAX_REQUESTS, THREADS, Application, Heartbeat, Server
from agent.sinks.recent import Look
from bpfleet.errors import HostError


class FakePage:
    """Remembers what it was asked for; may be told to wait or to fail."""

    def __init__(self) -> None:
        self.asked: list[tuple[Form, bool, bool]] = []
        self.wait: Callable[[], object] = lambda: None

    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        self.asked.append((form, compress, live))
        self.wait()
        return gzip.compress(b"page\n") if compress else b"page\n"


class FakeLog:
    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def look(self, after: int, limit: int) -> Look:
        self.asked.append((after, limit))
        return Look("errors", "a1", 7, 9, 2, [b'{"url.path":"/"}'] * min(limit, 2))


class Agent:
    """A server, what it serves, and clients of it."""

    def __init__(self, token: str = "", log: FakeLog | None = None) -> None:
        self.page, self.clock, self.token = FakePage(), Clock(), token
        self.heartbeat = Heartbeat(30, self.clock)
        self.problem = ""
        self.facts: Mapping[str, object] = {}
        application = Application(
            self.page,
            self.heartbeat.problem,
            lambda: self.problem,
            lambda: self.facts,
            lambda: self.token.encode(),
            log,
        )
        self.server = Server(application, ("127.0.0.1", 0))

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection(*self.server.address, timeout=10)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.server.close()


def test_metrics_in_text(agent: Agent) -> None:
    answer, body = agent.ask("/metrics")
    assert (answer.status, body) == (200, b"page\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"
    assert "Content-Encoding" not in answer.headers
    assert agent.page.asked == [(Form.TEXT, False, False)]


def test_metrics_as_the_client_likes_them(agent: Agent) -> None:
    answer, body = agent.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0", Accept_Encoding="gzip")
    assert gzip.decompress(body) == b"page\n"
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers["Content-Encoding"] == "gzip"
    assert agent.page.asked == [(Form.OPENMETRICS, True, False)]


def test_a_live_view_is_asked_for_by_the_query(agent: Agent) -> None:
    agent.ask("/metrics?view=live")
    agent.ask("/metrics?view=other&x=%00")
    assert [live for _, _, live in agent.page.asked] == [True, False]


def test_head_has_the_headers_of_get_and_is_not_taken_for_a_scrape(agent: Agent) -> None:
    answer, body = agent.ask("/metrics", "HEAD")
    assert (answer.status, body) == (200, b"")
    assert answer.headers["Content-Length"] == "5"
    assert agent.page.asked == [(Form.TEXT, False, True)]


def test_a_connection_serves_one_request_after_the_other(agent: Agent) -> None:
    connection = HTTPConnection(*agent.server.address, timeout=10)
    for method, body in (("GET", b"page\n"), ("HEAD", b""), ("POST", b"GET or HEAD\n"), ("GET", b"page\n")):
        connection.request(method, "/metrics")
        assert connection.getresponse().read() == body
    connection.close()


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/healthz/../metrics", "/%2e%2e/etc/passwd"])
def test_there_is_nothing_else(agent: Agent, path: str) -> None:
    answer, _ = agent.ask(path)
    assert answer.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_pages_are_only_read(agent: Agent, method: str) -> None:
    answer, _ = agent.ask("/metrics", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert agent.page.asked == []


def test_health_ends_when_the_loop_stalls_and_comes_back(agent: Agent) -> None:
    assert agent.ask("/healthz")[0].status == 200
    agent.clock.sleep(31)
    answer, body = agent.ask("/healthz")
    assert (answer.status, body) == (503, b"the loop has not moved for 31 s\n")
    agent.heartbeat.beat(0.0)
    assert agent.ask("/healthz")[0].status == 200


def test_a_rest_between_two_drains_is_no_stall(agent: Agent) -> None:
    agent.heartbeat.beat(300.0)
    agent.clock.sleep(330)
    assert agent.ask("/healthz")[0].status == 200
    agent.clock.sleep(1)
    assert agent.ask("/healthz")[0].status == 503


def test_readiness_says_what_is_missing(agent: Agent) -> None:
    agent.problem = "no collector is attached"
    answer, body = agent.ask("/readyz")
    assert (answer.status, body) == (503, b"no collector is attached\n")
    agent.problem = ""
    assert agent.ask("/readyz")[0].status == 200


def test_requests_are_json_and_asked_for_by_number(stack: ExitStack) -> None:
    log = FakeLog()
    agent = Agent(log=log)
    stack.callback(agent.server.close)
    answer, body = agent.ask("/requests?after=5&limit=2&more=x")
    assert answer.headers["Content-Type"] == "application/json"
    requests = [{"url.path": "/"}] * 2
    facts = {"log": "errors", "agent": "a1", "next": 7, "last": 9, "missed": 2}
    assert json.loads(body) == {**facts, "requests": requests}
    agent.ask("/requests")
    assert log.asked == [(5, 2), (0, MAX_REQUESTS)]


def test_without_a_request_log_that_is_told(agent: Agent) -> None:
    told = json.loads(agent.ask("/requests?after=7")[1])
    assert told == {"log": "off", "agent": "", "next": 0, "last": 0, "missed": 0, "requests": []}


@pytest.mark.parametrize(
    "query",
    [
        *("after=", "after=x", "after=-1", "after=1.0", "after=1&after=2", "after=1e3", "after=%D9%A2"),
        *(f"after={10**18 + 1}", "after=" + "9" * 5000, "limit=0", f"limit={MAX_REQUESTS + 1}", "limit=x"),
    ],
)
def test_a_wrong_number_is_refused_with_what_is_allowed(agent: Agent, query: str) -> None:
    answer, body = agent.ask(f"/requests?{query}")
    assert (answer.status, body.decode()) == (400, ASKED)


def test_status_is_json(agent: Agent) -> None:
    agent.facts = {"collectors": {"tcp": {"up": False, "reason": 'EPERM "x"\n'}}, "series": 23}
    answer, body = agent.ask("/status")
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(body) == agent.facts


def test_a_failing_page_is_its_own_failure(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    agent.page.wait = fail
    answer, body = agent.ask("/metrics")
    assert answer.status == 500
    assert b"secret" not in body
    assert "secret detail" in caplog.text
    assert agent.ask("/healthz")[0].status == 200


def test_a_port_in_use_is_named(agent: Agent) -> None:
    host, port = agent.server.address
    application = Application(agent.page, str, str, dict)
    with pytest.raises(HostError, match=f"cannot listen on {host}:{port}: .*in use"):
        Server(application, agent.server.address)


@pytest.mark.parametrize("address", [("no-such-host.invalid", 0), ("192.0.2.1", 0)])
def test_an_address_that_is_not_this_machines_is_named(address: tuple[str, int]) -> None:
    with pytest.raises(HostError, match=f"cannot listen on {address[0]}"):
        Server(Application(FakePage(), str, str, dict), address)


def test_after_closing_the_port_is_free(agent: Agent) -> None:
    address = agent.server.address
    agent.ask("/healthz")
    agent.server.close()
    again = Server(Application(agent.page, str, str, dict), address)
    again.close()


def test_ipv6_is_served() -> None:
    try:
        server = Server(Application(FakePage(), str, str, dict), ("::1", 0))
    except HostError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with socket.create_connection(server.address, timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"\r\n\r\npage\n")
    server.close()


def test_clients_that_never_finish_a_request_keep_nobody_waiting(agent: Agent) -> None:
    slow = [socket.create_connection(agent.server.address, timeout=10) for _ in range(MAX_CONNECTIONS // 2)]
    for client in slow:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: ")
    assert agent.ask("/healthz")[0].status == 200
    for client in slow:
        client.close()


def test_clients_that_never_read_keep_nobody_waiting(agent: Agent) -> None:
    agent.page.render = lambda form, compress=False, live=False: bytes(8 << 20)  # type: ignore[method-assign]
    deaf = [socket.create_connection(agent.server.address, timeout=10) for _ in range(2 * THREADS)]
    for client in deaf:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1) == b"H"  # the answer is on its way
    assert agent.ask("/healthz")[0].status == 200
    for client in deaf:
        client.close()


def test_probes_are_answered_during_a_long_scrape(agent: Agent) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(10)

    agent.page.wait = wait
    scrape = threading.Thread(target=agent.ask, args=("/metrics",))
    scrape.start()
    assert begun.wait(10)
    assert agent.ask("/healthz")[0].status == 200
    go_on.set()
    scrape.join(10)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 100_000,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(agent: Agent, request_bytes: bytes) -> None:
    with socket.create_connection(agent.server.address, timeout=10) as client:
        client.sendall(request_bytes)
        status = client.recv(12)
    assert status.split(b" ")[1].startswith(b"4")
    assert agent.page.asked == []
    assert agent.ask("/healthz")[0].status == 200


TOKEN = "0123456789abcdef"
WRONG = 'Bearer realm="bpfleet", error="invalid_token"'


@pytest.fixture
def guarded() -> Iterator[Agent]:
    made = Agent(token=TOKEN)
    yield made
    made.server.close()


@pytest.mark.parametrize("path", ["/metrics", "/requests?after=0", "/status", "/", "/nothing"])
def test_pages_ask_for_the_token(guarded: Agent, path: str) -> None:
    answer, body = guarded.ask(path)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="bpfleet"')
    assert body == b"a bearer token is needed\n"
    assert guarded.page.asked == []


@pytest.mark.parametrize("given", [f"Bearer {TOKEN}", f"bearer   {TOKEN}", f"BEARER {TOKEN} "])
def test_the_token_opens_them(guarded: Agent, given: str) -> None:
    assert guarded.ask("/metrics", Authorization=given)[1] == b"page\n"
    assert guarded.ask("/status", Authorization=given)[0].status == 200
    assert guarded.ask("/nothing", Authorization=given)[0].status == 404


@pytest.mark.parametrize(
    ("given", "challenge"),
    [
        ("Bearer", WRONG),
        ("Bearer ", WRONG),
        (f"Bearer {TOKEN[:-1]}", WRONG),
        (f"Bearer {TOKEN}f", WRONG),
        (f"Bearer {TOKEN.upper()}", WRONG),
        (f"Bearer {TOKEN} {TOKEN}", WRONG),
        ("Bearer \xe9\xff", WRONG),
        (f"Basic {TOKEN}", 'Bearer realm="bpfleet"'),
        (TOKEN, 'Bearer realm="bpfleet"'),
    ],
)
def test_anything_else_does_not(guarded: Agent, given: str, challenge: str) -> None:
    answer, _ = guarded.ask("/metrics", Authorization=given)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, challenge)
    assert guarded.page.asked == []


@pytest.mark.parametrize("path", ["/metrics?token=" + TOKEN, "/metrics?access_token=" + TOKEN])
def test_a_token_in_the_address_is_none(guarded: Agent, path: str) -> None:
    """It would stand in logs."""
    assert guarded.ask(path)[0].status == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_probes_ask_for_nothing(guarded: Agent, path: str) -> None:
    assert guarded.ask(path)[0].status == 200


@pytest.mark.parametrize("path", ["/healthz/../metrics", "//metrics", "/healthz/", "/metrics%2f..%2fhealthz"])
def test_no_spelling_of_a_page_goes_round_the_token(guarded: Agent, path: str) -> None:
    assert guarded.ask(path)[0].status == 401


def test_the_token_is_asked_for_before_anything_else_is_told(guarded: Agent) -> None:
    assert guarded.ask("/metrics", "POST")[0].status == 401


def test_a_new_token_counts_from_the_next_request_on(guarded: Agent) -> None:
    guarded.token = "fedcba9876543210"
    assert guarded.ask("/metrics", Authorization=f"Bearer {TOKEN}")[0].status == 401
    assert guarded.ask("/metrics", Authorization="Bearer fedcba9876543210")[0].status == 200
