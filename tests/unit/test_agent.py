"""One drain after another: what is counted, in which order, and what a failure costs (its own count, nobody else's)."""

import logging
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector

from agent.agent import Agent, walks
from agent.collectors.cgroups import Cgroups
from agent.collectors.drops import Drops
from agent.collectors.http_log import HttpLog, Mode
from agent.collectors.sockets import Sockets
from agent.events.ledgers import Account
from agent.events.routing import Standing
from agent.kernel.door import KernelSettings
from agent.kernel.fake import CAPACITY, FakeDoor, FakeTables
from agent.kernel.isolation import Outcome
from agent.kernel.loaded import Loaded
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from agent.requests.steering import LogOrders
from bpfleet import catalogue
from bpfleet.api import CgroupChange, Channel, Collector, Event, Maps, Process, Row, Sample

KEY = struct.pack("=Q", 23)
NO_SPACE = OSError(28, "No space left on device")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Journal:
    """Identity, tree, totals and events in one: writes down what it is told, in order. broken: by method, what it
    raises."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.counted: dict[int, float] = {}
        self.declared: list[str] = []
        self.broken: dict[str, Exception] = {}
        self.tree = self.namespaces = self
        self.walk: Callable[[], Iterable[Process]] | None = None

    def made(self, cgroup_id: int, path: str) -> None:
        self._tell("made", cgroup_id, path)

    def removed(self, cgroup_id: int) -> None:
        self._tell("removed", cgroup_id)

    def follow(self, walk: Callable[[], Iterable[Process]] | None) -> None:
        self.walk = walk

    def refresh(self) -> None:
        self._tell("refresh")

    def add(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self._tell("add", sample.cgroup_id)
            assert isinstance(sample.value, int)
            self.counted[sample.cgroup_id] = self.counted.get(sample.cgroup_id, 0) + sample.value

    def tick(self) -> None:
        self._tell("tick")

    def declare(self, names: Iterable[str]) -> None:
        self.declared += names

    def begin(self) -> None:
        self._tell("begin")

    def take(self, collector: str, events: Iterable[Event]) -> None:
        for event in events:
            self._tell("take", collector, event.cgroup_id)

    def standing(self) -> Standing:
        accounts = {"events": Account(23, 19, {"rate_limit": 4})}
        return Standing({("sent", "passed"): 19}, {("file", "sent", "delivered"): 17}, {"file": 2}, accounts)

    def _tell(self, what: str, *details: object) -> None:
        self.told.append((what, *details))
        if what in self.broken:
            raise self.broken[what]


class Stop(threading.Event):
    """Set after so many waits; every wait is over at once. before: called in each, as the world would go on."""

    def __init__(self, waits: int, before: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._waits, self._before = waits, before
        self.asked: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked.append(timeout)
        self._before()
        return len(self.asked) > self._waits


class Bench:
    """Collectors on a fake door: `rows` of each is a hash of one u64, counted as opened connections of cgroup 23.
    last: collectors after these, with their tables. refused: as FakeDoor has it. channels: of each.

    broken: by collector, what it raises. strange: cgroups whose rows and events no collector can read. events: by
    collector, the cgroups whose events wait."""

    def __init__(
        self,
        tmp_path: Path,
        *names: str,
        last: Mapping[Collector, FakeTables] | None = None,
        refused: Mapping[str, str] | None = None,
        channels: tuple[Channel, ...] = (),
        intervals: Mapping[str, float] | None = None,
        most: int = 1_000_000,
    ) -> None:
        self.journal, self.clock = Journal(), Clock()
        self.tables = {name: FakeTables(hashes={"rows": {}}) for name in names}
        self.broken: dict[str, Exception] = {}
        self.strange: set[int] = set()
        self.events: dict[str, list[int]] = {}
        self.reports: list[Report] = []
        collectors = self.collectors = [self._collector(tmp_path, name, channels) for name in names]
        for collector, tables in (last or {}).items():
            collectors.append(collector)
            self.tables[collector.name] = tables
        self.loaded = FakeDoor(self.tables, refused).load(collectors, KernelSettings())
        doors = (self.journal, self.journal, self.journal)
        self.told: list[Sample] = []
        self.agent = Agent(
            *(self.loaded, collectors, *doors, self.reports.append, self.clock, intervals, most),
            told=lambda: self.told,
        )

    def named(self, name: str) -> Collector:
        return next(each for each in self.collectors if each.name == name)

    def _collector(self, tmp_path: Path, name: str, channels: tuple[Channel, ...]) -> Collector:
        made = made_collector(tmp_path, name, metrics=(catalogue.CONNECTIONS_OPENED,))
        type(made).channels = channels

        def collect(maps: Maps) -> Iterator[Sample]:
            if name in self.broken:
                raise self.broken[name]
            for key, (count,) in maps.growth("rows"):
                (cgroup_id,) = struct.unpack("=Q", key)
                if cgroup_id in self.strange:
                    raise ValueError(f"a strange row of {cgroup_id}")
                yield Sample(catalogue.CONNECTIONS_OPENED, count, cgroup_id)

        def events(maps: Maps) -> Iterator[Event]:
            for cgroup_id in self.events.pop(name, ()):
                if cgroup_id in self.strange:
                    raise ValueError(f"a strange event of {cgroup_id}")
                yield Event("sent", 0, cgroup_id, {})

        made.collect, made.events = collect, events  # type: ignore[method-assign]
        return made

    def grow(self, name: str, count: int) -> None:
        """The kernel counts."""
        rows = self.tables[name].hashes["rows"]
        rows[KEY] = (rows.get(KEY, (0,))[0] + count,)

    def drained(self) -> Report:
        self.agent.drain()
        return self.reports[-1]


@pytest.mark.parametrize(("hooks", "processes"), [(("iter/task",), [Process(7, 23, 4711)]), (("fake",), None)])
def test_identity_walks_over_the_processes_where_drops_can(
    tmp_path: Path, hooks: tuple[str, ...], processes: list[Process] | None
) -> None:
    tables = FakeTables(walks={"on_process": struct.pack("=3Q", 7, 23, 4711)})
    bench = Bench(tmp_path, last={Drops(): tables})
    bench.loaded.outcomes["drops"] = Outcome(True, hooks)
    Agent(bench.loaded, [Drops()], bench.journal, bench.journal, bench.journal, bench.reports.append, bench.clock)
    assert (bench.journal.walk and list(bench.journal.walk())) == processes


def test_without_drops_identity_is_told_that_nobody_walks(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    bench.journal.walk = lambda: [Process(7, 23, 4711)]
    Agent(bench.loaded, [], bench.journal, bench.journal, bench.journal, bench.reports.append, bench.clock)
    assert bench.journal.walk is None


def test_the_kernel_is_told_at_each_drain_which_requests_to_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tables = FakeTables(rings={"http_log": []})
    bench = Bench(tmp_path, last={HttpLog(): tables})
    asked = {23: Mode("all")}
    doors = (bench.journal, bench.journal, bench.journal)
    steering = LogOrders(lambda: (Mode("off"), asked))
    agent = Agent(*(bench.loaded, [HttpLog()], *doors, bench.reports.append, bench.clock), steering=[steering])
    agent.drain()
    others, own = struct.pack("=Q", 0), struct.pack("=Q", 23)
    assert tables.written == {"http_log_modes": {others: Mode("off").row, own: Mode("all").row}}
    asked.clear()
    agent.drain()
    assert tables.written == {"http_log_modes": {others: Mode("off").row}}
    assert caplog.text == ""
    asked.update(dict.fromkeys(range(1, CAPACITY + 23), Mode("errors")))
    agent.drain()
    assert "requests of 23 cgroups are logged as those of all others: limits.cgroups is used up" in caplog.text


def record(cgroup_id: int, removed: bool, path: bytes) -> bytes:
    return struct.pack("=QIi512s", cgroup_id, removed, len(path) + 1, path)


def test_a_collector_with_an_interval_of_its_own_is_asked_when_that_is_over(tmp_path: Path) -> None:
    """Late drains do not shift the schedule; after a long pause it begins anew instead of catching up."""
    bench = Bench(tmp_path, "slow", "steady", intervals={"slow": 15.0})
    asked = []
    for now in (0.0, 5.0, 10.0, 16.0, 20.0, 29.9, 30.0, 31.0, 100.0, 105.0, 110.0, 115.0):
        bench.clock.now = now
        before = bench.journal.counted.get(23, 0)
        bench.grow("slow", 1000)
        bench.grow("steady", 1)
        bench.drained()
        if bench.journal.counted[23] - before > 1:
            asked.append(now)
    assert asked == [0.0, 16.0, 30.0, 100.0, 115.0]
    assert bench.journal.counted == {23: 12 * 1000 + 12}


def test_what_the_kernel_counted_since_the_last_drain_is_added_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    for count in (7, 0, 16):
        bench.grow("steady", count)
        bench.drained()
    assert bench.journal.counted == {23: 23}


def test_a_collector_that_fails_is_off_with_its_reason_and_the_others_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before", "broken", "after")
    bench.broken["broken"] = NO_SPACE
    for name in ("before", "after"):
        bench.grow(name, 23)
    assert bench.drained().collectors == {
        "before": CollectorState(True, ("fake",), ""),
        "broken": CollectorState(False, ("fake",), "OSError: [Errno 28] No space left on device"),
        "after": CollectorState(True, ("fake",), ""),
    }
    assert bench.journal.counted == {23: 46}
    assert bench.journal.told[-2:] == [("tick",), ("begin",)]


def test_a_collector_that_works_again_is_on_again_and_has_lost_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "shaky")
    bench.broken["shaky"] = NO_SPACE
    bench.grow("shaky", 19)
    assert not bench.drained().collectors["shaky"].up
    bench.broken.clear()
    bench.grow("shaky", 4)
    assert bench.drained().collectors["shaky"] == CollectorState(True, ("fake",), "")
    assert bench.journal.counted == {23: 23}


def test_a_collector_that_fails_on_one_row_counts_the_rows_after_it_at_the_next_drain(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "picky", "steady")
    keys = [struct.pack("=Q", number) for number in (23, 29, 31)]
    bench.tables["picky"].hashes["rows"] = {keys[0]: (7,), keys[1]: (10,), keys[2]: (11,)}
    bench.strange.add(29)
    bench.grow("steady", 16)
    assert not bench.drained().collectors["picky"].up
    assert bench.journal.counted == {23: 23}
    assert bench.drained().collectors["picky"].up
    assert bench.journal.counted == {23: 23, 31: 11}


def test_a_collector_that_did_not_load_is_not_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady", "absent", refused={"absent": "no hook"})
    bench.grow("steady", 23)
    assert bench.drained().collectors["absent"] == CollectorState(False, (), "no hook")
    assert bench.journal.counted == {23: 23}


def test_a_failure_that_repeats_is_logged_with_growing_silence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(tmp_path, "broken", "other")
    bench.broken["broken"] = NO_SPACE
    logged = []
    for now in range(0, 1000, 5):
        bench.clock.now = now
        if now == 300:
            bench.broken["other"] = NO_SPACE
        caplog.clear()
        bench.drained()
        logged += [(now, message.getMessage()) for message in caplog.records]
    assert logged == [
        (0, "broken failed, the rest goes on"),
        (60, "broken failed, the rest goes on"),
        (180, "broken failed, the rest goes on"),
        (300, "other failed, the rest goes on"),
        (360, "other failed, the rest goes on"),
        (420, "broken failed, the rest goes on"),
        (480, "other failed, the rest goes on"),
        (720, "other failed, the rest goes on"),
        (900, "broken failed, the rest goes on"),
    ]


def test_the_log_has_the_cause(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(tmp_path, "broken")
    bench.broken["broken"] = NO_SPACE
    bench.drained()
    (message,) = caplog.records
    assert message.levelno == logging.ERROR
    assert message.exc_info and message.exc_info[1] is NO_SPACE


def test_it_drains_on_the_beat_and_once_more_at_the_end(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    beats: list[tuple[float, float]] = []
    stop = Stop(2, before=lambda: bench.grow("steady", 7))
    paces = iter((5.0, 5.0, 30.0))
    bench.agent.run(stop, lambda: next(paces), lambda wait: beats.append((wait, bench.journal.counted.get(23, 0))))
    assert stop.asked == [5.0, 5.0, 30.0]
    assert beats == [(5.0, 0), (5.0, 7), (30.0, 14)]
    assert bench.journal.counted == {23: 21}  # what came in during the last wait, too


def test_a_failure_does_not_end_the_loop(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "broken", "steady")
    bench.broken["broken"] = NO_SPACE
    bench.journal.broken["refresh"] = ValueError("a strange pod")
    bench.agent.run(Stop(3, before=lambda: bench.grow("steady", 7)), lambda: 5.0, lambda _: None)
    assert bench.journal.counted == {23: 28}


def test_names_of_cgroups_arrive_before_anything_is_counted(tmp_path: Path) -> None:
    """Also where the collector that tells them is not the first."""
    ring = FakeTables(rings={"cgroup_events": [record(23, False, b"/pod/a"), record(23, True, b"/pod/a")]})
    bench = Bench(tmp_path, "steady", last={Cgroups(): ring})
    bench.grow("steady", 1)
    bench.drained()
    assert bench.journal.told == [
        ("made", 23, "/pod/a"),
        ("removed", 23),
        ("refresh",),
        ("add", 23),
        ("tick",),
        ("begin",),
    ]


def test_a_cgroup_whose_path_was_cut_is_left_for_the_tree_to_find(tmp_path: Path) -> None:
    ring = FakeTables(rings={"cgroup_events": [record(23, False, b"/" + b"a" * 511), record(29, False, b"/pod")]})
    bench = Bench(tmp_path, last={Cgroups(): ring})
    bench.drained()
    assert bench.journal.told == [("made", 29, "/pod"), ("refresh",), ("tick",), ("begin",)]


@pytest.mark.parametrize(("what", "method"), [("identity", "refresh"), ("totals", "tick"), ("events", "begin")])
def test_a_failure_of_identity_or_totals_is_seen_and_costs_no_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str, method: str
) -> None:
    bench = Bench(tmp_path, "steady")
    bench.journal.broken[method] = NO_SPACE
    for _ in range(3):
        bench.grow("steady", 23)
        report = bench.drained()
    assert bench.journal.counted == {23: 69}
    assert report.collectors == {"steady": CollectorState(True, ("fake",), "")}
    assert {step: count for step, count in report.failures.items() if count} == {what: 3}
    assert [message.getMessage() for message in caplog.records] == [f"{what} failed, the rest goes on"]


def test_every_step_has_its_failures_on_the_report_from_the_first_drain_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady", "broken", "absent", refused={"absent": "no hook"})
    bench.broken["broken"] = NO_SPACE
    bench.drained()
    bench.broken.clear()
    assert bench.drained().failures == {
        "steady": 0,
        "broken": 1,
        "absent": 0,
        "identity": 0,
        "orders": 0,
        "totals": 0,
        "events": 0,
        "report": 0,
    }


def test_a_report_that_fails_costs_no_count_and_the_next_one_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A row of the books is shorter than its channel: the kernel's half and the Python half disagree."""
    bench = Bench(tmp_path, "steady", channels=(Channel("steady", lost=("map_full",)),))
    bench.tables["steady"].rows["books_steady"] = (23,)
    bench.grow("steady", 23)
    bench.agent.drain()
    assert bench.reports == []
    assert [message.getMessage() for message in caplog.records] == ["report failed, the rest goes on"]
    assert bench.journal.counted == {23: 23}
    bench.tables["steady"].rows["books_steady"] = (23, 0)
    assert bench.drained().failures["report"] == 1


