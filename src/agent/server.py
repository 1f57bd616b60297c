"""The agent's five pages over HTTP or HTTPS: /metrics, /healthz, /readyz, /requests, /status.

Waitress parses and sends on one thread that never waits for a client, so one that is slow or silent keeps nobody from
an answer: with eight half-sent requests cheroot answered no probe for 25 s, waitress within 1 ms. It is also the
smallest: 5.4 MiB over a bare Python, where http.server takes 9.6 and cheroot 14. It has no TLS; tls.py stands before it
where that is set.
"""

import errno
import hmac
import json
import logging
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import parse_qs

from waitress import wasyncore
from waitress.server import create_server

from agent.metrics import negotiation
from agent.metrics.exposition import Form
from agent.sinks.recent import Look
from bpfleet.errors import HostError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from agent.tls import Front

log = logging.getLogger(__name__)

THREADS = 3
"""Two Prometheus replicas may scrape at once, and a probe must not wait for them."""

MAX_CONNECTIONS = 64
"""Scrapers, the kubelet and a person or two; the rest waits in the kernel's backlog."""

MAX_HEADER_BYTES = 16_384
MAX_BODY_BYTES = 1024
"""No page reads one."""

IDLE_SECONDS = 60
"""A connection that is silent for so long is closed: four scrape intervals."""

MAX_BUFFERED_BYTES = 128 << 20
"""Of a page that a client reads slowly; above it waitress writes to a file, and the agent's root is read-only."""

CLOSE_SECONDS = 2.0
"""For requests under way when the agent stops."""

JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
INDEX = "bpfleet agent: /metrics /healthz /readyz /requests /status\n"

MAX_SEQUENCE = 10**18
MAX_REQUESTS = 500
"""On one page of the request log: some 400 kB. Who wants more asks again."""

ASKED = f"after: a whole number from 0 to {MAX_SEQUENCE}; limit: one from 1 to {MAX_REQUESTS}\n"

OPEN = ("/healthz", "/readyz")
"""Pages that ask for no token: the kubelet has none. They say yes, or why not."""

CHALLENGE = 'Bearer realm="bpfleet"'

NO_LOG = Look("off", "", 0, 0, 0, ())
_DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)

PEER = struct.Struct("=iII")
"""struct ucred: process, user, group (unix(7), SO_PEERCRED)."""


class Page(Protocol):
    """agent.metrics.page, or a fake."""

    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        """The /metrics page; live: for a person who watches, not for a scraper."""


class RequestLog(Protocol):
    """agent.sinks.recent, or a fake."""

    def look(self, after: int, limit: int) -> Look:
        """The oldest requests whose number is above `after`."""


