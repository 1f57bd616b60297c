"""The chart's README from the comments in its values.yaml."""

import pytest

from bpfleet.errors import BundleError
from bundle.chart import readme

VALUES = """\
## Things
# -- What it is for,
# in two lines.
thing:
  # -- A | B
  size: 1
  words: [a, "on"]
plain: ""
"""


def test_a_value_is_told_by_the_comment_above_it() -> None:
    found = [(row.heading, row.name, row.default, row.text) for row in readme.rows(VALUES)]
    assert found == [
        ("Things", "thing", "", "What it is for, in two lines."),
        ("Things", "thing.size", "`1`", "A | B"),
        ("Things", "thing.words", '`["a", "on"]`', ""),
        ("Things", "plain", '`""`', ""),
    ]


def test_values_that_are_no_yaml_are_told_with_file_and_line() -> None:
    with pytest.raises(BundleError, match=r"values\.yaml:2: not valid YAML"):
        list(readme.rows("a: 1\nb: ]\n"))
    with pytest.raises(BundleError, match=r"values\.yaml:1: not a mapping"):
        list(readme.rows("- a\n"))
