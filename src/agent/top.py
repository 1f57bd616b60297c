"""`bpfleet top`: the busiest workloads, live. With --url of an agent that runs; without, with an agent of its own.

A terminal gets a table that sorts by key press; a pipe gets plain rows.
"""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live

from agent import child, configuration, own
from agent.activity import Activity, Row
from agent.escapes import inert
from agent.polling import Server
from agent.screen import SORTS, Size, ordered, plain, screen
from bpfleet.errors import HostError

SHORTEST, LONGEST = 0.1, 3600.0
"""Seconds between pages: an agent reads its maps ten times a second at most."""


class Keys:
    """Single key presses while the context lasts; the terminal is put back as it was."""

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = stream.fileno()
        self._saved = termios.tcgetattr(self._descriptor)

    def __enter__(self) -> "Keys":
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._saved)

    def wait(self, seconds: float) -> str:
        """The key pressed within the time, or nothing."""
        readable, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
        if not readable:
            return ""
        return os.read(self._descriptor, 1).decode("ascii", "replace") or "q"  # nothing to read: the terminal is gone


class Top:
    """Polls a page and shows it. check: raises when there is nothing more to poll."""

    def __init__(
        self, server: Server, sort: str, interval: float, check: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        self._server = server
        self._sort = sort
        self._interval = interval
        self._check = check
        self._clock = clock
        self._activity = Activity()
        self._trouble = ""

    def poll(self) -> None:
        """Take one page. An agent that does not answer for a while is told, not fatal."""
        self._check()
        try:
            self._activity.add(self._server.page(), self._clock())
            self._trouble = ""
        except (HostError, ValueError) as error:
            self._trouble = inert(str(error))

    def rows(self) -> list[Row]:
        return ordered(self._activity.rows(), self._sort)

    def notes(self) -> list[str]:
        off = [f"collector {inert(name)} is off: {inert(reason)}" for name, reason in self._activity.off.items()]
        return [*off, *([self._trouble] if self._trouble else [])]

    def press(self, key: str) -> bool:
        """Whether to go on."""
        self._sort = next((name for name, sort in SORTS.items() if sort.key == key), self._sort)
        return key not in ("q", "\x03", "\x04")

    def draw(self, size: Size) -> Group:
        return screen(self.rows(), self._sort, self._server.address, self.notes(), size)

    def run_plain(self, out: TextIO, wait: Callable[[float], object], once: bool) -> None:
        """Rows after every interval; with `once` a single time."""
        self.poll()
        self._stop_on_trouble()
        while True:
            wait(self._interval)
            self.poll()
            if once:
                self._stop_on_trouble()
            out.write("".join(f"# {note}\n" for note in self.notes()) + plain(self.rows()))
            out.write("" if once else "\n")
            out.flush()
            if once:
                return

    def run_live(self, console: Console, keys: Keys) -> None:
        self.poll()
        self._stop_on_trouble()
        with Live(self.draw(Size(*console.size)), console=console, screen=True, auto_refresh=False) as live:
            due = self._clock() + self._interval
            while self.press(keys.wait(due - self._clock())):
                if self._clock() >= due:
                    self.poll()
                    due = self._clock() + self._interval
                live.update(self.draw(Size(*console.size)), refresh=True)

    def _stop_on_trouble(self) -> None:
        if self._trouble:
            raise HostError(self._trouble)


def main(arguments: Sequence[str]) -> int:
    """Ctrl-C, q and SIGTERM all end it in order: the agent of its own, then the terminal as it was."""
    parsed = _parse(arguments)
    own.leave_on_signals()
    try:
        with _agent(parsed) as (server, check):
            _show(Top(server, parsed.sort, parsed.interval, check, time.monotonic), parsed.once)
    except KeyboardInterrupt:
        pass
    return 0


def _show(top: Top, once: bool) -> None:
    if once or not sys.stdout.isatty() or not sys.stdin.isatty():
        top.run_plain(sys.stdout, time.sleep, once)
        return
    with Keys(sys.stdin) as keys:
        top.run_live(Console(markup=False, highlight=False, emoji=False), keys)


@contextlib.contextmanager
def _agent(parsed: Namespace) -> Iterator[tuple[Server, own.Check]]:
    """The agent to ask, and what to call to learn that it is gone."""
    if server := own.named(parsed):
        yield server, lambda: None
        return
    with own.started(agent_flags(parsed, os.environ, child.port), parsed) as started:
        yield started


def agent_flags(parsed: Namespace, environment: Mapping[str, str], port: Callable[[], int]) -> dict[str, str]:
    """For an agent of its own: where the user says nothing, a pace that suits a live table."""
    pace = {"drain_interval_seconds": f"{min(parsed.interval, own.DRAIN_SECONDS):g}"}
    return own.agent_flags(parsed, environment, port, pace)


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = configuration.Parser("bpfleet top", "Show the busiest workloads, live.")
    own.add_to(parser)
    parser.add_argument("--sort", choices=tuple(SORTS), default="traffic", help="order of the rows (default: traffic)")
    parser.add_argument(
        "--interval", type=_interval, default=2.0, metavar="S", help="seconds between pages (default: 2)"
    )
    parser.add_argument("--once", action="store_true", help="print rows once, after one interval, and leave")
    return parser.parse_args(arguments)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST <= seconds <= LONGEST:
        raise ArgumentTypeError(f"must be a number of seconds from {SHORTEST:g} to {LONGEST:g}")
    return seconds
