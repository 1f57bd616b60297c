from agent.security.folding import MAX_KEYS, REPEATS, Folding
from bpfleet.events import Record


def record(number: int) -> Record:
    return Record("test", number, {}, {"n": number})


def test_a_key_is_open_for_its_time_and_leaves_with_the_last() -> None:
    folding = Folding(10.0)
    assert not folding.is_open("a")
    folding.begin("a", 100.0)
    assert folding.is_open("a") and not folding.is_open("b")
    assert [folding.fold("a", "test", lambda n=n: record(n)) for n in (1, 2, 3)] == [False, True, True]  # type: ignore[misc]
    assert folding.waiting == 1
    assert list(folding.due(109.9)) == []
    assert [each.make() for each in folding.due(110.0)] == [Record("test", 3, {}, {"n": 3, REPEATS: 3})]
    assert folding.waiting == 0 and not folding.is_open("a")


def test_what_did_not_repeat_leaves_nothing() -> None:
    folding = Folding(10.0)
    folding.begin("a", 100.0)
    assert list(folding.due(110.0)) == [] and not folding.is_open("a")


def test_at_the_end_all_leave_in_their_order() -> None:
    folding = Folding(10.0)
    for number in range(3):
        folding.begin(number, 100.0 + number)
        folding.fold(number, "test", lambda n=number: record(n))  # type: ignore[misc]
    assert [each.make().time_ns for each in folding.due(100.0, is_end=True)] == [0, 1, 2]
    assert folding.waiting == 0


def test_beyond_its_room_nothing_is_folded() -> None:
    folding = Folding(10.0)
    for number in range(MAX_KEYS + 23):
        folding.begin(number, 100.0)
    assert not folding.is_open(MAX_KEYS) and folding.is_open(MAX_KEYS - 1)


def test_whoever_has_most_makes_room_and_what_it_held_is_told_before_its_time() -> None:
    folding = Folding(10.0)
    for number in range(MAX_KEYS):
        folding.begin(number, 100.0, "flood")
    for _ in range(3):
        folding.fold(0, "test", lambda: record(23))
    folding.begin("beyond", 100.0, "flood")
    folding.begin("quiet", 100.0, "other")
    assert not folding.is_open("beyond") and folding.is_open("quiet")
    assert [folding.is_open(number) for number in (0, 1, MAX_KEYS - 1)] == [False, True, True]
    assert folding.waiting == 1
    assert [each.make() for each in folding.due(100.0)] == [Record("test", 23, {}, {"n": 23, REPEATS: 3})]
    assert folding.waiting == 0 and folding.is_open("quiet")
    assert list(folding.due(110.0)) == [] and not folding.is_open("quiet")
    assert (folding._open, folding._keys, folding._shares.greedier(None)) == ({}, {}, None)


def test_no_time_is_no_folding() -> None:
    folding = Folding(0.0)
    folding.begin("a", 100.0)
    assert not folding.is_open("a")


def test_a_shorter_time_holds_for_what_begins_then() -> None:
    folding = Folding(3600.0)
    folding.begin("a", 100.0)
    folding.seconds = 1.0
    folding.begin("b", 100.0)
    folding.fold("b", "test", lambda: record(23))
    assert [each.make().time_ns for each in folding.due(101.0)] == [23]
    assert folding.is_open("a") and not folding.is_open("b")
