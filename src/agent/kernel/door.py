"""The door to the kernel: collectors in, their maps out.

KernelDoor loads with the short-lived child and keeps only descriptors: maps to read and links that hold the programs
in place. Everything ends with them.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.kernel import facts, isolation, maps, programs
from agent.kernel.child import Child
from agent.kernel.isolation import Outcome
from agent.kernel.maps import Growth, KernelMap, MapInfo, Totals
from agent.kernel.rings import Ring
from bpfleet.api import Collector, Maps, Row
from bpfleet.errors import HeadersError, HostError, KernelError

__all__ = ["Door", "KernelDoor", "KernelSettings", "KernelTables", "Loaded", "MapFacts", "Outcome", "Tables"]

BOOKS = "books_"
RUNS = "runs_"


@dataclass(frozen=True)
class KernelSettings:
    """python: the distribution's, which has BCC. headers: auto, btf, or the path of a kernel's headers.
    cache: a directory for header trees, empty for none. cgroup_root: a directory of the v2 hierarchy; empty finds its
    mount. limits, bounds: as the settings have them; bounds in seconds."""

    python: str = "/usr/bin/python3"
    headers: str = "auto"
    cache: str = ""
    cgroup_root: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class MapFacts:
    """entries: at the last read; of a ring the bytes that are not read yet, and its capacity in bytes too.
    bytes: kernel memory that the map is charged with."""

    name: str
    entries: int
    capacity: int
    bytes: int


class Tables(Protocol):
    """The maps of one unit, read."""

    def names(self) -> Iterable[str]: ...
    def growth(self, name: str) -> list[Row]: ...
    def totals(self, name: str) -> tuple[int, ...]: ...
    def records(self, name: str) -> Iterator[bytes]: ...
    def facts(self) -> list[MapFacts]: ...
    def close(self) -> None: ...


class KernelTables:
    """By descriptors from the loader; they and the links are closed together."""

    def __init__(self, infos: Iterable[MapInfo], links: Iterable[int], cpus: int, clock: Callable[[], float]) -> None:
        self._infos = {info.name: info for info in infos}
        self._links = list(links)
        self._cpus = cpus
        self._clock = clock
        self._growths: dict[str, Growth] = {}
        self._totals: dict[str, Totals] = {}
        self._rings: dict[str, Ring] = {}

    def names(self) -> Iterable[str]:
        return self._infos

    def growth(self, name: str) -> list[Row]:
        if name not in self._growths:
            info = self._infos[name]
            if not info.is_hash or info.value_size % maps.WORD:
                raise KernelError(f"{name} is not a hash of rows of u64")
            self._growths[name] = Growth(KernelMap(info, self._cpus), info.value_size, self._clock)
        return self._growths[name].drain()

    def totals(self, name: str) -> tuple[int, ...]:
        if name not in self._totals:
            self._totals[name] = Totals(self._infos[name], self._cpus)
        return self._totals[name].read()

    def records(self, name: str) -> Iterator[bytes]:
        return self._ring(name).records()

    def _ring(self, name: str) -> Ring:
        if name not in self._rings:
            self._rings[name] = Ring(self._infos[name].fd, self._infos[name].max_entries)
        return self._rings[name]

    def facts(self) -> list[MapFacts]:
        return [
            MapFacts(info.name, self._entries(info), info.max_entries, _memlock(info.fd))
            for info in self._infos.values()
        ]

    def _entries(self, info: MapInfo) -> int:
        if info.name in self._growths:
            return self._growths[info.name].entries
        if info.type == maps.RING:
            return self._ring(info.name).unread
        return info.max_entries if info.type in (maps.ARRAY, maps.PERCPU_ARRAY) else 0

    def close(self) -> None:
        """Links first, so that no program writes into a ring that nobody reads."""
        for link in self._links:
            os.close(link)
        for ring in self._rings.values():
            ring.close()
        for info in self._infos.values():
            os.close(info.fd)
        self._links.clear()
        self._infos.clear()


def _memlock(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}") as stream:
        for line in stream:
            if line.startswith("memlock:"):
                return int(line.split()[1])
    return 0


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


class Door(Protocol):
    def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded: ...


class KernelDoor:
    """clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock

    def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded:
        """What cannot run is off with its reason in the outcomes. Raises HostError where nothing can run (no cgroup
        v2, no BCC), HeadersError without types to compile against, KernelError if the loader breaks."""
        machine = facts.gather()
        cgroup = settings.cgroup_root or machine.cgroup_root
        if not cgroup:
            raise HostError("cgroup v2 is not mounted; a hybrid hierarchy (a cgroup2 mount beside v1) is enough")
        outcomes: dict[str, Outcome] = {}
        units: list[tuple[Sequence[str], Tables]] = []
        loaded: Loaded | None = None
        with Child(settings.python) as child:
            headers = child.ask(
                "headers",
                mode=settings.headers,
                cache=settings.cache,
                sources=programs.sources(collectors),
                include=str(programs.include()),
            )
            if "error" in headers:
                raise HeadersError(headers["error"])
            isolated = isolation.Isolation(child, cgroup, settings.limits, settings.bounds, machine.capabilities)
            try:
                for unit in programs.units(collectors):
                    attached = isolated.attach(unit)
                    outcomes.update(attached.outcomes)
                    if attached.descriptors:
                        names = [each.name for each in unit.collectors if outcomes[each.name].up]
                        units.append((names, self._tables(attached)))
                ordered = {each.name: outcomes[each.name] for each in collectors}
                loaded = Loaded(ordered, units, headers["headers"], headers["assertions"])
            finally:
                if loaded is None:
                    for _, tables in units:
                        tables.close()
        return loaded

    def _tables(self, attached: isolation.Attached) -> KernelTables:
        descriptors = dict(attached.descriptors)
        infos = [MapInfo(**{**row, "fd": descriptors.pop(f"map:{row['name']}")}) for row in attached.maps]
        return KernelTables(infos, descriptors.values(), maps.possible_cpus(), self._clock)
