import pytest

from agent.metrics.series import Family
from bpfleet import catalogue
from bpfleet.metrics import Counter


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
