import pytest

from agent.metrics.pending import HELD_SECONDS, Pending, merged
from bpfleet import catalogue
from bpfleet.metrics import Distribution, Observations, Sample, Summed


def test_growths_of_one_kind_are_merged() -> None:
    assert merged(2, 3) == 5
    assert merged(Summed(1.0, 2), Summed(0.5, 1)) == Summed(1.5, 3)
    assert merged(Observations({10: 2, 4: 1}), Observations({10: 5, 8: 7})) == Observations({10: 7, 4: 1, 8: 7})
    assert merged(Distribution((1, 0), 1.0), Distribution((2, 5), 0.25)) == Distribution((3, 5), 1.25)


@pytest.mark.parametrize("other", [3, Summed(1.0, 1), Distribution((1,), 1.0), Observations({1: 1})])
def test_growths_of_different_kinds_are_refused(other: int | Summed | Distribution | Observations) -> None:
    with pytest.raises(ValueError):
        merged(Distribution((1, 2), 1.0), other)


def test_what_was_released_waits_no_more() -> None:
    pending = Pending()
    for value in (23, 19):
        assert pending.hold(Sample(catalogue.TCP_RESETS, value, 7, ("receive",)), now=100)
    assert pending.waiting(100) == [(7, False)]
    assert pending.waiting(100 + HELD_SECONDS) == [(7, True)]
    assert list(pending.release(7)) == [Sample(catalogue.TCP_RESETS, 42, 7, ("receive",))]
    assert (pending.size, pending.waiting(200)) == (0, [])
