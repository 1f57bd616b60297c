"""Settings read again: what changed, what of it can be applied to an agent that runs, and how the last attempt went.

A reading that has a mistake changes nothing. Of one that has none, everything live is applied (options.Option.live);
what is not keeps its value until a restart, and is named.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import NamedTuple

from agent.configuration import Configuration
from agent.metrics.health import Reloads
from agent.options import Leaf, PluginOptions, Value, shown
from agent.settings import Settings, build, get, leaves
from bpfleet.errors import BpfleetError

log = logging.getLogger(__name__)

Apply = Callable[[Configuration, Settings], Sequence[str]]


class Waiting(NamedTuple):
    """Of a setting that waits for a restart."""

    name: str
    in_force: Value
    wanted: Value


@dataclass(frozen=True)
class Change:
    """settings: in force from now on. applied: names of those that are others than before."""

    settings: Settings
    applied: tuple[str, ...]
    waiting: tuple[Waiting, ...]


def compare(in_force: Settings, wanted: Settings, alone: Mapping[str, bool], logs: bool = False) -> Change:
    """alone: every collector, and whether it shares its programs with none, so that it can be switched by itself.
    logs: whether the programs of the request log are there; they stay when the log is switched off."""
    values: dict[str, Value] = {}
    applied: list[str] = []
    waiting: list[Waiting] = []
    for leaf in leaves():
        before, after = get(in_force, leaf), get(wanted, leaf)
        now = _applied(leaf, before, after, alone)
        if leaf.name in ("requests.log", "requests.namespaces") and not logs:
            now = before
        values[leaf.name] = now
        if now != before:
            applied.append(leaf.name)
        if now != after:
            waiting.append(Waiting(leaf.name, now, after))
    return Change(build(values), tuple(applied), tuple(waiting))


def _applied(leaf: Leaf, before: Value, after: Value, alone: Mapping[str, bool]) -> Value:
    if leaf.name == "collectors" and isinstance(before, tuple) and isinstance(after, tuple):
        return tuple(name for name, is_alone in alone.items() if name in (after if is_alone else before))
    return after if leaf.option.live else before


def now() -> datetime:
    return datetime.now(UTC)


class Requests:
    """Wishes for a reload, as one where several came.

    The queue's put() may interrupt itself, so a signal handler may call it; an event's set() could wait for ever for
    the very code that the signal has interrupted."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()

    def add(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[None]:
        """Waits for the next one, without end."""
        while True:
            self._queue.get()
            with suppress(Empty):
                while True:
                    self._queue.get_nowait()
            yield


class Reloader:
    """settings: in force now. read: what file, environment and flags say now. Attempts are made on one thread, and told
    of on any."""

    def __init__(
        self,
        settings: Settings,
        alone: Mapping[str, bool],
        read: Callable[[], Configuration],
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.settings = settings
        self._alone, self._logs = alone, settings.runs("http_log")
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._attempts = 0
        self._attempted = self._succeeded = clock()
        self._error = ""
        self._applied: tuple[str, ...] = ()
        self._waiting: dict[str, str] = {}

    def run(self, requests: Iterable[None], apply: Apply) -> None:
        """Until the requests end."""
        for _ in requests:
            self.attempt(apply)

    def attempt(self, apply: Apply) -> None:
        """apply: makes these settings the ones in force, all of them or (raising BpfleetError) none; returns those of
        which the file says something else than before."""
        started = self._clock()
        try:
            change, waiting = self._attempt(apply)
        except BpfleetError as error:
            log.error("the settings stay as they are; reading them again failed: %s", error)
            self._note(started, str(error))
        except Exception as error:  # a reload's failure is its own: counting goes on
            log.exception("the settings stay as they are; reading them again failed")
            self._note(started, f"{type(error).__name__}: {error}")
        else:
            log.info("settings read again; applied: %s", ", ".join(change.applied) or "nothing, all is as it was")
            for name, told in waiting.items():
                log.warning("%s waits for a restart: %s", name, told)
            with self._lock:
                self._applied, self._waiting, self._succeeded = change.applied, waiting, started
            self._note(started, "")

    def _attempt(self, apply: Apply) -> tuple[Change, dict[str, str]]:
        configuration = self._read()
        change = compare(self.settings, configuration.settings, self._alone, self._logs)
        touched = apply(configuration, change.settings)
        self.settings = change.settings
        applied = tuple(dict.fromkeys((*change.applied, *touched)))
        waiting = {
            each.name: f"{_shown(each.in_force)} is in force, {_shown(each.wanted)} is wanted "
            f"({configuration.place(each.name)})"
            for each in change.waiting
        }
        return Change(change.settings, applied, change.waiting), waiting

    def _note(self, started: datetime, error: str) -> None:
        with self._lock:
            self._attempts += 1
            self._attempted, self._error = started, error

    def state(self) -> Reloads:
        """For /metrics."""
        with self._lock:
            return Reloads(not self._error, self._succeeded.timestamp(), len(self._waiting))

    def page(self) -> Mapping[str, object]:
        """For /status. The start counts as a success."""
        with self._lock:
            return {
                "attempts": self._attempts,
                "last_attempt": self._attempted.isoformat(timespec="milliseconds"),
                "last_success": self._succeeded.isoformat(timespec="milliseconds"),
                "successful": not self._error,
                "error": self._error,
                "applied": list(self._applied),
                "restart_required": dict(self._waiting),
            }


def _shown(value: Value) -> str:
    if isinstance(value, PluginOptions):
        return shown(value.values)
    if isinstance(value, tuple):
        return shown(", ".join(map(str, value)))
    return shown(value)
