import random
from collections import Counter

from agent.events.shares import Shares


def test_only_who_has_two_more_gives_one_up() -> None:
    shares = Shares[str]()
    assert shares.greedier("a") is None
    shares.add("a")
    assert shares.greedier("b") is None
    shares.add("a")
    assert shares.greedier("b") == "a" and shares.greedier("a") is None
    shares.add("b")
    assert shares.greedier("b") is None and shares.greedier("c") == "a"
    shares.add("a", -2)
    assert shares.greedier("c") is None


def test_it_is_whoever_has_most_at_any_moment() -> None:
    dice, shares, counts = random.Random(23), Shares[int](), Counter[int]()
    for _ in range(5_000):
        key = dice.randrange(20)
        count = dice.choice((1, 1, 1, 5, -1, -counts[key]))
        if counts[key] + count < 0:
            continue
        shares.add(key, count)
        counts[key] += count
        most, asks = max(counts.values()), dice.randrange(20)
        found = shares.greedier(asks)
        assert found is None and most <= counts[asks] + 1 or found is not None and counts[found] == most > counts[asks]
