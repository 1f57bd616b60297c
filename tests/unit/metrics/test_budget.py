from agent.metrics.budget import Budget
from agent.metrics.series import Family
from bpfleet import catalogue

BOUNDS = (0.1, 1.0)


def filled(budget: Budget, family: Family, zero: bool = False) -> int:
    """How many series it admits."""
    count = 0
    while budget.admits(family, zero):
        budget.take(family)
        count += 1
    return count


def test_a_metric_gets_its_share_less_the_room_for_its_other_series() -> None:
    family = Family(catalogue.TCP_RESETS)  # two directions, and one where the direction is none of them
    budget = Budget(total=1000, per_metric=23)
    budget.reserve(family.reserve)
    assert filled(budget, family) == 20


def test_a_histogram_counts_with_all_its_lines() -> None:
    family = Family(catalogue.TCP_RTT, BOUNDS)
    budget = Budget(total=1000, per_metric=50)
    budget.reserve(family.reserve)
    assert family.lines == 3 + 2
    assert filled(budget, family) == 9
    assert budget.used == 45


def test_all_metrics_together_stay_below_the_total() -> None:
    families = [Family(catalogue.CONNECTIONS_OPENED), Family(catalogue.CONNECTIONS_CLOSED)]
    budget = Budget(total=30, per_metric=20)
    for family in families:
        budget.reserve(family.reserve)
    assert [filled(budget, family) for family in families] == [19, 9]


def test_zeros_take_half_of_the_room() -> None:
    family = Family(catalogue.CONNECTIONS_OPENED)
    budget = Budget(total=1000, per_metric=101)
    budget.reserve(family.reserve)
    assert filled(budget, family, zero=True) == 50
    assert filled(budget, family) == 50


def test_what_is_given_back_can_be_taken_again() -> None:
    family = Family(catalogue.CONNECTIONS_OPENED)
    budget = Budget(total=10, per_metric=10)
    filled(budget, family)
    budget.give(family)
    assert budget.admits(family)
