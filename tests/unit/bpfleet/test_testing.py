"""What authors of plugins test with: does it behave as the agent's own maps and door do?"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector

from bpfleet import catalogue, testing
from bpfleet.api import Collector, Event, Maps, Record, Sample, Sink
from bpfleet.errors import HostError, LoadError
from bpfleet.testing import Books, FakeMaps, Programs, events, loaded, samples, written

KEY = struct.pack("=Q", 23)
RESENT = catalogue.TCP_RETRANSMISSIONS


def counting(tmp_path: Path) -> Collector:
    """Counts the rows of one hash, and tells the records of one ring."""
    made = made_collector(tmp_path, "made", metrics=(RESENT,))
    type(made).event_names = ("bpfleet.made",)

    def collect(maps: Maps) -> Iterator[Sample]:
        for key, (count,) in maps.growth("rows"):
            maps.deliver("rows", count)
            yield Sample(RESENT, count, *struct.unpack("=Q", key))

    def tell(maps: Maps) -> Iterator[Event]:
        for record in maps.records("ring"):
            yield Event(record.decode(), 0, 23, {})

    made.collect, made.events = collect, tell  # type: ignore[method-assign]
    return made


def test_rows_and_records_are_there_once_and_more_can_come(tmp_path: Path) -> None:
    maps, made = FakeMaps(rows={"rows": [(KEY, (7,))]}, records={"ring": [b"bpfleet.made"]}), counting(tmp_path)
    assert samples(made, maps) == [Sample(RESENT, 7, 23)]
    assert samples(made, maps) == []
    maps.rows["rows"].append((KEY, (16,)))
    assert samples(made, maps) == [Sample(RESENT, 16, 23)]
    assert maps.delivered == {"rows": 23}
    assert events(made, maps) == [Event("bpfleet.made", 0, 23, {})]
    assert events(made, maps) == []


def test_fake_maps_do_all_that_maps_do() -> None:
    maps: Maps = FakeMaps()
    assert [name for name in vars(Maps) if not name.startswith("_") and not hasattr(maps, name)] == []


def test_what_a_collector_puts_into_a_hash_is_seen_by_its_test() -> None:
    maps = FakeMaps()
    assert maps.replace("rows", {KEY: (7,)}) == 0
    assert maps.replaced == {"rows": {KEY: (7,)}}


def test_a_map_that_the_test_has_not_given_is_missed(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="rows"):
        samples(counting(tmp_path), FakeMaps())


def test_totals_walks_and_enumerations_are_what_was_given() -> None:
    maps = FakeMaps(totals={"books": (3, 4)}, walks={"on_task": b"abc"}, enumerations={"reason": {1: "ONE"}})
    assert maps.totals("books") == (3, 4)
    assert (maps.walk("on_task"), list(maps.walk_parts("on_task"))) == (b"abc", [b"abc"])
    assert (maps.enumeration("reason"), maps.enumeration("other")) == ({1: "ONE"}, {})


def test_what_the_agent_would_refuse_is_refused(tmp_path: Path) -> None:
    made = counting(tmp_path)
    made.collect = lambda maps: iter([Sample(catalogue.TCP_RESETS, 1, 23, ("receive",))])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="bpfleet_tcp_resets_total is not among the metrics that made declares"):
        samples(made, FakeMaps())
    made.collect = lambda maps: iter([Sample(RESENT, 1, 23, ("receive",))])  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="labels"):
        samples(made, FakeMaps())
    with pytest.raises(ValueError, match="bpfleet.other is not among the event_names that made declares"):
        events(made, FakeMaps(records={"ring": [b"bpfleet.other"]}))


def test_records_go_through_a_sink_as_they_do_in_the_agent() -> None:
    class Kept(Sink):
        name = "kept"

        def encode(self, record: Record) -> bytes:
            return record.name.encode()

        def write(self, items: object) -> int:
            assert items == [b"a", b"b"]
            return 1

    assert written(Kept(), [Record("a", 0, {}, {}), Record("b", 0, {}, {})]) == 1


def test_books_balance_when_what_was_seen_is_delivered_or_lost() -> None:
    assert Books(23, 16, {"full": 7}).balanced
    assert not Books(23, 16, {"full": 6}).balanced


class Door:
    """A collector in a kernel that there is not: its cgroup hierarchy is a directory."""

    def __init__(self, root: Path) -> None:
        self.cgroup_root, self.closed, self.drains = root, 0, 0
        self.kernel = FakeMaps(rows={"rows": []})

    def __call__(self, collector: Collector) -> Programs:
        return self

    @property
    def maps(self) -> Maps:
        return self.kernel

    def begin(self) -> None:
        self.drains += 1

    def books(self) -> Mapping[str, Books]:
        return {"rows": Books(23, 23, {})}

    def close(self) -> None:
        self.closed += 1


def test_a_trial_sums_up_what_was_counted_in_its_own_cgroup(tmp_path: Path) -> None:
    door = Door(tmp_path)
    with loaded(counting(tmp_path), door) as trial:
        own = struct.pack("=Q", trial.cgroup_id)
        door.kernel.rows["rows"] += [(own, (7,)), (KEY, (1000,))]
        assert trial.total(RESENT) == 7
        door.kernel.rows["rows"] += [(own, (16,))]
        assert trial.total(RESENT) == 23
        assert trial.books()["rows"].balanced
        assert trial.cgroup.is_dir()
    assert (door.closed, door.drains, trial.cgroup.exists()) == (1, 2, False)


def test_a_trial_cleans_up_after_a_test_that_fails(tmp_path: Path) -> None:
    door = Door(tmp_path)
    with pytest.raises(ZeroDivisionError), loaded(counting(tmp_path), door) as trial:
        raise ZeroDivisionError
    assert door.closed == 1 and not trial.cgroup.exists()


def test_a_command_runs_inside_the_cgroup(tmp_path: Path) -> None:
    with loaded(counting(tmp_path), Door(tmp_path)) as trial:
        assert trial.run(["echo", "done"]).stdout == "done\n"
        entered = trial.cgroup / "cgroup.procs"
        told = int(trial.run(["sh", "-c", "echo $$"]).stdout)
        assert int(entered.read_text()) == told, "the shell has written its number there before it became the command"
        entered.unlink()


def test_what_cannot_run_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    def refuse(collector: Collector) -> Programs:
        raise LoadError("made.bpf.c:7: no")

    with pytest.raises(LoadError, match="made.bpf.c:7: no"), loaded(counting(tmp_path), refuse):
        raise AssertionError("it never runs")
    with pytest.raises(HostError, match="cannot be made"), loaded(counting(tmp_path), Door(tmp_path / "nowhere")):
        raise AssertionError("it never runs")


def test_all_that_is_public_is_there_and_explained() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