def test_what_programs_have_seen_is_what_they_ran_for(tmp_path: Path) -> None:
    channel = Channel("steady", lost=("map_full",), seen_by=("on_ingress", "on_egress"))
    bench = Bench(tmp_path, "steady", channels=(channel,))
    runs = {"runs_on_ingress": (20, 1, 700), "runs_on_egress": (5, 1, 900), "runs_other": (7, 0, 0)}
    bench.tables["steady"].rows |= {"books_steady": (3,), **runs}
    bench.loaded.maps("steady").deliver("steady", 22)
    bench.grow("steady", 23)
    assert bench.drained().books["steady"] == Books(25, 22, {"map_full": 3, "failed": 0})


def test_runs_that_the_kernel_leaves_out_are_seen_and_lost(tmp_path: Path) -> None:
    channel = Channel("steady", lost=("ring_full",), runs=("on_change", "on_other_change"))
    bench = Bench(tmp_path, "steady", channels=(channel,))
    bench.tables["steady"].rows["books_steady"] = (23, 3)
    bench.tables["steady"].missed = {"on_change": 5, "on_other_change": 2, "on_something": 1}
    bench.loaded.maps("steady").deliver("steady", 20)
    assert bench.drained().books["steady"] == Books(30, 20, {"ring_full": 3, "failed": 0, "left_out": 7})


