"""`bpfleet requests`: the request log of an agent that runs, as it comes; without one, of an agent of its own.

The agent keeps the last requests in memory (agent/sinks/recent.py) and gives each a number, so that nothing is shown
twice, and what fell out before it was shown is told.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from agent import child, configuration, own, request_filters, request_pages, request_rows
from agent.escapes import inert
from agent.polling import Server
from agent.request_pages import Page, Request
from bpfleet.errors import HostError

POLL_SECONDS = 1.0

HOW = "start it with errors, sampled or all as requests.log in its settings, BPFLEET_REQUESTS_LOG or --requests-log"
SOME = "the log is off but in namespaces that ask for it"
SOURCES = ("http", "http_log")
"""Collectors without which there is no request to tell of."""

_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Tail:
    """Asks one agent again and again. note: told what the user has to know besides the requests, once each."""

    def __init__(self, server: Server, note: Callable[[str], None]) -> None:
        self._server, self._note = server, note
        self._agent: str | None = None
        self._after = 0

    def look(self) -> Iterator[Request]:
        """All that came since the last look. Raises HostError."""
        while True:
            page = self._page()
            if page.agent != self._agent:
                page = self._begin(page)
            elif page.missed:
                self._note(f"{page.missed} requests are not shown: more came than the agent keeps in a second")
            came_on, self._after = page.next > self._after, max(page.next, self._after)
            yield from page.requests
            if not came_on or page.next >= page.last:
                return

    def _begin(self, page: Page) -> Page:
        """With an agent that has not been asked before, from the oldest request that it has."""
        if page.log == "off":
            if not page.agent:
                raise HostError(f"the request log of the agent at {self._server.address} is off; {HOW}")
            self._note(SOME)
        is_first, self._agent = self._agent is None, page.agent
        if is_first:
            return page
        self._note("the agent was started again: what it had logged before and was not shown is gone")
        self._after = 0
        return self._page()

    def _page(self) -> Page:
        try:
            return request_pages.parse(self._server.requests(self._after))
        except ValueError as error:
            raise HostError(f"{self._server.address} does not answer as an agent: {inert(str(error))}") from error


class Follower:
    """Shows what matches until there is enough. check: raises when the agent is gone for good."""

    def __init__(
        self,
        tail: Tail,
        is_wanted: request_filters.Question,
        show: Callable[[Request], None],
        note: Callable[[str], None],
        check: Callable[[], None] = lambda: None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._tail, self._is_wanted, self._show, self._note = tail, is_wanted, show, note
        self._check, self._wait = check, wait
        self._seen = self._shown = 0
        self._trouble = ""

    def run(self, follow: bool, count: int | None) -> None:
        """follow: beyond what is there already. Raises HostError; when following, only if it cannot begin."""
        if self._take(count) or not follow:
            if not self._shown:
                self._note(f"none of {self._seen} requests matches" if self._seen else "no request is logged yet")
            return
        while True:
            self._wait(POLL_SECONDS)
            self._check()
            try:
                if self._take(count):
                    return
                self._trouble = ""
            except HostError as error:
                if str(error) != self._trouble:
                    self._note(str(error))
                self._trouble = str(error)

    def _take(self, count: int | None) -> bool:
        """Whether that was enough."""
        for request in self._tail.look():
            self._seen += 1
            if self._is_wanted(request):
                self._show(request)
                self._shown += 1
                if count is not None and self._shown >= count:
                    return True
        return False


class Printer:
    """Lines on a stream. As JSON the records as they came; as text a header, then a line each, in colours only at a
    terminal that has some."""

    def __init__(self, stream: TextIO, as_json: bool, environment: Mapping[str, str]) -> None:
        self._stream, self._as_json = stream, as_json
        self._is_terminal = stream.isatty()
        self._has_colours = (
            self._is_terminal and not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
        )
        self._has_header = False

    def show(self, request: Request) -> None:
        line = _json(request) if self._as_json else self._row(request)
        self._stream.write(line + "\n")

    def _row(self, request: Request) -> str:
        width = shutil.get_terminal_size().columns if self._is_terminal else None
        line = request_rows.row(request, width, self._has_colours)
        if self._has_header:
            return line
        self._has_header = True
        return f"{request_rows.header(width)}\n{line}"


def _json(request: Request) -> str:
    return _encode(request).replace("\x7f", "\\u007f")


def main(arguments: Sequence[str]) -> int:
    """Ctrl-C and SIGTERM end it in order, and the agent of its own with it."""
    wanted = parse(arguments)
    own.leave_on_signals()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names need not fit the terminal's character set; a line is out when it is complete, also in a pipe.
        sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    with contextlib.suppress(KeyboardInterrupt), _agent(wanted) as (server, check, is_own):
        printer = Printer(sys.stdout, wanted.json, os.environ)
        for name, reason in _off(server).items():
            _note(f"collector {name} is off: {reason}")
        follower = Follower(Tail(server, _note), request_filters.question_of(wanted), printer.show, _note, check)
        follower.run(wanted.follow or is_own or wanted.count is not None, wanted.count)
    return 0


def _note(text: str) -> None:
    print(f"bpfleet requests: {inert(text)}", file=sys.stderr)


def _off(server: Server) -> Mapping[str, str]:
    """Of the collectors that requests come from, with the reason. Raises HostError."""
    try:
        return request_pages.off(server.status(), SOURCES)
    except ValueError as error:
        raise HostError(f"{server.address} is no page of an agent: {inert(str(error))}") from error


@contextlib.contextmanager
def _agent(wanted: argparse.Namespace) -> Iterator[tuple[Server, own.Check, bool]]:
    """The agent at --url, else the one that runs here, else one of its own."""
    if server := own.named(wanted) or own.running(wanted, os.environ):
        yield server, lambda: None, False
        return
    with own.started(agent_flags(wanted, os.environ, child.port), wanted) as (server, check):
        print("every HTTP/1.x request from now on; Ctrl-C ends", file=sys.stderr)
        yield server, check, True


def agent_flags(parsed: argparse.Namespace, environment: Mapping[str, str], port: Callable[[], int]) -> dict[str, str]:
    """For an agent of its own: where the user says nothing, it logs every request, and soon."""
    return own.agent_flags(
        parsed, environment, port, {"drain_interval_seconds": f"{own.DRAIN_SECONDS:g}", "requests.log": "all"}
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = configuration.Parser("bpfleet requests", "Show the request log: HTTP/1.x requests one by one.")
    parser.usage = "%(prog)s [filters] [options]"  # one flag a setting would hide what is wrong
    own.add_to(parser)
    parser.add_argument("--json", action="store_true", help="records as JSON Lines instead of a table")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes (an agent of its own does)")
    parser.add_argument("--count", type=_count, metavar="N", help="wait for N requests, then leave")
    request_filters.add_to(parser)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text)):
        raise argparse.ArgumentTypeError("must be a whole number from 1 on")
    return int(text)
