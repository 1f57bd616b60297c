"""Which alert is tested how. promtool itself is asked in tests/bundle."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle.rules import model, suites

from .test_lint import RULES, tree

TESTS = """tests:
  - input_series:
      - {series: 'bpfleet_tcp_resets_total{pod="a"}', values: VALUES}
    alert_rule_test:
      - alertname: ManyResets
        eval_time: 1m
        exp_alerts:
          - exp_labels: {a: b}
            exp_annotations: {c: d}
      - alertname: ManyResets
        eval_time: 2m
"""
ANNOTATIONS = "            exp_annotations: {c: d}\n"


def told(root: Path, text: str) -> list[str]:
    tree(root, RULES)
    (root / "policies/some/tests").mkdir(exist_ok=True)
    (root / "policies/some/tests/some.yaml").write_text(text)
    return suites.problems(root, model.files(root), suites.test_files(root))


@pytest.mark.parametrize("values", ["_ 1", "_x10 1x5", "_x3 _ 1+2x5", "_x10 1 2 3"])
def test_one_that_fires_one_that_does_not_and_a_series_that_appears_with_1_are_enough(
    values: str, tmp_path: Path
) -> None:
    assert told(tmp_path, TESTS.replace("VALUES", values)) == []


@pytest.mark.parametrize("values", ["1x10", "_x10 0 1", "_x10 10x4", "_x10"])
def test_a_series_that_begins_otherwise_does_not_appear_with_1(values: str, tmp_path: Path) -> None:
    (problem,) = told(tmp_path, TESTS.replace("VALUES", values))

    assert problem.startswith("policies/some/rules.yaml:13: ManyResets: no appearing test")


def test_a_series_that_the_alert_does_not_read_may_appear_as_it_likes(tmp_path: Path) -> None:
    other = TESTS.replace("bpfleet_tcp_resets_total", "bpfleet_tcp_segments_total").replace("VALUES", "_ 1")
    (problem,) = told(tmp_path, other)

    assert "ManyResets: no appearing test" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (TESTS[: TESTS.index("        exp_alerts")], "ManyResets: no positive test"),
        (TESTS[: TESTS.rindex("      - alertname")], "ManyResets: no negative test"),
        (TESTS.replace(ANNOTATIONS, ""), "ManyResets: the expected alert has no exp_annotations"),
        (TESTS.replace("exp_labels: {a: b}", "exp_labels: {}"), "ManyResets: the expected alert has no exp_labels"),
        (TESTS.replace("ManyResets", "Other", 1), "policies/some/tests/some.yaml:5: no alert 'Other'"),
    ],
)
def test_what_no_test_shows_is_told(text: str, problem: str, tmp_path: Path) -> None:
    assert any(problem in each for each in told(tmp_path, text.replace("VALUES", "_ 1")))


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\n",
        "- 1\n",
        "tests: [1]\n",
        TESTS.replace(ANNOTATIONS, "").replace("\n          - exp_labels: {a: b}", " 1"),
    ],
)
def test_a_file_that_is_no_test_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"policies/some/tests/some\.yaml:\d+: "):
        told(tmp_path, text)
