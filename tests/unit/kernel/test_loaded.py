from collections.abc import Iterator
from errno import ENOMEM
from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector

from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.isolation import Outcome
from agent.kernel.loaded import MAX_KEPT_ROWS, Loaded
from agent.kernel.tables import MapFacts
from bpfleet.api import Maps, Row
from bpfleet.errors import KernelError

KEY = b"k" * 8


def test_a_hash_is_read_once_a_drain_for_all_collectors_that_share_it() -> None:
    tables = FakeTables(hashes={"flows": {KEY: (1, 60)}})
    loaded = Loaded({}, [(("traffic", "tcp"), tables)])
    for _ in range(2):
        loaded.begin_drain()
        tables.hashes["flows"][KEY] = tuple(value + 1 for value in tables.hashes["flows"][KEY])
        first = list(loaded.maps("traffic").growth("flows"))
        tables.hashes["flows"][KEY] = tuple(value + 1 for value in tables.hashes["flows"][KEY])
        assert list(loaded.maps("tcp").growth("flows")) == first
    assert first == [(KEY, (2, 2))], "what came after the first drain's look is in the second's"


class Failing(FakeTables):
    """A hash whose read fails as often as it is told to."""

    failures = 0
    reads = 0

    def growth(self, name: str) -> list[Row]:
        self.reads += 1
        if self.failures:
            self.failures -= 1
            raise OSError(ENOMEM, "")
        return super().growth(name)


def rows(count: int) -> dict[bytes, tuple[int, ...]]:
    return {number.to_bytes(8, "big"): (number,) for number in range(1, count + 1)}


def collect(maps: Maps, failing_at: int = 0) -> Iterator[int]:
    """As collectors do: it delivers, then yields. failing_at: the value at which it raises, having delivered it."""
    for _, (value,) in maps.growth("flows"):
        maps.deliver("packets", value)
        if value == failing_at:
            raise RuntimeError("a bug")
        yield value


def test_a_read_that_fails_fails_for_all_collectors_of_the_drain_and_the_next_has_the_rows() -> None:
    tables = Failing(hashes={"flows": rows(3)})
    loaded = Loaded({}, [(("traffic", "tcp"), tables)])
    tables.failures = 1
    loaded.begin_drain()
    raised = []
    for name in ("traffic", "tcp"):
        with pytest.raises(OSError) as caught:
            loaded.maps(name).growth("flows")
        raised.append(caught.value)
    assert raised[0] is raised[1]
    assert tables.reads == 1
    loaded.begin_drain()
    assert [sum(collect(loaded.maps(name))) for name in ("traffic", "tcp")] == [6, 6]


def test_rows_that_a_failing_collector_did_not_come_to_are_offered_again() -> None:
    tables = FakeTables(hashes={"flows": rows(23)})
    loaded = Loaded({}, [(("traffic", "tcp"), tables)])
    loaded.begin_drain()
    counted: list[int] = []
    with pytest.raises(RuntimeError):
        counted.extend(collect(loaded.maps("traffic"), failing_at=7))
    assert list(collect(loaded.maps("tcp"))) == list(range(1, 24)), "the failure is one collector's own"
    delivered = loaded.delivered()["packets"] - sum(range(1, 24))
    assert delivered == sum(range(1, 7)), "the row that it failed on is not delivered"

    loaded.begin_drain()
    tables.hashes["flows"][b"8" * 8] = (100,)
    again = list(collect(loaded.maps("traffic")))
    assert again == [*range(8, 24), 100]
    assert loaded.delivered()["packets"] - sum(range(1, 24)) == delivered + sum(again)
    assert loaded.failed() == {"packets": 7}
    loaded.begin_drain()
    assert list(collect(loaded.maps("traffic"))) == []


def test_rows_that_a_failing_collector_did_not_even_ask_for_are_offered_again() -> None:
    tables = FakeTables(hashes={"flows": rows(3)})
    loaded = Loaded({}, [(("traffic", "tcp"), tables)])
    for name in ("traffic", "tcp"):
        assert len(list(loaded.maps(name).growth("flows"))) == 3
    loaded.begin_drain()
    tables.hashes["flows"] = {key: (value + 10,) for key, (value,) in rows(3).items()}
    assert len(list(loaded.maps("traffic").growth("flows"))) == 3
    loaded.begin_drain()
    tables.hashes["flows"] = {key: (value + 11,) for key, (value,) in rows(3).items()}
    assert [added for _, added in loaded.maps("traffic").growth("flows")] == [(1,)] * 3
    assert sum(added[0] for _, added in loaded.maps("tcp").growth("flows")) == 33