def test_books_maps_and_programs_are_reported_as_the_kernel_has_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady", channels=(Channel("steady", lost=("map_full", "unparsed")),))
    bench.tables["steady"].rows |= {"books_steady": (23, 3, 1), "books_nobodys": (7,), "runs_on_steady": (2048, 2, 700)}
    bench.loaded.maps("steady").deliver("steady", 19)
    bench.grow("steady", 23)
    report = bench.drained()
    assert report.books["steady"] == Books(23, 19, {"map_full": 3, "unparsed": 1, "failed": 0})
    assert report.programs == {"on_steady": Runs(2048, 2, 700)}
    assert report.tables["rows"] == Table(1, 1024, 65536)


def test_a_collector_that_joins_counts_from_the_next_drain_on_and_the_others_miss_nothing(tmp_path: Path) -> None:
    bench, late = Bench(tmp_path, "steady"), Bench(tmp_path, "late")
    bench.grow("steady", 7)
    bench.drained()
    late.grow("late", 100)
    bench.grow("steady", 16)
    bench.agent.join(late.loaded, late.collectors)
    bench.tables |= late.tables
    report = bench.drained()
    assert bench.journal.counted == {23: 123}
    assert report.collectors["late"] == CollectorState(True, ("fake",), "")
    bench.grow("late", 10)
    bench.drained()
    assert bench.journal.counted == {23: 133}


