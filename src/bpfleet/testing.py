"""What the author of a plugin tests with: maps without a kernel, and a scratch cgroup with one.

maps = FakeMaps(rows={"fsyncs": [(struct.pack("=Q", 23), (7,))]})
assert samples(Fsyncs(), maps) == [Sample(FSYNCS, 7, cgroup_id=23)]
assert maps.delivered == {"fsyncs": 7}

@pytest.mark.skipif(obstacle(), reason=obstacle())
def test_each_call_is_counted():
    with loaded(Fsyncs()) as trial:
        trial.run(["python3", "-c", "import os; [os.fsync(1) for _ in range(23)]"])
        assert trial.total(FSYNCS) == 23
        assert trial.books()["fsyncs"].balanced
"""

import contextlib
import itertools
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple, Protocol

from bpfleet.api import Collector, Event, Maps, Metric, Record, Row, Sample, Sink, Written
from bpfleet.errors import HostError

__all__ = ["Books", "FakeMaps", "Programs", "Trial", "events", "loaded", "obstacle", "samples", "written"]

GROUP = "bpfleet.doors"
"""Of the entry point that loads programs; the agent brings it."""

RUN_SECONDS = 60.0
"""For a command in a scratch cgroup."""

REMOVE_SECONDS = 5.0
"""The kernel needs a moment after a cgroup's last process."""

CAP_BPF = 39
ENTER = 'echo $$ >"$0/cgroup.procs" && exec "$@"'
"""The shell moves itself before it becomes the command, so that nothing happens in another cgroup."""

_numbers = itertools.count(1)


class FakeMaps:
    """A collector's maps without a kernel (bpfleet.api.Maps).

    rows: by map, the key as bytes and what was added to each member of the value. totals: of one-row arrays, by name.
    records: that wait in ring buffers. walks: what the iterator of a function writes. enumerations: of the kernel.
    delivered: what the collector has said, by channel. replaced: what it has put into hashes. Rows and records are
    there once, as in the kernel; put more into `rows` and `rings` for the next call."""

    def __init__(
        self,
        rows: Mapping[str, Iterable[Row]] | None = None,
        totals: Mapping[str, tuple[int, ...]] | None = None,
        records: Mapping[str, Iterable[bytes]] | None = None,
        walks: Mapping[str, bytes] | None = None,
        enumerations: Mapping[str, Mapping[int, str]] | None = None,
    ) -> None:
        self.rows = {name: list(each) for name, each in (rows or {}).items()}
        self.rings = {name: list(each) for name, each in (records or {}).items()}
        self._totals, self._walks = dict(totals or {}), dict(walks or {})
        self._enumerations = dict(enumerations or {})
        self.delivered: Counter[str] = Counter()
        self.replaced: dict[str, dict[bytes, tuple[int, ...]]] = {}

    def growth(self, name: str) -> Iterator[Row]:
        """Raises KeyError for a map that the test has not given, as the agent would fail."""
        rows = self.rows[name]
        while rows:
            yield rows.pop(0)

    def totals(self, name: str) -> tuple[int, ...]:
        return self._totals[name]

    def deliver(self, channel: str, count: int) -> None:
        self.delivered[channel] += count

    def records(self, name: str) -> Iterator[bytes]:
        records = self.rings[name]
        while records:
            yield records.pop(0)

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        """There is room for all."""
        self.replaced[name] = dict(rows)
        return 0

    def walk(self, function: str) -> bytes:
        return self._walks[function]

    def walk_parts(self, function: str) -> Iterator[bytes]:
        yield self._walks[function]

    def enumeration(self, name: str) -> Mapping[int, str]:
        return self._enumerations.get(name, {})


def samples(collector: Collector, maps: Maps) -> list[Sample]:
    """What it counts in one drain. Raises ValueError for a sample that the agent would refuse."""
    found = list(collector.collect(maps))
    for sample in found:
        if sample.metric not in collector.metrics:
            raise ValueError(f"{sample.metric.family} is not among the metrics that {collector.name} declares")
        if len(sample.labels) != len(sample.metric.labels):
            raise ValueError(f"{sample.metric.family}: labels {sample.labels!r} instead of {sample.metric.labels!r}")
    return found


def events(collector: Collector, maps: Maps) -> list[Event]:
    """What it tells in one drain. Raises ValueError for an event of a name that it has not declared."""
    found = list(collector.events(maps))
    for event in found:
        if event.name not in collector.event_names:
            raise ValueError(f"{event.name} is not among the event_names that {collector.name} declares")
    return found


