"""Collectors that run: what became of each, and their maps. More can join, and one with a unit of its own can leave."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import add

from agent.kernel.isolation import Outcome
from agent.kernel.tables import MapFacts, Tables
from bpfleet.api import Maps, Row
from bpfleet.errors import KernelError

BOOKS = "books_"
"""Begins the name of a per-CPU row with a channel's books: seen, then lost by reason."""

RUNS = "runs_"
"""Begins the name of a per-CPU row with a function's runs: all, timed, nanoseconds of the timed."""


MAX_KEPT_ROWS = 32768
"""Of one hash for a collector that failed, 13 MiB: one that fails each time may not fill the memory. What is over is
lost, and shows as what its channels have seen and neither delivered nor lost."""


Enumerations = Mapping[str, Mapping[int, str]]
"""By the enumeration's name in C: the names of its values."""


class UnitMaps:
    """The maps of a unit: each hash is read once a drain, for all its collectors.

    failed: by channel, what was delivered from rows on which a collector failed."""

    def __init__(self, tables: Tables, enumerations: Enumerations) -> None:
        self.tables = tables
        self.enumerations = enumerations
        self.delivered: dict[str, int] = {}
        self.failed: dict[str, int] = {}
        self._views: list[CollectorMaps] = []
        self._drained: dict[str, list[Row] | Exception] = {}

    def view(self) -> "CollectorMaps":
        """For one more collector."""
        self._views.append(CollectorMaps(self))
        return self._views[-1]

    def begin_drain(self) -> None:
        read = {name: rows for name, rows in self._drained.items() if not isinstance(rows, Exception)}
        for view in self._views:
            view.begin_drain(read)
        self._drained.clear()

    def growth(self, name: str) -> list[Row]:
        """Raises what the read raised, for every collector: if the second one read again, the first would never see
        those rows."""
        if name not in self._drained:
            try:
                self._drained[name] = self.tables.growth(name)
            except Exception as error:  # kept for the others, and raised below
                self._drained[name] = error
        rows = self._drained[name]
        if isinstance(rows, Exception):
            raise rows.with_traceback(None)
        return rows


class CollectorMaps:
    """The maps of a unit as one collector sees them. A row is done with when the next one is asked for.

    Where a collector fails, the rows that it did not come to are offered again. The one it failed on is not: some of
    its samples may be counted, and a row that cannot be read would bar the way for ever. What was delivered from it is
    booked as failed."""

    def __init__(self, unit: UnitMaps) -> None:
        self.unit = unit
        self._waiting: dict[str, deque[Row]] = {}
        self._asked: set[str] = set()
        self._in_hand = False
        self._delivered: dict[str, int] = {}

    def begin_drain(self, read: Mapping[str, list[Row]]) -> None:
        """read: what the drain before has read; a collector that failed has not asked for all of it."""
        self._book(self.unit.failed)
        for name in self._waiting.keys() & read.keys() - self._asked:
            self._waiting[name].extend(read[name])
        self._asked.clear()
        for name, rows in self._waiting.items():
            if rows:
                self._waiting[name] = _merged(rows)

    def growth(self, name: str) -> Iterator[Row]:
        waiting = self._waiting.setdefault(name, deque())
        if name not in self._asked:
            waiting.extend(self.unit.growth(name))
            self._asked.add(name)
        return self._rows(waiting)

    def _rows(self, waiting: deque[Row]) -> Iterator[Row]:
        try:
            while waiting:
                self._in_hand = True
                yield waiting.popleft()
                self._book(self.unit.delivered)
        finally:
            self._in_hand = False

    def totals(self, name: str) -> tuple[int, ...]:
        return self.unit.tables.totals(name)

    def records(self, name: str) -> Iterator[bytes]:
        return self.unit.tables.records(name)

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        return self.unit.tables.replace(name, rows)

    def walk(self, function: str) -> bytes:
        return self.unit.tables.walk(function)

    def enumeration(self, name: str) -> Mapping[int, str]:
        return self.unit.enumerations.get(name, {})

    def walk_parts(self, function: str) -> Iterator[bytes]:
        return self.unit.tables.walk_parts(function)

    def deliver(self, channel: str, count: int) -> None:
        into = self._delivered if self._in_hand else self.unit.delivered
        into[channel] = into.get(channel, 0) + count

    def _book(self, into: dict[str, int]) -> None:
        for channel, count in self._delivered.items():
            into[channel] = into.get(channel, 0) + count
        self._delivered.clear()


def _merged(rows: Iterable[Row]) -> deque[Row]:
    """Each key once, so that a collector that keeps failing keeps few."""
    merged: dict[bytes, tuple[int, ...]] = {}
    for key, added in rows:
        if key in merged:
            merged[key] = tuple(map(add, merged[key], added))
        elif len(merged) < MAX_KEPT_ROWS:
            merged[key] = added
    return deque(merged.items())


