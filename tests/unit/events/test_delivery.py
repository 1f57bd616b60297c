import errno
import logging

import pytest
from tests.unit.events.fakes import EVENT, Clock, ListSink, record, wait_until

from agent.events.delivery import ITEM_BYTES, MAX_QUEUED_BYTES, Delivery, reason
from bpfleet.api import Batch, Retry, Unavailable, Written

FULL = OSError(errno.ENOSPC, "No space left on device")


class Scene:
    def __init__(self) -> None:
        self.sink, self.clock = ListSink(), Clock()
        self.delivery = Delivery(self.sink, [EVENT], self.clock)

    def put(self, *data: str) -> None:
        self.delivery.put([record(each) for each in data])

    def outcomes(self) -> dict[str, int]:
        """And holds the books to their balance."""
        account, counts, waiting, _ = self.delivery.standing()
        assert account.seen == account.delivered + sum(account.lost.values()) + waiting
        assert sum(counts.values()) == account.seen - waiting
        return {outcome: count for (_, outcome), count in counts.items() if count}

    def settled(self) -> dict[str, int]:
        wait_until(lambda: not self.delivery.standing().waiting)
        return self.outcomes()


def test_what_is_put_arrives_in_order() -> None:
    scene = Scene()
    scene.put("a", "b")
    scene.put("c")
    assert scene.settled() == {"delivered": 3}
    scene.delivery.close()
    assert scene.sink.items == [b"a", b"b", b"c"]
    assert scene.sink.closed


def test_nothing_runs_before_there_is_something_to_send() -> None:
    scene = Scene()
    scene.delivery.close()
    assert scene.sink.batches == [] and scene.sink.closed


def test_a_sink_that_waits_keeps_nobody_and_what_finds_no_room_is_lost() -> None:
    scene = Scene()
    scene.sink.may_write.clear()
    size = 1 << 16
    fits = MAX_QUEUED_BYTES // (size + ITEM_BYTES)
    for _ in range(fits + 23):
        scene.put("x" * size)
    assert scene.outcomes() == {"queue_full": 23}
    assert scene.delivery.standing().waiting == fits
    scene.sink.may_write.set()
    assert scene.settled() == {"delivered": fits, "queue_full": 23}
    scene.put("there is room again")
    assert scene.settled() == {"delivered": fits + 1, "queue_full": 23}
    scene.delivery.close()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (FULL, "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "closed"),
        (OSError(errno.ENXIO, "No such device or address"), "closed"),
        (PermissionError(errno.EACCES, "Permission denied"), "failed"),
        (ValueError("anything"), "failed"),
    ],
)
def test_what_a_sink_refuses_is_lost_for_its_reason_and_the_next_is_tried(error: Exception, outcome: str) -> None:
    scene = Scene()
    scene.sink.script.append(error)
    scene.put("a", "b", "c")
    assert scene.settled() == {outcome: 3}
    scene.put("d")
    assert scene.settled() == {outcome: 3, "delivered": 1}
    scene.delivery.close()
    assert scene.sink.items == [b"d"]
    assert reason(error) == outcome


def test_what_is_not_through_is_offered_again() -> None:
    scene = Scene()
    scene.sink.script += [1, 0, 0, 1]
    scene.put("a", "b", "c")
    assert scene.settled() == {"delivered": 3}
    assert scene.sink.items == [b"a", b"b", b"c"]
    assert scene.sink.batches == [3, 2, 2, 2, 1]
    scene.delivery.close()


def test_one_write_is_of_bounded_size() -> None:
    scene = Scene()
    scene.sink.may_write.clear()
    scene.put(*("x" for _ in range(2 * ListSink.batch.items + 7)))
    scene.sink.may_write.set()
    assert scene.settled() == {"delivered": 2 * ListSink.batch.items + 7}
    assert max(scene.sink.batches) == ListSink.batch.items
    scene.delivery.close()


