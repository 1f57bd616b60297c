"""A look at an expression: unknown names, undeclared labels, counters read as gauges, labels of the result."""

import pytest

from bpfleet.errors import BundleError
from bundle.rules import expressions
from bundle.rules.expressions import Reading
from bundle.rules.known import Series, series

KNOWN = {**series(), "our:thing:ratio": Series("gauge", frozenset(("namespace", "tier")))}
RESETS = "bpfleet_tcp_resets_total"


def look(text: str) -> tuple[frozenset[str], list[str]]:
    reading = Reading(KNOWN)
    return reading.labels(expressions.parse(text)), reading.problems


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (f"sum by (namespace, workload) (rate({RESETS}[5m]))", "namespace workload"),
        (f"sum(rate({RESETS}[5m])) > 1", ""),
        (f"sum without (pod, instance) (increase({RESETS}[5m])) > bool 1", None),
        ('label_replace(our:thing:ratio, "x", "$1", "tier", "(.+)")', "namespace tier x"),
        ("our:thing:ratio * on (namespace) group_left (node) up", "namespace tier node"),
        ("our:thing:ratio / on (namespace) our:thing:ratio", "namespace"),
        ("sum by (tier) (our:thing:ratio) or sum by (namespace) (our:thing:ratio)", "tier namespace"),
        ("sum by (tier) (our:thing:ratio) unless on () absent(up)", "tier"),
        ("2 * sum by (tier) (our:thing:ratio)", "tier"),
        ("vector(1)", ""),
        ('absent(our:thing:ratio{tier="a",namespace=~"b"})', "tier"),
        ("histogram_quantile(0.9, sum by (le, namespace) (rate(bpfleet_tcp_rtt_seconds_bucket[5m])))", "namespace"),
        ("max_over_time(our:thing:ratio[1d])", "namespace tier"),
        ("max_over_time((our:thing:ratio > 1)[1h:5m])", "namespace tier"),
    ],
)
def test_labels_of_the_result(text: str, labels: str | None) -> None:
    found, problems = look(text)

    assert problems == []
    if labels is None:
        assert "workload" in found and not {"pod", "instance"} & found
    else:
        assert found == frozenset(labels.split())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bpfleet_tcp_reset_total", "unknown metric bpfleet_tcp_reset_total: neither in docs/metrics.md"),
        ("bpfleet_tcp_reset_total", f"did you mean {RESETS}?"),
        ('{namespace="a"}', "a selector names its metric"),
        (f"{RESETS} > 1", "is a counter: it is read by rate() or increase() only"),
        (f"sum(max_over_time({RESETS}[5m]))", "is a counter"),
        ("rate(bpfleet_tcp_connections_active[5m])", "is no counter: rate() of it means nothing"),
        (f'rate({RESETS}{{dir="receive"}}[5m])', f"{RESETS} has no label dir; there are"),
        (f"sum by (sli) (rate({RESETS}[5m]))", "what sum() reads has no label sli"),
        ("our:thing:ratio * on (sli) our:thing:ratio", "the left side of * has no label sli"),
        ("histogram_quantile(0.9, rate(bpfleet_tcp_rtt_seconds_sum[5m]))", "has no label le"),
        ('label_replace(our:thing:ratio, "x", "$1", "sli", "(.+)")', "what label_replace() reads has no label sli"),
        ("bpfleet_tcp_rtt_seconds > 1", "unknown metric bpfleet_tcp_rtt_seconds"),
    ],
)
def test_what_prometheus_would_silently_answer_with_nothing_is_told(text: str, problem: str) -> None:
    assert any(problem in each for each in look(text)[1])


def test_counters_may_be_asked_whether_they_are_there() -> None:
    assert look(f"absent({RESETS}) and on () group({RESETS})")[1] == []


def test_a_comparison_is_one_that_filters() -> None:
    assert expressions.compares(expressions.parse("sum(up) == 0"))
    assert not expressions.compares(expressions.parse("sum(up) == bool 0"))
    assert not expressions.compares(expressions.parse("absent(up)"))


@pytest.mark.parametrize("text", ["sum(", "up ==", "rate(up)", "{", "up[5"])
def test_what_is_no_promql_is_told(text: str) -> None:
    with pytest.raises(BundleError, match="^not PromQL: "):
        expressions.parse(text)