class NoMaps:
    """Of a collector that is off: nothing happens."""

    def growth(self, name: str) -> Iterator[Row]:
        return iter(())

    def totals(self, name: str) -> tuple[int, ...]:
        return ()

    def records(self, name: str) -> Iterator[bytes]:
        return iter(())

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        return 0

    def walk(self, function: str) -> bytes:
        return b""

    def enumeration(self, name: str) -> Mapping[int, str]:
        return {}

    def walk_parts(self, function: str) -> Iterator[bytes]:
        return iter(())

    def deliver(self, channel: str, count: int) -> None:
        raise KernelError(f"{count} delivered from {channel}, which is off")


class Loaded:
    """Collectors that run. outcomes: by collector, in the order in which they were given. headers: what was compiled
    against. assertions: how many statements about the kernel's layout the compiler has checked. origin: whether it was
    compiled, or kept from an earlier start.

    Books and runs of a collector that left are kept, and go on from there if it joins again: no counter goes back."""

    def __init__(
        self,
        outcomes: Mapping[str, Outcome],
        units: Sequence[tuple[Sequence[str], Tables]],
        headers: str = "",
        assertions: int = 0,
        enumerations: Enumerations | None = None,
        origin: str = "",
    ) -> None:
        """units: names of collectors, and the tables that they share. enumerations: those of the kernel that the
        collectors have declared."""
        self.outcomes = dict(outcomes)
        self.headers = headers
        self.assertions = assertions
        self.origin = origin
        self._units = [UnitMaps(tables, enumerations or {}) for _, tables in units]
        self._by_name = {
            name: unit.view() for (names, _), unit in zip(units, self._units, strict=True) for name in names
        }
        self._past: dict[str, tuple[int, ...]] = {}
        self._past_delivered: Counter[str] = Counter()
        self._past_failed: Counter[str] = Counter()
        self._past_left_out: Counter[str] = Counter()

    def join(self, other: "Loaded") -> None:
        """Take over what `other` has loaded; it is empty afterwards."""
        self.outcomes.update(other.outcomes)
        self._units += other._units
        self._by_name.update(other._by_name)
        other._units.clear()
        other._by_name.clear()

    def detach(self, collector: str, walks: Collection[str] = ()) -> None:
        """Its programs run no more, but for its walks; what they counted can still be read. Only for one that shares
        no unit."""
        if collector in self._by_name:
            self._by_name[collector].unit.tables.detach(walks)

    def leave(self, collector: str) -> None:
        """Let go of its maps. Only for one that shares no unit."""
        del self.outcomes[collector]
        view = self._by_name.pop(collector, None)
        if view is None:
            return
        self._units.remove(view.unit)
        try:
            view.unit.begin_drain()  # books what the collector failed on
            self._past_delivered.update(view.unit.delivered)
            self._past_failed.update(view.unit.failed)
            self._past_left_out.update(view.unit.tables.left_out())
            for name, row in _rows_of(view.unit.tables):
                self._past[name] = _sum(self._past.get(name), row)
        finally:
            view.unit.tables.close()

    def maps(self, collector: str) -> Maps:
        """Of the unit that the collector is part of."""
        return self._by_name.get(collector) or NoMaps()

    def begin_drain(self) -> None:
        """From now on every hash is read anew."""
        for unit in self._units:
            unit.begin_drain()

    def tables(self) -> list[MapFacts]:
        return [row for unit in self._units for row in unit.tables.facts()]

    def runs(self) -> dict[str, tuple[int, int, int]]:
        """By function: runs, how many of them were timed, and the nanoseconds of those."""
        return {name: (row[0], row[1], row[2]) for name, row in self._rows(RUNS)}

    def books(self) -> dict[str, tuple[int, ...]]:
        """By channel: what was seen, then what was lost, by reason."""
        return dict(self._rows(BOOKS))

    def delivered(self) -> dict[str, int]:
        """By channel: what the collectors say that they counted."""
        return _added(self._past_delivered, [unit.delivered for unit in self._units])

    def failed(self) -> dict[str, int]:
        """By channel: what was in rows on which a collector failed, up to the drain before."""
        return _added(self._past_failed, [unit.failed for unit in self._units])

    def left_out(self) -> dict[str, int]:
        """By function on a tracepoint: runs that the kernel has left out."""
        return _added(self._past_left_out, [unit.tables.left_out() for unit in self._units])

    def close(self) -> None:
        """Detach everything. Nothing can be read afterwards."""
        for unit in self._units:
            unit.tables.close()
        self._units.clear()
        self._by_name.clear()

    def _rows(self, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        for unit in self._units:
            for name, row in _rows_of(unit.tables, (prefix,)):
                yield name.removeprefix(prefix), _sum(self._past.get(name), row)


def _rows_of(tables: Tables, prefixes: tuple[str, ...] = (BOOKS, RUNS)) -> Iterator[tuple[str, tuple[int, ...]]]:
    for name in tables.names():
        if name.startswith(prefixes):
            yield name, tables.totals(name)


def _added(past: Mapping[str, int], counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = Counter(past)
    for each in counts:
        total.update(each)
    return dict(total)


def _sum(past: tuple[int, ...] | None, row: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(add, past, row)) if past else row
