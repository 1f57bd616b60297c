import argparse

import pytest

from agent.filter_words import matches, split


def test_words_are_separated_by_commas() -> None:
    assert split("a, b,c*") == ("a", "b", "c*")


@pytest.mark.parametrize("text", ["", ",", "a,", "a,,b", " "])
def test_an_empty_part_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="empty part"):
        split(text)


def test_a_name_is_found_by_pattern_or_as_it_stands() -> None:
    assert matches("shop-a", ("x", "shop-*"))
    assert matches("/unit[1].slice", ("/unit[1].slice",))
    assert not matches("Shop", ("shop",))