def test_rows_come_once_a_drain_however_often_they_are_asked_for() -> None:
    loaded = Loaded({}, [(("traffic",), FakeTables(hashes={"flows": rows(3)}))])
    maps = loaded.maps("traffic")
    assert len(list(maps.growth("flows"))) == 3
    assert list(maps.growth("flows")) == []


def test_what_is_kept_for_a_collector_that_fails_each_time_is_bounded() -> None:
    tables = FakeTables(hashes={"flows": {}})
    loaded = Loaded({}, [(("traffic",), tables)])
    for drain in range(1, 4):
        loaded.begin_drain()
        tables.hashes["flows"] = {number.to_bytes(8, "big"): (drain,) for number in range(MAX_KEPT_ROWS + 23)}
        next(collect(loaded.maps("traffic")))
    loaded.begin_drain()
    tables.hashes["flows"] = {}
    kept = list(collect(loaded.maps("traffic")))
    assert len(kept) == MAX_KEPT_ROWS
    assert max(kept) == 3


def test_what_is_delivered_apart_from_rows_counts_at_once() -> None:
    loaded = Loaded({}, [(("traffic",), FakeTables(hashes={"flows": rows(3)}))])
    maps = loaded.maps("traffic")
    maps.deliver("packets", sum(value for _, (value,) in maps.growth("flows")))
    assert loaded.delivered() == {"packets": 6}


def test_units_do_not_see_each_others_maps() -> None:
    one, two = FakeTables(rows={"books_a": (1, 0)}), FakeTables(rows={"books_b": (2, 1)})
    loaded = Loaded({}, [(("a",), one), (("b",), two)])
    assert loaded.maps("a").totals("books_a") == (1, 0)
    with pytest.raises(KeyError):
        loaded.maps("a").totals("books_b")


def test_books_and_runs_are_found_by_their_names() -> None:
    rows = {"books_packets": (23, 1, 0), "runs_on_ingress": (2048, 2, 900), "other": (5,)}
    loaded = Loaded({}, [(("traffic",), FakeTables(rows=rows))])
    assert loaded.books() == {"packets": (23, 1, 0)}
    assert loaded.runs() == {"on_ingress": (2048, 2, 900)}


def test_what_collectors_deliver_adds_up() -> None:
    loaded = Loaded({}, [(("traffic", "tcp"), FakeTables())])
    loaded.maps("traffic").deliver("packets", 20)
    loaded.maps("tcp").deliver("packets", 3)
    assert loaded.delivered() == {"packets": 23}


def test_a_collector_that_is_off_has_nothing_to_tell() -> None:
    maps = Loaded({"tcp": Outcome(False, reason="no")}, []).maps("tcp")
    assert list(maps.growth("flows")) == list(maps.records("ring")) == []
    assert maps.totals("books_packets") == ()
    with pytest.raises(KernelError):
        maps.deliver("packets", 1)


def test_the_facts_of_all_maps_are_told_and_everything_is_closed() -> None:
    tables = [FakeTables(hashes={"flows": {KEY: (1,)}}), FakeTables(rings={"events": []})]
    loaded = Loaded({}, [(("a",), tables[0]), (("b",), tables[1])])
    list(loaded.maps("a").growth("flows"))
    assert loaded.tables() == [MapFacts("flows", 1, 1024, 65536), MapFacts("events", 0, 1024, 65536)]
    loaded.close()
    assert [each.closed for each in tables] == [True, True]
    assert loaded.tables() == []


def test_the_fake_door_loads_what_it_is_told_to(tmp_path: Path) -> None:
    shared = FakeTables(hashes={"flows": {KEY: (5,)}}, rings={"events": [b"one", b"two"]})
    door = FakeDoor({"a": shared, "b": shared}, refused={"c": "no hook"})
    collectors = [made_collector(tmp_path, name) for name in "abc"]
    loaded = door.load(collectors, KernelSettings(limits={"flows": 8}))
    assert loaded.outcomes == {
        "a": Outcome(True, ("fake",)),
        "b": Outcome(True, ("fake",)),
        "c": Outcome(False, reason="no hook"),
    }
    assert door.settings == KernelSettings(limits={"flows": 8})
    assert list(loaded.maps("b").growth("flows")) == [(KEY, (5,))]
    assert list(loaded.maps("a").records("events")) == [b"one", b"two"]
    assert list(loaded.maps("a").records("events")) == []


def up(*names: str) -> dict[str, Outcome]:
    return {name: Outcome(True, ("fake",)) for name in names}


