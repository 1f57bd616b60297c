from tests.unit.events.fakes import event

from agent.events.pending import HELD_SECONDS, MAX_HELD, Pending


def test_events_of_a_cgroup_come_back_in_their_order() -> None:
    pending = Pending()
    events = [event(cgroup_id, time_ns) for time_ns, cgroup_id in enumerate((7, 9, 7, 7))]
    assert all(pending.hold(each, 100.0) for each in events)
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
    assert [pending.hold(event(number % 23), 0.0) for number in range(MAX_HELD + 7)].count(True) == MAX_HELD