class Answer(NamedTuple):
    status: str
    kind: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Heartbeat:
    """Does the agent's loop go on? stall_seconds: longer than any drain may take. clock: monotonic seconds."""

    def __init__(self, stall_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._stall_seconds = clock, stall_seconds
        self.beat(0.0)

    def beat(self, wait_seconds: float) -> None:
        """wait_seconds: of rest until the next drain."""
        self._last = self._clock()
        self._wait_seconds = wait_seconds

    def problem(self) -> str:
        """Empty when all is well."""
        silent = self._clock() - self._last
        too_long = silent > self._stall_seconds + self._wait_seconds
        return f"the loop has not moved for {silent:.0f} s" if too_long else ""


@dataclass(frozen=True)
class Application:
    """The pages as a WSGI application.

    healthy, ready: what is wrong, empty when nothing is. status: what /status shows, as JSON has it. token: what a
    client must present; empty where nothing is asked. requests: where the request log is on."""

    page: Page
    healthy: Callable[[], str]
    ready: Callable[[], str]
    status: Callable[[], Mapping[str, object]]
    token: Callable[[], bytes] = bytes
    requests: RequestLog | None = None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            answer = self._answer(environ)
        except Exception:  # one request's failure is its own
            log.exception("%s failed", environ["PATH_INFO"])
            answer = _plain("500 Internal Server Error", "internal error, see the agent's log\n")
        start_response(
            answer.status,
            [
                ("Content-Type", answer.kind),
                ("Content-Length", str(len(answer.body))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
                *answer.headers,
            ],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _answer(self, environ: "WSGIEnvironment") -> Answer:
        pages: dict[str, Callable[[WSGIEnvironment], Answer]] = {
            "/": lambda _: _plain("200 OK", INDEX),
            "/metrics": self._metrics,
            "/healthz": lambda _: _verdict(self.healthy()),
            "/readyz": lambda _: _verdict(self.ready()),
            "/requests": self._requests,
            "/status": self._status,
        }
        if environ["PATH_INFO"] not in OPEN and (refusal := self._refusal(environ)):
            return refusal
        page = pages.get(environ["PATH_INFO"])
        if page is None:
            return _plain("404 Not Found", INDEX)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _plain("405 Method Not Allowed", "GET or HEAD\n", ("Allow", "GET, HEAD"))
        return page(environ)

    def _refusal(self, environ: "WSGIEnvironment") -> Answer | None:
        """https://www.rfc-editor.org/rfc/rfc6750#section-3 . How long it takes tells the token's length at most."""
        token = self.token()
        if not token:
            return None
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        has_token = scheme.lower() == "bearer"
        if has_token and hmac.compare_digest(given.strip().encode("latin-1"), token):
            return None
        challenge = CHALLENGE + ', error="invalid_token"' * has_token
        return _plain("401 Unauthorized", "a bearer token is needed\n", ("WWW-Authenticate", challenge))

    def _metrics(self, environ: "WSGIEnvironment") -> Answer:
        """`?view=live` is for those who watch: not taken for a scrape, new series show their values at once."""
        form = negotiation.form(environ.get("HTTP_ACCEPT", ""))
        compress = negotiation.gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        live = parse_qs(environ.get("QUERY_STRING", "")).get("view") == ["live"]
        body = self.page.render(form, compress, live or environ["REQUEST_METHOD"] == "HEAD")
        encoding = (("Content-Encoding", "gzip"),) if compress else ()
        return Answer("200 OK", form.value, body, (("Vary", "Accept, Accept-Encoding"), *encoding))

    def _requests(self, environ: "WSGIEnvironment") -> Answer:
        """`?after=N` gives what came after the request of that number. An object whose `requests` are lines of JSON."""
        asked = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        after, limit = _whole(asked, "after", 0, 0, MAX_SEQUENCE), _whole(asked, "limit", MAX_REQUESTS, 1, MAX_REQUESTS)
        if after is None or limit is None:
            return _plain("400 Bad Request", ASKED)
        found = self.requests.look(after, limit) if self.requests else NO_LOG
        facts = json.dumps({name: value for name, value in found._asdict().items() if name != "requests"})
        lines = b",\n".join(found.requests)
        return Answer("200 OK", JSON, facts[:-1].encode() + b', "requests": [\n' + lines + b"\n]}\n")

    def _status(self, environ: "WSGIEnvironment") -> Answer:
        text = json.dumps(self.status(), indent=2, sort_keys=True) + "\n"
        return Answer("200 OK", JSON, text.encode())


def _whole(asked: Mapping[str, list[str]], name: str, default: int, lowest: int, highest: int) -> int | None:
    """The one that is asked for; None where it is none, or out of bounds."""
    words = asked.get(name, [str(default)])
    if len(words) != 1 or not _DIGITS.fullmatch(words[0]) or not lowest <= int(words[0]) <= highest:
        return None
    return int(words[0])


def _plain(status: str, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, PLAIN, text.encode("utf-8", "backslashreplace"), headers)


def _verdict(problem: str) -> Answer:
    return _plain("503 Service Unavailable", problem + "\n") if problem else _plain("200 OK", "ok\n")


class Server:
    """Serves on a thread of its own from the moment it is made until close().

    address: host and port, port 0 for a free one. context: makes it HTTPS; asked for each connection. Raises HostError
    where the address cannot be had."""

    def __init__(
        self,
        application: Application,
        address: tuple[str, int],
        context: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it warns of every request that waits for a thread
        listener = _listen(address)
        self.address: tuple[str, int] = listener.getsockname()[:2]
        self.scheme = "https" if context else "http"
        plain = _backend() if context else listener
        self._server = create_server(
            application,
            sockets=[plain],
            threads=THREADS,
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=IDLE_SECONDS // 2,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=MAX_BODY_BYTES,
            outbuf_overflow=MAX_BUFFERED_BYTES,
            asyncore_use_poll=True,
            ident="bpfleet",
        )
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._server.run, name="http", daemon=True)
        self._thread.start()
        self._front = _front(listener, plain, context) if context else None

    def close(self) -> None:
        """Lets go of the port; requests under way are cut off."""
        if self._front:
            self._front.close()
        if self._thread.is_alive():  # it closes its own sockets: it may be waiting on them
            with self._closing:
                self._server.trigger.pull_trigger(self._shut)
        self._thread.join(timeout=CLOSE_SECONDS)

    def _shut(self) -> None:
        with self._closing:  # somebody else may have woken it before the trigger is pulled, whose pipe this closes
            pass
        self._server.task_dispatcher.shutdown(timeout=CLOSE_SECONDS / 2)
        wasyncore.close_all(self._server._map, ignore_all=True)


def _front(listener: socket.socket, plain: socket.socket, context: Callable[[], ssl.SSLContext]) -> "Front":
    from agent.tls import Front  # here, because it takes 1.6 MiB

    return Front(listener, plain.getsockname().decode(), context, MAX_CONNECTIONS, IDLE_SECONDS)


class _OwnSocket(socket.socket):
    """Takes connections of this very process only: everybody in the network namespace can find an abstract name, and
    neither what `listen` nor what TLS keeps out shall come in here."""

    def accept(self) -> tuple[socket.socket, object]:
        connection, address = super().accept()
        pid, _, _ = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        if pid != os.getpid():
            connection.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "a connection of another process")
        return connection, address


def _backend() -> socket.socket:
    """For tls.py. In the abstract namespace, which needs no directory that can be written; the kernel chooses a free
    name."""
    backend = _OwnSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    backend.bind("")
    return backend


def _listen(address: tuple[str, int]) -> socket.socket:
    host, port = address
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(target)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise HostError(f"cannot listen on {host}:{port}: {error}") from error
    return listener
