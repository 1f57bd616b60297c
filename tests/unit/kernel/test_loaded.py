from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector

from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.isolation import Outcome
from agent.kernel.loaded import Loaded
from agent.kernel.tables import MapFacts
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