def written(sink: Sink, records: Sequence[Record]) -> int | Written:
    """Records through a sink, as the agent gives them to it: how many are through after one write(), or what else
    became of them."""
    return sink.write([sink.encode(record) for record in records])


class Books(NamedTuple):
    """Of a channel: what entered it, what was counted, what was lost by reason."""

    seen: int
    delivered: int
    lost: Mapping[str, int]

    @property
    def balanced(self) -> bool:
        return self.seen == self.delivered + sum(self.lost.values())


class Programs(Protocol):
    """A collector in the kernel. cgroup_root: where cgroup v2 is mounted."""

    @property
    def cgroup_root(self) -> Path: ...
    @property
    def maps(self) -> Maps: ...
    def begin(self) -> None:
        """From now on the maps are read anew."""

    def books(self) -> Mapping[str, Books]: ...
    def close(self) -> None: ...


class Trial:
    """A collector that runs, and a cgroup of its own to count in."""

    def __init__(self, collector: Collector, programs: Programs, cgroup: Path) -> None:
        self.collector, self.cgroup = collector, cgroup
        self.cgroup_id = cgroup.stat().st_ino
        self._programs = programs
        self._totals: Counter[tuple[Metric, tuple[str, ...]]] = Counter()

    @property
    def maps(self) -> Maps:
        """As the collector has them."""
        return self._programs.maps

    def run(self, argv: Sequence[str], check: bool = True) -> "subprocess.CompletedProcess[str]":
        """A command in the cgroup, to its end. Raises CalledProcessError, TimeoutExpired."""
        command = ["sh", "-c", ENTER, str(self.cgroup), *argv]
        return subprocess.run(command, check=check, text=True, capture_output=True, timeout=RUN_SECONDS)

    def samples(self) -> list[Sample]:
        """What the collector counted in this cgroup since the last call."""
        self._programs.begin()
        found = samples(self.collector, self._programs.maps)
        return [sample for sample in found if sample.cgroup_id == self.cgroup_id]

    def events(self) -> list[Event]:
        """What it told of this cgroup since the last call."""
        self._programs.begin()
        return [each for each in events(self.collector, self._programs.maps) if each.cgroup_id == self.cgroup_id]

    def total(self, metric: Metric, *labels: str) -> int | float:
        """Of a counter: all that was counted in this cgroup so far; with labels, in that series only."""
        for sample in self.samples():
            if isinstance(sample.value, int | float):
                self._totals[sample.metric, sample.labels] += sample.value  # type: ignore[assignment]
        wanted = (own for own in self._totals if own[0] is metric and (not labels or own[1] == labels))
        return sum(self._totals[own] for own in wanted)

    def books(self) -> Mapping[str, Books]:
        """Of the whole node, by channel; they balance while nothing else happens that the collector sees."""
        return self._programs.books()


@contextlib.contextmanager
def loaded(collector: Collector, load: Callable[[Collector], Programs] | None = None) -> Iterator[Trial]:
    """Load a collector's programs and make a cgroup; both are gone afterwards. Raises BpfleetError with the reason
    where it cannot run: what the compiler says with file and line, or the verifier. load: instead of the agent's."""
    programs = (load or _door())(collector)
    try:
        with _scratch(programs.cgroup_root) as cgroup:
            yield Trial(collector, programs, cgroup)
    finally:
        programs.close()


def obstacle() -> str:
    """Why loaded() cannot work for this process, for a test to skip itself; empty if it may."""
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    if not effective >> CAP_BPF & 1 or os.geteuid() != 0:
        return "needs root, and the capability BPF"
    return "" if entry_points(group=GROUP) else "needs the agent: pip install 'bpfleet[agent]'"


def _door() -> Callable[[Collector], Programs]:
    for point in entry_points(group=GROUP):
        load: Callable[[Collector], Programs] = point.load()
        return load
    raise HostError("no installed package loads programs: pip install 'bpfleet[agent]'")


@contextlib.contextmanager
def _scratch(root: Path) -> Iterator[Path]:
    path = root / f"bpfleet-trial-{os.getpid()}-{next(_numbers)}"
    try:
        path.mkdir()
    except OSError as error:
        raise HostError(f"{path} cannot be made: {error.strerror}") from error
    try:
        yield path
    finally:
        _end(path)
        _remove(path)


def _end(path: Path) -> None:
    """Every process in it; by a file that came with Linux 5.14."""
    try:
        descriptor = os.open(path / "cgroup.kill", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(descriptor, b"1")
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    end = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            return path.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
