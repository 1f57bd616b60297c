import pytest

from agent.metrics.series import Buckets, Family, Own, Subject
from bpfleet import catalogue
from bpfleet.metrics import Counter, Distribution, Observations


def test_labels_that_are_listed_are_known_before_the_first_event() -> None:
    assert Family(catalogue.TCP_RESETS).listed == (("receive",), ("transmit",))
    assert Family(catalogue.CONNECTIONS_OPENED).listed == ((),)
    assert len(Family(catalogue.NETWORK_IO).listed) == 16


@pytest.mark.parametrize("values", [(), (("GET",),), (("GET",), ())])
def test_labels_that_are_not_all_listed_are_not_known(values: tuple[tuple[str, ...], ...]) -> None:
    family = Family(Counter("test.requests", "Requests.", labels=("method", "route"), values=values))
    assert family.listed == ()
    assert family.folded(("GET", "/")) == ("", "")
    assert family.reserve == 1


def test_a_value_that_is_none_of_the_listed_is_folded() -> None:
    family = Family(catalogue.TCP_RESETS)
    assert family.folded(("receive",)) == ("receive",)
    assert family.folded(("unknown(3)",)) == ("",)


def test_the_agents_own_metrics_are_not_accumulated() -> None:
    with pytest.raises(ValueError, match="bpfleet_seen_total"):
        Family(catalogue.SEEN)


def test_values_observed_one_by_one_are_counted_into_the_bounds_with_an_exact_sum() -> None:
    family = Family(catalogue.TCP_SEND_WINDOW, (0.0, 4096.0, 65536.0))
    series = Buckets(Subject(""), Own(family, ()), 0.0)
    series.add(Observations({0: 3, 1: 5, 4096: 7, 4097: 11, 65537: 13}))
    assert (series.counts, series.total) == ([3, 12, 11, 13], 5 + 7 * 4096 + 11 * 4097 + 13 * 65537)
    series.add(Distribution((1, 0, 0, 0), 0.0))
    series.add(Observations({}))
    assert series.counts == [4, 12, 11, 13]


@pytest.mark.parametrize("counts", [{1: -1}, {-5: 1}])
def test_observations_that_cannot_be_are_refused(counts: dict[int, int]) -> None:
    series = Buckets(Subject(""), Own(Family(catalogue.TCP_SEND_WINDOW, (0.0, 1.0)), ()), 0.0)
    with pytest.raises(ValueError, match="cannot grow"):
        series.add(Observations(counts))
    assert series.counts is None
