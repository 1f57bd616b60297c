"""The door without a kernel: maps whose contents a test writes, through the same interface.

tables = FakeTables(hashes={"flows": {key: (1, 60)}}, rows={"books_packets": (1, 0)})
loaded = FakeDoor({"traffic": tables}).load([Traffic()], KernelSettings())
tables.hashes["flows"][key] = (3, 180)      # what the kernel would have counted by the next drain
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from agent.kernel.door import KernelSettings
from agent.kernel.isolation import Outcome
from agent.kernel.loaded import Enumerations, Loaded
from agent.kernel.tables import MapFacts
from bpfleet.api import Collector, Row

CAPACITY = 1024
ROW_BYTES = 64


class FakeTables:
    """hashes: by name, key -> the row as the kernel has it now (cumulative). rows: per-CPU rows, summed already.
    rings: records that wait; reading takes them. walks: by function, what a walk writes. written: what was
    written into hashes, by name. missed: by function, runs that
    the kernel has left out. attached, closed: whether the programs run, and whether the agent let go of the maps."""

    def __init__(
        self,
        hashes: Mapping[str, dict[bytes, tuple[int, ...]]] | None = None,
        rows: Mapping[str, tuple[int, ...]] | None = None,
        rings: Mapping[str, list[bytes]] | None = None,
        walks: Mapping[str, bytes] | None = None,
    ) -> None:
        self.hashes = dict(hashes or {})
        self.rows = dict(rows or {})
        self.rings = dict(rings or {})
        self.walks = dict(walks or {})
        self.written: dict[str, dict[bytes, tuple[int, ...]]] = {}
        self.missed: dict[str, int] = {}
        self.attached, self.closed = True, False
        self._read: dict[str, dict[bytes, tuple[int, ...]]] = {}

    def names(self) -> Iterable[str]:
        return [*self.hashes, *self.rows, *self.rings]

    def growth(self, name: str) -> list[Row]:
        before, now = self._read.get(name, {}), dict(self.hashes[name])
        self._read[name] = now
        grown = []
        for key, row in now.items():
            added = tuple(new - old for new, old in zip(row, before.get(key, (0,) * len(row)), strict=True))
            if any(added):
                grown.append((key, added if min(added) >= 0 else row))
        return grown

    def totals(self, name: str) -> tuple[int, ...]:
        return self.rows[name]

    def records(self, name: str) -> Iterator[bytes]:
        waiting, self.rings[name] = self.rings[name], []
        return iter(waiting)

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        kept = dict(sorted(rows.items())[:CAPACITY])
        self.written[name] = kept
        return len(rows) - len(kept)

    def walk(self, function: str) -> bytes:
        return self.walks[function]

    def walk_parts(self, function: str) -> Iterator[bytes]:
        return iter((self.walks[function],))

    def left_out(self) -> dict[str, int]:
        return dict(self.missed)

    def facts(self) -> list[MapFacts]:
        return [MapFacts(name, len(self._read.get(name, ())), CAPACITY, CAPACITY * ROW_BYTES) for name in self.names()]

    def detach(self, walks: Collection[str] = ()) -> None:
        self.attached = False

    def close(self) -> None:
        self.attached, self.closed = False, True


class FakeDoor:
    """tables: by collector; the same object for collectors that share their maps. refused: collectors that do not
    load, with the reason. enumerations: of the kernel that there is not. loads: how often it was asked."""

    def __init__(
        self,
        tables: Mapping[str, FakeTables] | None = None,
        refused: Mapping[str, str] | None = None,
        enumerations: Enumerations | None = None,
    ) -> None:
        self.enumerations = enumerations
        self.tables = dict(tables or {})
        self.refused = dict(refused or {})
        self.settings: KernelSettings | None = None
        self.loads = 0

    def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded:
        self.settings = settings
        self.loads += 1
        outcomes: dict[str, Outcome] = {}
        units: dict[int, tuple[list[str], FakeTables]] = {}
        for each in collectors:
            if each.name in self.refused:
                outcomes[each.name] = Outcome(False, reason=self.refused[each.name])
                continue
            outcomes[each.name] = Outcome(True, ("fake",))
            tables = self.tables.setdefault(each.name, FakeTables())
            units.setdefault(id(tables), ([], tables))[0].append(each.name)
        return Loaded(outcomes, list(units.values()), headers="none", enumerations=self.enumerations)