def test_a_record_that_cannot_be_written_down_costs_itself_only(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.delivery.put([record("a"), record(strange=True), record("b")])
    assert scene.settled() == {"delivered": 2, "invalid": 1}
    assert "sink list: 1 events are lost (invalid): a strange record" in caplog.text
    scene.delivery.close()


def test_what_is_queued_at_the_end_is_flushed(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.sink.may_write.clear()
    scene.put("a", "b")
    assert scene.sink.writing.wait()
    scene.put("c")
    scene.sink.may_write.set()
    with caplog.at_level(logging.INFO):
        scene.delivery.close()
    assert scene.sink.items == [b"a", b"b", b"c"]
    assert caplog.messages == ["sink list: 3 events delivered, lost: none"]


def test_a_sink_that_never_answers_is_left_at_the_end_and_the_loss_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    scene.sink.may_write.clear()
    scene.put("a", "b", "c")
    scene.delivery.close(seconds=0.0)
    assert scene.outcomes() == {"ending": 3}
    assert caplog.messages == ["sink list: 0 events delivered, lost: 3 ending"]
    scene.put("too late")
    assert scene.outcomes() == {"ending": 4}
    scene.sink.may_write.set()  # it comes back when nobody waits any more
    wait_until(lambda: scene.sink.items == [b"a", b"b", b"c"])
    assert scene.outcomes() == {"ending": 4}


def test_a_failure_that_repeats_is_logged_with_growing_silence(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    for now in range(0, 200, 20):
        scene.clock.now = now
        scene.sink.script.append(FULL)
        scene.put("x")
        scene.settled()
    assert caplog.messages == ["sink list: 1 events are lost (disk_full): [Errno 28] No space left on device"] * 3
    scene.delivery.close()


QUICK = Retry(first_seconds=0.001, longest_seconds=0.002, give_up_seconds=60.0)


def scene_of(retry: Retry = QUICK, batch: Batch | None = None) -> Scene:
    scene = Scene()
    scene.sink.retry = retry
    scene.sink.batch = batch or scene.sink.batch
    return scene


def test_what_could_not_be_taken_is_offered_again_as_it_was_and_then_counted_once() -> None:
    scene = scene_of()
    scene.sink.script += [Unavailable("down")] * 5
    scene.put("a", "b", "c")
    assert scene.settled() == {"delivered": 3}
    assert scene.sink.items == [b"a", b"b", b"c"]
    assert scene.delivery.standing().writes == {"done": 1, "postponed": 5, "lost": 0}
    scene.delivery.close()


def test_what_could_not_be_taken_for_too_long_is_lost_and_the_next_is_tried() -> None:
    scene = scene_of(QUICK._replace(give_up_seconds=0.0))
    scene.sink.script += [Unavailable("down")]
    scene.put("a", "b", "c")
    assert scene.settled() == {"unavailable": 3}
    scene.put("d")
    assert scene.settled() == {"unavailable": 3, "delivered": 1}
    assert scene.delivery.standing().writes == {"done": 1, "postponed": 0, "lost": 1}
    scene.delivery.close()


def test_each_outcome_of_a_write_is_counted_and_only_the_rest_is_offered_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = scene_of()
    scene.sink.script += [Written(2, rejected=1, unanswered=1, why="odd")]
    scene.put("a", "b", "c", "d", "e")
    assert scene.settled() == {"delivered": 3, "rejected": 1, "unanswered": 1}
    assert scene.sink.items == [b"a", b"b", b"e"]
    assert "sink list: 1 events are lost (rejected): odd" in caplog.text
    assert "sink list: 1 events are lost (unanswered): odd" in caplog.text
    scene.delivery.close()


def test_a_batch_waits_for_more_until_it_is_full_or_old() -> None:
    scene = scene_of(batch=Batch(items=4, size_bytes=1000, seconds=3600.0))
    for each in "abcd":
        scene.put(each)
    assert scene.settled() == {"delivered": 4}
    scene.put("x" * 600)
    scene.put("y" * 600)  # these two are too long for one
    wait_until(lambda: len(scene.sink.batches) > 1)
    assert scene.sink.batches[:2] == [4, 1]
    scene.delivery.close()
    assert scene.outcomes() == {"delivered": 6}


def test_a_batch_that_is_not_full_goes_when_its_time_has_come() -> None:
    scene = scene_of(batch=Batch(items=1000, seconds=0.01))
    scene.put("a")
    assert scene.settled() == {"delivered": 1}
    scene.delivery.close()


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_pauses_grow_at_random_below_a_bound(chance: float) -> None:
    waits: list[float] = []
    delivery = Delivery(ListSink(), [EVENT], Clock(), lambda: chance)
    delivery._changed.wait_for = lambda _, seconds=0.0: waits.append(seconds) is not None  # type: ignore[assignment]
    for delivery._failures in (1, 2, 3, 10, 100_000):
        delivery._pause(0.0)
    delivery._pause(7.0)
    delivery._pause(1e12)
    longest = [0.5, 1.0, 2.0, 30.0, 30.0]
    assert waits == pytest.approx([chance * each for each in longest] + [7.0 + chance * 30.0, 300.0])


def test_an_agent_that_ends_does_not_wait_for_a_pause_to_be_over() -> None:
    scene = scene_of(Retry(first_seconds=3600.0, longest_seconds=3600.0, give_up_seconds=3600.0))
    scene.sink.script += [Unavailable("down", after_seconds=3600.0)]
    scene.put("a")
    wait_until(lambda: scene.delivery.standing().writes["postponed"] == 1)
    scene.delivery.close()
    assert scene.outcomes() == {"delivered": 1}
