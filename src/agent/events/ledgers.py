"""What became of events, by their name. Each is entered once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from bpfleet import names

MAX_NAMES = 256
"""Names beyond those that collectors declare, so that one which makes names up cannot fill the memory."""


class Account(NamedTuple):
    """Of one stage: seen = delivered + sum(lost) + what waits."""

    seen: int
    delivered: int
    lost: Mapping[str, int]


class Ledger:
    """delivered: the outcome that is no loss. reasons: the others. events: declared names, known from the start. own:
    more reasons, of some of the events only."""

    def __init__(
        self,
        delivered: str,
        reasons: Iterable[str],
        events: Iterable[str] = (),
        own: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        self._delivered, self._reasons, self._own = delivered, tuple(reasons), own
        self._counts: Counter[tuple[str, str]] = Counter()
        self._names: set[str] = set()
        self._room = MAX_NAMES
        self.declare(events)

    def declare(self, events: Iterable[str]) -> None:
        """More names that are known; what was counted of them stays."""
        for event in events:
            self._names.add(event)
            outcomes = (self._delivered, *self._reasons, *self._own.get(event, ()))
            self._counts.update({(event, outcome): 0 for outcome in outcomes})

    def enter(self, event: str, outcome: str, count: int = 1) -> None:
        if event not in self._names:
            event = self._admitted(event)
        self._counts[event, outcome] += count

    def _admitted(self, event: str) -> str:
        if not self._room:
            return names.OTHER
        self._room -= 1
        self._names.add(event)
        return event

    def counts(self) -> dict[tuple[str, str], int]:
        """By event and outcome."""
        return dict(self._counts)

    def account(self, seen: int) -> Account:
        lost = dict.fromkeys(self._reasons, 0)
        delivered = 0
        for (_, outcome), count in self._counts.items():
            if outcome == self._delivered:
                delivered += count
            else:
                lost[outcome] = lost.get(outcome, 0) + count
        return Account(seen, delivered, lost)