def test_a_collector_that_leaves_is_read_for_the_last_time_when_its_programs_run_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady", "leaving")
    attached: list[bool] = []
    tables, growth = bench.tables["leaving"], bench.tables["leaving"].growth

    def looked(name: str) -> list[Row]:
        attached.append(tables.attached)
        return growth(name)

    tables.growth = looked  # type: ignore[method-assign]
    bench.grow("leaving", 7)
    bench.drained()
    bench.grow("leaving", 16)
    bench.grow("steady", 100)
    bench.agent.leave(bench.named("leaving"))
    assert bench.journal.counted == {23: 123}
    assert attached == [True, False] and tables.closed
    bench.grow("steady", 10)
    assert list(bench.drained().collectors) == ["steady"]
    assert bench.journal.counted == {23: 133}
    assert attached == [True, False]


def test_a_collector_that_fails_at_its_last_drain_leaves_all_the_same(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady", "broken")
    bench.broken["broken"] = NO_SPACE
    bench.agent.leave(bench.named("broken"))
    assert bench.tables["broken"].closed
    assert list(bench.drained().collectors) == ["steady"]


def test_nothing_is_drained_while_something_changes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    bench.grow("steady", 23)
    drain = threading.Thread(target=bench.agent.drain)
    with bench.agent.changing():
        drain.start()
        drain.join(0.2)
        assert drain.is_alive() and bench.journal.counted == {}
    drain.join(10)
    assert bench.journal.counted == {23: 23}


def test_what_is_loaded_when_the_agent_has_ended_is_closed(tmp_path: Path) -> None:
    bench, late = Bench(tmp_path, "steady"), Bench(tmp_path, "late")
    bench.agent.close()
    assert bench.tables["steady"].closed
    bench.agent.join(late.loaded, late.collectors)
    assert late.tables["late"].closed
    bench.agent.leave(bench.named("steady"))


def test_the_metrics_are_those_of_the_collectors_that_run(tmp_path: Path) -> None:
    made = made_collector(tmp_path, "one", metrics=(catalogue.FLOW_BYTES,))
    bench = Bench(tmp_path, last={made: FakeTables()})
    assert bench.agent.metrics() == [catalogue.FLOW_BYTES]
    bench.agent.leave(bench.named("one"))
    assert bench.agent.metrics() == []


def test_a_collector_with_a_new_pace_is_asked_at_the_next_drain_and_then_at_its_pace(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "walker", "steady")
    bench.agent.pace({"walker": 60.0})
    asked: list[float] = []
    for now in range(0, 60, 5):
        bench.clock.now = now
        if now == 20:
            bench.agent.pace({"walker": 15.0})
        if now == 30:
            bench.agent.pace({"walker": 15.0, "other": 1.0})
        before = bench.journal.counted.get(23, 0)
        bench.grow("walker", 1)
        bench.drained()
        if bench.journal.counted.get(23, 0) > before:
            asked.append(now)
    assert asked == [0, 20, 35, 50]


def test_events_are_taken_after_what_is_counted_and_each_collector_fails_for_itself(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "before", "broken", "after")
    bench.events |= {"before": [23], "broken": [29, 31, 37], "after": [41]}
    bench.strange.add(31)
    bench.grow("after", 7)
    report = bench.drained()
    told = [("begin",), ("take", "before", 23), ("take", "broken", 29), ("take", "after", 41)]
    assert bench.journal.told == [("refresh",), ("add", 23), ("tick",), *told]
    assert [name for name, state in report.collectors.items() if not state.up] == ["broken"]
    assert report.collectors["broken"].reason == "ValueError: a strange event of 31"


def test_what_became_of_events_is_reported(tmp_path: Path) -> None:
    report = Bench(tmp_path, "steady").drained()
    assert report.events == {("sent", "passed"): 19}
    assert report.sinks == {("file", "sent", "delivered"): 17}
    assert report.waiting == {"file": 2}
    assert report.books["events"] == Books(23, 19, {"rate_limit": 4})


def test_one_that_joins_declares_its_events_and_one_that_walks_processes_is_followed_while_it_is_there(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, "steady")
    drops, told = Drops(), made_collector(tmp_path, "told", base=None)
    type(told).event_names = ("state",)
    loaded = Loaded(
        {"drops": Outcome(True, ("iter/task",)), "told": Outcome(True, ("fake",))},
        [(("drops",), FakeTables(walks={"on_process": bytes(24)})), (("told",), FakeTables())],
    )
    bench.agent.join(loaded, [drops, told])
    assert bench.journal.declared == ["state"]
    assert bench.journal.walk is not None and list(bench.journal.walk()) == [Process(0, 0, 0)]
    bench.agent.leave(drops)
    assert bench.journal.walk is None


def test_one_that_yields_without_end_is_off_for_good_and_its_programs_are_gone(tmp_path: Path) -> None:
    endless = made_collector(tmp_path, "endless", base=None, metrics=(catalogue.CONNECTIONS_OPENED,))
    asked: list[int] = []

    def collect(maps: Maps) -> Iterator[Sample]:
        asked.append(1)
        while True:
            yield Sample(catalogue.CONNECTIONS_OPENED, 0, 23)

    endless.collect = collect  # type: ignore[method-assign]
    bench = Bench(tmp_path, "steady", last={endless: FakeTables()}, most=1000)
    bench.grow("steady", 7)
    reports = [bench.drained() for _ in range(3)]
    for report in reports:
        assert report.collectors["endless"].reason.startswith(
            "Endless: endless.collect() yielded more than 1000 things"
        )
        assert not report.collectors["endless"].up and report.collectors["steady"].up
    assert len(asked) == 1 and not bench.tables["endless"].attached
    assert reports[-1].failures["endless"] == 1
    assert bench.journal.counted[23] == 7
    bench.agent.leave(endless)
    assert list(bench.drained().collectors) == ["steady"]


def test_a_plugin_gives_names_of_cgroups_and_processes_as_our_own_do(tmp_path: Path) -> None:
    plugin = made_collector(tmp_path, "plugin")
    plugin.cgroups = lambda maps: iter([CgroupChange(23, False, "/a"), CgroupChange(29, True, None)])  # type: ignore[method-assign]
    plugin.processes = lambda maps, hooks: lambda: iter([Process(1, 23, 4)])  # type: ignore[method-assign]
    bench = Bench(tmp_path, last={plugin: FakeTables()})
    bench.drained()
    assert bench.journal.told[:3] == [("made", 23, "/a"), ("removed", 29), ("refresh",)]
    assert bench.journal.walk is not None and list(bench.journal.walk()) == [Process(1, 23, 4)]


def test_one_that_cannot_say_whether_it_lists_processes_stands_in_nobodys_way(tmp_path: Path) -> None:
    plugin = made_collector(tmp_path, "plugin")
    plugin.processes = lambda maps, hooks: [][0]  # type: ignore[method-assign]
    tables = FakeTables(walks={"on_process": bytes(24)})
    bench = Bench(tmp_path, last={plugin: FakeTables()})
    loaded = Loaded({"drops": Outcome(True, ("iter/task",))}, [(("drops",), tables)])
    bench.agent.join(loaded, [Drops()])
    assert bench.journal.walk is not None and list(bench.journal.walk()) == [Process(0, 0, 0)]


def test_one_that_could_not_be_made_is_reported_until_nobody_asks_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    bench.agent.note({"odd": Outcome(False, reason="odd.py:3: no")})
    assert bench.drained().collectors["odd"] == CollectorState(False, (), "odd.py:3: no")
    bench.agent.forget("odd")
    assert list(bench.drained().collectors) == ["steady"]


def test_walks_are_what_runs_when_it_is_asked() -> None:
    assert walks(Drops()) == {"on_process"}
    assert walks(Sockets()) == {"on_socket"}
    assert walks(Cgroups()) == set()


def test_what_is_counted_of_events_is_added_after_they_were_taken(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "steady")
    bench.told = [Sample(catalogue.CONNECTIONS_OPENED, 23, 4711)]
    bench.events["steady"] = [7]
    bench.drained()
    assert bench.journal.told[-2:] == [("take", "steady", 7), ("add", 4711)]
    assert bench.journal.counted == {4711: 23}
