from tests.unit.events.fakes import event

from agent.events.pending import HELD_SECONDS, MAX_HELD, Pending


def test_events_of_a_cgroup_come_back_in_their_order() -> None:
    pending = Pending()
    events = [event(cgroup_id, time_ns) for time_ns, cgroup_id in enumerate((7, 9, 7, 7))]
    assert not any(pending.hold(each, 100.0) for each in events)
    assert pending.size == 4
    assert pending.release(7) == [events[0], events[2], events[3]]
    assert pending.release(9) == [events[1]]
    assert (pending.size, pending.waiting(200.0)) == (0, [])


def test_the_wait_counts_from_the_first_of_them() -> None:
    pending = Pending()
    pending.hold(event(7), 100.0)
    pending.hold(event(7), 100.0 + HELD_SECONDS - 1)
    assert pending.waiting(100.0 + HELD_SECONDS - 1) == [(7, False)]
    assert pending.waiting(100.0 + HELD_SECONDS) == [(7, True)]


def test_there_is_room_for_so_many() -> None:
    pending = Pending()
    events = [event(number % 23, number) for number in range(MAX_HELD + 7)]
    left_over = [pending.hold(each, 0.0) for each in events]
    assert left_over.count(None) == pending.size == MAX_HELD and len(set(map(id, left_over))) == 1 + 7


def test_whoever_has_most_makes_room_for_who_has_less() -> None:
    pending = Pending()
    flood = [event(7, number) for number in range(MAX_HELD)]
    assert not any(pending.hold(each, 0.0) for each in flood)
    assert pending.hold(event(7, MAX_HELD), 0.0) == event(7, MAX_HELD)
    others = [event(100 + number % 64, number) for number in range(640)]
    assert [pending.hold(each, 0.0) for each in others] == flood[:-641:-1]
    assert pending.size == MAX_HELD
    assert [len(pending.release(100 + number)) for number in range(64)] == [10] * 64
    assert pending.release(7) == flood[:-640] and pending.size == 0
    assert not any(pending.hold(each, 0.0) for each in flood)


def test_two_floods_end_with_half_each() -> None:
    pending = Pending()
    for number in range(MAX_HELD):
        pending.hold(event(7, number), 0.0)
    for number in range(2 * MAX_HELD):
        pending.hold(event(8, number), 0.0)
    assert len(pending.release(7)) == len(pending.release(8)) == MAX_HELD // 2
