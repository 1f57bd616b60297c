"""What is told of a namespace's requests now? Settings first, the namespace's annotations over them, for a time where
it is more than everybody may see.

Opening queries or raw paths takes a moment at which it ends, a week ahead at most. One that is further away opens
nothing before it is a week away: so every agent of the cluster, whenever it was started, does the same.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from agent.escapes import clean
from agent.identity import model
from agent.requests import annotations, wishes
from agent.requests.wishes import MAX_DAYS, Settings, Wish, is_open
from bpfleet import names

log = logging.getLogger(__name__)

QUERIES, PATHS = "queries", "paths"
OPENED = {QUERIES: "query strings", PATHS: "raw paths"}

NAMELESS = (names.OTHER, model.UNKNOWN)
"""Whose requests nobody may know: their namespace may have asked for silence."""

NOT_KUBERNETES = "_"
"""With it names of ours begin, and none of Kubernetes."""

MAX_PROBLEMS_TOLD = 100
"""Lines in the log at one change of the annotations; the metric counts them all."""


class Policy(NamedTuple):
    """mode: off | errors (and slow ones) | sampled (one in `one_in`) | all. queries, raw_paths: may they leave now,
    redacted; else queries are cut and paths are templates."""

    mode: str
    one_in: int = 1
    slow_seconds: float = 1.0
    queries: bool = False
    raw_paths: bool = False


class Standing(NamedTuple):
    """For the metrics. refused: annotations that are ignored; opened: by what, how many namespaces."""

    refused: int
    opened: Mapping[str, int]


class Book(Protocol):
    """agent.identity.namespaces.Namespaces."""

    @property
    def version(self) -> int: ...
    @property
    def is_known(self) -> bool:
        """Whether who has no annotation in it has none."""

    def annotations(self) -> Mapping[str, Mapping[str, str]]: ...


class State(NamedTuple):
    """Of a wish to record more until then. is_early: it is too far away."""

    until: datetime
    is_open: bool
    is_early: bool

    def __str__(self) -> str:
        return self.until.isoformat(timespec="seconds").replace("+00:00", "Z")


def now() -> datetime:
    return datetime.now(UTC)


class Policies:
    """Used from one thread. book: of the namespaces' annotations, None without a cluster. clock: aware, in UTC.
    Raises ValueError for settings that cannot be read (settings.clashes tells them first)."""

    def __init__(self, settings: Settings, book: Book | None = None, clock: Callable[[], datetime] = now) -> None:
        self._book, self._clock = book, clock
        self._version, self._is_known = -1, book is None
        self._of: dict[str, Policy] = {}
        self._asked: dict[str, Wish] = {}
        self._annotated: dict[str, Wish] = {}
        self._modes: dict[str, str] = {}
        self._problems: dict[tuple[str, str], str] = {}
        self._states: dict[tuple[str, str], State] = {}
        self._next = datetime.min.replace(tzinfo=UTC)
        self._last = self._next
        self._default = Wish()
        self.adjust(settings)

    def adjust(self, settings: Settings) -> None:
        """As when it was made."""
        self._asked = wishes.of(settings)
        self._default = Wish(settings.log, settings.one_in, settings.slow_seconds)
        self._renew()

    def of(self, namespace: str) -> Policy:
        """Of a namespace whose annotations may still come nothing is told: it may have asked for silence."""
        self._pass_time()
        if not self._is_known and namespace and not namespace.startswith(NOT_KUBERNETES):
            return Policy("off")
        found = self._of.get(namespace)
        if found is None:
            found = self._of[NAMELESS[0]] if namespace in NAMELESS else self._of[""]
        return found

    def refresh(self) -> None:
        """Once a drain. Follows the annotations and the clock; what begins or ends by that is told in the log. Not for
        each request: who changes an annotation without end may not keep everybody else waiting."""
        if self._book is not None and (self._book.version, self._book.is_known) != (self._version, self._is_known):
            self._renew()
        self._pass_time()

    def _pass_time(self) -> None:
        now = self._clock()
        if now >= self._next or now < self._last:
            self._renew()
        self._last = now

    def standing(self) -> Standing:
        states = self._states
        opened = {what: sum(each.is_open for key, each in states.items() if key[1] == what) for what in OPENED}
        return Standing(len(self._problems) + sum(each.is_early for each in states.values()), opened)

    def _renew(self) -> None:
        now = self._clock()
        if self._book is not None:
            is_known = self._book.is_known  # before the version, which may have become another by that
            if self._book.version != self._version:
                self._version = self._book.version
                self._read(self._book.annotations())
            self._is_known = is_known
        wished = {name: self._wish(name) for name in self._asked.keys() | self._annotated.keys()}
        states = {key: state for name, wish in wished.items() for key, state in _states(name, wish, now)}
        self._of = {name: _policy(wish, now) for name, wish in wished.items()}
        self._of[""] = _policy(self._default, now)
        self._of.setdefault(NAMELESS[0], Policy("off"))
        self._next = min((at for each in states.values() for at in _changes(each) if at > now), default=_NEVER)
        self._tell(states)
        self._tell_modes()
        self._last = now

    def _wish(self, namespace: str) -> Wish:
        asked = self._asked.get(namespace, Wish()).over(self._default)
        return self._annotated.get(namespace, Wish()).over(asked)

    def _read(self, given: Mapping[str, Mapping[str, str]]) -> None:
        self._annotated, problems = {}, dict[tuple[str, str], str]()
        for namespace, values in given.items():
            self._annotated[namespace], wrong = annotations.read(values)
            problems.update({(namespace, name): f"{told}" for name, told in wrong.items()})
        fresh = [key for key in problems if problems[key] != self._problems.get(key)]
        for namespace, name in fresh[:MAX_PROBLEMS_TOLD]:
            told = problems[namespace, name]
            log.warning("namespace %s: annotation %s is ignored: %s", clean(namespace), clean(name), told)
        self._problems = problems

    def _tell(self, states: Mapping[tuple[str, str], State]) -> None:
        for key in sorted(states.keys() | self._states.keys()):
            before, after = self._states.get(key), states.get(key)
            if before == after:
                continue
            namespace, what, was_open = clean(key[0]), OPENED[key[1]], bool(before and before.is_open)
            if after and after.is_open:
                log.warning("namespace %s: %s of requests are recorded until %s, redacted", namespace, what, after)
            elif was_open:
                log.warning("namespace %s: %s of requests are not recorded any more", namespace, what)
            if after and after.is_early:
                log.warning(
                    "namespace %s: %s until %s: more than %d days away, it opens nothing before it is that near",
                    *(namespace, what, after, MAX_DAYS),
                )
            elif after and not after.is_open and not was_open:
                log.info("namespace %s: %s until %s: that has passed, and opens nothing", namespace, what, after)
        self._states = dict(states)

    def _tell_modes(self) -> None:
        standard = described(self._of[""])
        modes = {name: described(policy) for name, policy in self._of.items() if name not in ("", *NAMELESS)}
        modes = {name: told for name, told in modes.items() if told != standard}
        for name in sorted(modes.keys() | self._modes.keys()):
            if modes.get(name) != self._modes.get(name):
                told = modes.get(name, f"{standard}, as everywhere")
                log.info("namespace %s: the request log is %s", clean(name), told)
        self._modes = modes


_NEVER = datetime.max.replace(tzinfo=UTC)


def described(policy: Policy) -> str:
    details = {
        "errors": f" and requests of {policy.slow_seconds:g} s or more",
        "sampled": f", one in {policy.one_in}",
    }
    return policy.mode + details.get(policy.mode, "")


def _policy(wish: Wish, now: datetime) -> Policy:
    return Policy(
        wish.mode or "off",
        wish.one_in or 1,
        wish.slow_seconds or 0.0,
        is_open(wish.queries_until, now),
        is_open(wish.paths_until, now),
    )


def _states(namespace: str, wish: Wish, now: datetime) -> Iterator[tuple[tuple[str, str], State]]:
    for what, until in ((QUERIES, wish.queries_until), (PATHS, wish.paths_until)):
        if until:
            opened = is_open(until, now)
            yield (namespace, what), State(until, opened, not opened and until > now)


def _changes(state: State) -> tuple[datetime, datetime]:
    """When it begins at the earliest, and when it ends."""
    return (state.until - timedelta(days=MAX_DAYS) if state.is_early else state.until), state.until
