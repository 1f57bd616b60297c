"""Collectors that run: what became of each, and their maps."""

from collections.abc import Iterator, Mapping, Sequence

from agent.kernel.isolation import Outcome
from agent.kernel.tables import MapFacts, Tables
from bpfleet.api import Maps, Row
from bpfleet.errors import KernelError

BOOKS = "books_"
"""Begins the name of a per-CPU row with a channel's books: seen, then lost by reason."""

RUNS = "runs_"
"""Begins the name of a per-CPU row with a function's runs: all, timed, nanoseconds of the timed."""


class UnitMaps:
    """The maps of a unit as its collectors see them: each hash is read once a drain, for all of them."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.delivered: dict[str, int] = {}
        self._drained: dict[str, list[Row]] = {}

    def begin_drain(self) -> None:
        self._drained.clear()

    def growth(self, name: str) -> Iterator[Row]:
        if name not in self._drained:
            self._drained[name] = self.tables.growth(name)
        return iter(self._drained[name])

    def totals(self, name: str) -> tuple[int, ...]:
        return self.tables.totals(name)

    def records(self, name: str) -> Iterator[bytes]:
        return self.tables.records(name)

    def deliver(self, channel: str, count: int) -> None:
        self.delivered[channel] = self.delivered.get(channel, 0) + count


class NoMaps:
    """Of a collector that is off: nothing happens."""

    def growth(self, name: str) -> Iterator[Row]:
        return iter(())

    def totals(self, name: str) -> tuple[int, ...]:
        return ()

    def records(self, name: str) -> Iterator[bytes]:
        return iter(())

    def deliver(self, channel: str, count: int) -> None:
        raise KernelError(f"{count} delivered from {channel}, which is off")


class Loaded:
    """Collectors that run. outcomes: by collector, in the order in which they were given. headers: what was compiled
    against. assertions: how many statements about the kernel's layout the compiler has checked."""

    def __init__(
        self,
        outcomes: Mapping[str, Outcome],
        units: Sequence[tuple[Sequence[str], Tables]],
        headers: str = "",
        assertions: int = 0,
    ) -> None:
        """units: names of collectors, and the tables that they share."""
        self.outcomes = dict(outcomes)
        self.headers = headers
        self.assertions = assertions
        self._units = [UnitMaps(tables) for _, tables in units]
        self._by_name = {name: maps for (names, _), maps in zip(units, self._units, strict=True) for name in names}

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
        return {channel: count for unit in self._units for channel, count in unit.delivered.items()}

    def close(self) -> None:
        """Detach everything. Nothing can be read afterwards."""
        for unit in self._units:
            unit.tables.close()
        self._units.clear()
        self._by_name.clear()

    def _rows(self, prefix: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        for unit in self._units:
            for name in unit.tables.names():
                if name.startswith(prefix):
                    yield name.removeprefix(prefix), unit.tables.totals(name)