def test_a_collector_that_joins_is_read_beside_the_others_and_takes_nothing_of_theirs() -> None:
    traffic, sockets = FakeTables(hashes={"flows": {KEY: (1,)}}), FakeTables(hashes={"windows": {KEY: (7,)}})
    loaded = Loaded(up("traffic", "tcp"), [(("traffic", "tcp"), traffic)])
    loaded.begin_drain()
    assert list(loaded.maps("traffic").growth("flows")) == [(KEY, (1,))]
    traffic.hashes["flows"][KEY] = (3,)
    other = Loaded(up("sockets"), [(("sockets",), sockets)])
    loaded.join(other)
    other.close()
    assert not sockets.closed, "it belongs to the first one now"
    assert list(loaded.maps("sockets").growth("windows")) == [(KEY, (7,))]
    assert list(loaded.maps("tcp").growth("flows")) == [(KEY, (1,))], "read before, for all that share it"
    loaded.begin_drain()
    assert list(loaded.maps("traffic").growth("flows")) == [(KEY, (2,))]
    assert list(loaded.outcomes) == ["traffic", "tcp", "sockets"]
    loaded.close()
    assert traffic.closed and sockets.closed


def test_one_that_could_not_load_joins_as_its_reason() -> None:
    loaded = Loaded(up("traffic"), [(("traffic",), FakeTables())])
    loaded.join(Loaded({"drops": Outcome(False, reason="no hook")}, []))
    assert loaded.outcomes["drops"].reason == "no hook"
    loaded.leave("drops")
    assert list(loaded.outcomes) == ["traffic"]


def test_a_collector_leaves_in_two_steps_and_what_it_counted_is_read_between_them() -> None:
    traffic, sockets = FakeTables(), FakeTables(hashes={"windows": {KEY: (7,)}})
    loaded = Loaded(up("traffic", "sockets"), [(("traffic",), traffic), (("sockets",), sockets)])
    loaded.detach("sockets")
    assert not sockets.attached and not sockets.closed
    loaded.begin_drain()
    assert list(loaded.maps("sockets").growth("windows")) == [(KEY, (7,))]
    loaded.leave("sockets")
    assert sockets.closed and traffic.attached
    assert list(loaded.outcomes) == ["traffic"]
    assert list(loaded.maps("sockets").growth("windows")) == []


def test_books_and_runs_go_on_when_a_collector_comes_back() -> None:
    def tables(seen: int, runs: int) -> FakeTables:
        return FakeTables(rows={"books_events": (seen, 1), "runs_on_event": (runs, 1, 700), "other": (5,)})

    def delivered(loaded: Loaded, count: int) -> None:
        loaded.maps("sockets").deliver("events", count)

    loaded = Loaded(up("sockets"), [(("sockets",), tables(23, 46))])
    delivered(loaded, 22)
    for _ in range(2):
        before = loaded.books(), loaded.runs(), loaded.delivered()
        loaded.leave("sockets")
        assert loaded.books() == {} and loaded.runs() == {}
        loaded.join(Loaded(up("sockets"), [(("sockets",), tables(0, 0))]))
        assert loaded.delivered() == before[2]
        assert loaded.books()["events"][0] == before[0]["events"][0]
        assert loaded.runs()["on_event"][0] == before[1]["on_event"][0]
    loaded.leave("sockets")
    loaded.join(Loaded(up("sockets"), [(("sockets",), tables(10, 10))]))
    delivered(loaded, 9)
    assert (loaded.books(), loaded.runs()) == ({"events": (33, 4)}, {"on_event": (56, 4, 2800)})
    assert loaded.delivered() == {"events": 31}


def test_what_a_collector_failed_on_is_booked_when_it_leaves() -> None:
    loaded = Loaded(up("a"), [(("a",), FakeTables(hashes={"rows": {KEY: (7,)}}))])
    with pytest.raises(ValueError, match="strange"):
        for _ in loaded.maps("a").growth("rows"):
            loaded.maps("a").deliver("events", 7)
            raise ValueError("a strange row")
    loaded.leave("a")
    loaded.join(Loaded(up("a"), [(("a",), FakeTables())]))
    assert loaded.failed() == {"events": 7}
    assert loaded.delivered() == {}


def test_maps_that_cannot_be_read_any_more_are_closed_all_the_same() -> None:
    tables = FakeTables(rows={"books_events": (1,)})

    def refuse(name: str) -> tuple[int, ...]:
        raise OSError(ENOMEM, "no memory")

    tables.totals = refuse  # type: ignore[method-assign]
    loaded = Loaded(up("a"), [(("a",), tables)])
    with pytest.raises(OSError, match="no memory"):
        loaded.leave("a")
    assert tables.closed and loaded.outcomes == {}


def test_an_enumeration_is_the_kernels_or_empty() -> None:
    loaded = Loaded({}, [(("drops",), FakeTables())], enumerations={"why": {7: "BECAUSE"}})
    assert loaded.maps("drops").enumeration("why") == {7: "BECAUSE"}
    assert loaded.maps("drops").enumeration("where") == {}
    assert loaded.maps("a collector that is off").enumeration("why") == {}
