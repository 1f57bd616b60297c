"""What a plugin gives back, before anybody relies on it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.made_collectors import made_collector

from agent.plugins import guarding
from agent.plugins.guarding import Endless, Held
from bpfleet import catalogue
from bpfleet.api import Batch, CgroupChange, Collector, Event, Maps, Record, Retry, Sample, Sink, Unavailable
from bpfleet.errors import LoadError
from bpfleet.testing import FakeMaps

GOOD = Sample(catalogue.TCP_RETRANSMISSIONS, 1, 23)
RECORD = Record("bpfleet.made", 0, {}, {})


def yielding(tmp_path: Path, *items: Any) -> Collector:
    made = made_collector(tmp_path, "made", metrics=(catalogue.TCP_RETRANSMISSIONS,))

    def give(maps: Maps) -> Iterator[Any]:
        yield from items

    made.collect = made.events = made.cgroups = give  # type: ignore[method-assign]
    return made


def test_samples_events_and_changes_pass_as_they_are(tmp_path: Path) -> None:
    event, change = Event("bpfleet.made", 0, 23, {}), CgroupChange(23, False, "/a")
    assert list(guarding.samples(yielding(tmp_path, GOOD, GOOD), FakeMaps(), 2)) == [GOOD, GOOD]
    assert list(guarding.events(yielding(tmp_path, event), FakeMaps(), 2)) == [event]
    assert list(guarding.changes(yielding(tmp_path, change), FakeMaps(), 2)) == [change]


def test_what_comes_before_a_mistake_passes(tmp_path: Path) -> None:
    given = guarding.samples(yielding(tmp_path, GOOD, 3, GOOD), FakeMaps(), 9)
    assert next(given) == GOOD
    with pytest.raises(TypeError, match=r"^made.collect\(\) yielded int, not Sample$"):
        next(given)


def test_a_metric_that_was_not_declared_is_refused(tmp_path: Path) -> None:
    other = Sample(catalogue.TCP_RESETS, 1, 23, ("receive",))
    with pytest.raises(ValueError, match="bpfleet_tcp_resets_total is not among the metrics"):
        list(guarding.samples(yielding(tmp_path, other), FakeMaps(), 9))


def test_one_more_than_the_most_is_too_many(tmp_path: Path) -> None:
    assert len(list(guarding.samples(yielding(tmp_path, *[GOOD] * 7), FakeMaps(), 7))) == 7
    with pytest.raises(Endless, match=r"made.collect\(\) yielded more than 6 things in one drain"):
        list(guarding.samples(yielding(tmp_path, *[GOOD] * 7), FakeMaps(), 6))


def test_the_most_leaves_room_for_full_maps() -> None:
    assert guarding.most(16) == 250_000
    assert guarding.most(32_768) == 1_048_576
    assert guarding.most(4_194_304) == 134_217_728


def test_nobody_ends_the_agent(tmp_path: Path) -> None:
    made = yielding(tmp_path)

    def leave(maps: Maps) -> Iterator[Sample]:
        raise SystemExit(3)

    made.collect = leave  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"made.collect\(\) asked Python to exit"):
        list(guarding.samples(made, FakeMaps(), 9))


class Odd(Sink):
    name = "odd"

    def __init__(self, encoded: Any = b"x", through: Any = 1, leaves: bool = False) -> None:
        super().__init__()
        self.encoded, self.through, self.leaves = encoded, through, leaves

    def encode(self, record: Record) -> bytes:
        return self._give(self.encoded)  # type: ignore[no-any-return]

    def write(self, items: Sequence[bytes]) -> int:
        return self._give(self.through)  # type: ignore[no-any-return]

    def close(self) -> None:
        self._give(None)

    def _give(self, value: Any) -> Any:
        if self.leaves:
            raise SystemExit(3)
        return value


def test_a_sink_of_its_word_is_as_it_is() -> None:
    held = Held(Odd())
    assert (held.name, held.encode(RECORD), held.write([b"x"])) == ("odd", b"x", 1)
    held.close()


@pytest.mark.parametrize("encoded", ["text", None, 3, bytearray(b"x")])
def test_what_is_no_bytes_is_refused(encoded: object) -> None:
    with pytest.raises(TypeError, match="^encode"):
        Held(Odd(encoded)).encode(RECORD)


@pytest.mark.parametrize("through", [-1, 3, None, True, 1.0, "1"])
def test_an_impossible_number_is_refused(through: object) -> None:
    with pytest.raises(ValueError, match="for 2 items"):
        Held(Odd(through=through)).write([b"x", b"y"])


@pytest.mark.parametrize("batch", [100, None, Batch(0), Batch(1.5), Batch(1, 0), Batch(1, 1, -1), Batch(1, 1, "1")])  # type: ignore[arg-type]
def test_a_batch_that_cannot_be_is_refused_before_the_queues_thread_meets_it(batch: Any) -> None:
    odd = Odd()
    odd.batch = batch
    with pytest.raises(LoadError, match=r"^test_guarding.py:\d+: batch is "):
        Held(odd)


@pytest.mark.parametrize("retry", [30, None, Retry(-1), Retry(1, float("inf")), Retry(1, 1, float("nan")), Retry("1")])  # type: ignore[arg-type]
def test_so_are_pauses_that_cannot_be(retry: Any) -> None:
    odd = Odd()
    odd.retry = retry
    with pytest.raises(LoadError, match=r"^test_guarding.py:\d+: retry is "):
        Held(odd)


@pytest.mark.parametrize("after", ["5", None])
def test_a_pause_that_is_no_number_is_an_error_of_the_sink(after: Any) -> None:
    odd = Odd()
    odd.write = lambda items: (_ for _ in ()).throw(Unavailable("busy", after))  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="no number"):
        Held(odd).write([b"x"])
    odd.write = lambda items: (_ for _ in ()).throw(Unavailable("busy", 5))  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="busy"):
        Held(odd).write([b"x"])


def test_one_that_sends_nothing_takes_no_cpu() -> None:
    waited: list[float] = []
    assert Held(Odd(through=0), waited.append).write([b"x"]) == 0
    assert waited == [guarding.RETRY_SECONDS]


def test_no_sink_ends_the_agent() -> None:
    held = Held(Odd(leaves=True))
    for call in (lambda: held.encode(RECORD), lambda: held.write([b"x"]), held.close):
        with pytest.raises(RuntimeError, match="asked Python to exit"):
            call()
