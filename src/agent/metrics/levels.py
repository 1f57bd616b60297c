"""How many are there now? Never fewer than none, whichever series has counted them.

An end may be told after its beginning has left the page: a pod's last sockets outlive it, and what once found no room
was counted with the `other` series. So each subject's own part of an `other` series is known, moves to the series of
its own once there is room, and goes with its workload; and what ends without having been there leaves 0, not -1.
"""

from dataclasses import dataclass, replace

from agent.metrics.series import Family, Level, Series, Subject
from bpfleet.metrics import Value

Key = tuple[Family, tuple[str, ...]]


@dataclass
class Debt:
    """part: whose part of an `other` series has it. samples: told of an end without a beginning. is_old: since the
    drain before."""

    part: tuple[Subject, Key] | None
    samples: int = 0
    is_old: bool = False


class Levels:
    """late: samples that told of the end of what was not there (any more)."""

    def __init__(self) -> None:
        self.late = 0
        self._folded: dict[Subject, dict[Key, Level]] = {}
        self._debts: dict[Level, Debt] = {}

    def add(self, subject: Subject, series: Level, values: tuple[str, ...], by: Value) -> int:
        """series: the subject's, or the `other` one. Returns how many samples are counted by this: none while more
        ended than began, since the beginning may still come. Raises ValueError for a value that is no number."""
        is_own = series.subject is subject and not subject.permanent
        key = (series.own.family, values)
        level = series if is_own else self._part(subject, series, key)
        before = level.value
        level.add(by)
        if not is_own:
            series.value += level.value - before
            self._keep(subject, key, level)
        if level.owed:
            if level not in self._debts:
                self._debts[level] = Debt(None if is_own else (subject, key))
            self._debts[level].samples += 1
            return 0
        debt = self._debts.pop(level, None)
        return 1 + debt.samples if debt else 1

    def move(self, subject: Subject, series: Series) -> None:
        """The subject has a series of its own now: its part of the `other` one goes there."""
        part = self._folded.get(subject, {}).pop((series.own.family, series.own.values), None)
        if not isinstance(part, Level) or not isinstance(series, Level):
            return
        self._take_from_other(part)
        series.value, series.owed = part.value, part.owed
        if part in self._debts:
            self._debts[series] = replace(self._debts.pop(part), part=None)
        self._tidy(subject)

    def stands(self, subject: Subject) -> bool:
        """Is something of it still there?"""
        own = any(isinstance(series, Level) and series.value for series in subject.series.values())
        return own or subject in self._folded

    def drop(self, subject: Subject) -> None:
        """Its series go, and its part of the `other` ones with them."""
        parts = self._folded.pop(subject, {})
        for part in parts.values():
            self._take_from_other(part)
        for level in [*parts.values(), *subject.series.values()]:
            if isinstance(level, Level) and level in self._debts:
                self.late += self._debts.pop(level).samples

    def retire(self, family: Family) -> None:
        """The metric goes: with what its series had, and their parts of the `other` ones."""
        gone = [series for series in family.series if isinstance(series, Level)]
        for subject, parts in list(self._folded.items()):
            gone += [parts.pop(key) for key in list(parts) if key[0] is family]
            self._tidy(subject)
        for level in gone:
            if level in self._debts:
                self.late += self._debts.pop(level).samples

    def settle(self) -> None:
        """The end of a drain. A row is read while it is counted into, so a beginning may come one drain after its end;
        after that it will not."""
        for level, debt in list(self._debts.items()):
            if not debt.is_old:
                debt.is_old = True
                continue
            self.late += debt.samples
            level.owed = 0
            del self._debts[level]
            if debt.part:
                self._keep(*debt.part, level)

    def _part(self, subject: Subject, other: Level, key: Key) -> Level:
        return self._folded.get(subject, {}).get(key) or Level(other.subject, other.own, 0.0)

    def _keep(self, subject: Subject, key: Key, part: Level) -> None:
        """Only while there is something to know."""
        if part.value or part.owed:
            self._folded.setdefault(subject, {})[key] = part
        elif self._folded.get(subject, {}).pop(key, None):
            self._tidy(subject)

    def _tidy(self, subject: Subject) -> None:
        if not self._folded.get(subject, True):
            del self._folded[subject]

    def _take_from_other(self, part: Level) -> None:
        other = part.subject.series[part.own]
        if isinstance(other, Level):
            other.value -= part.value
