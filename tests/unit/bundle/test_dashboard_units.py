"""Units of expressions."""

import promql_parser as promql
import pytest

from bundle.dashboards.units import BYTES, NUMBER, SECONDS, Dimension, dimension

A_SECOND, BYTES_A_SECOND = Dimension(0, -1), Dimension(1, -1)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", NUMBER),
        ("bpfleet_map_bytes", BYTES),
        ("sum by (map) (bpfleet_map_bytes)", BYTES),
        ("count(bpfleet_map_bytes)", NUMBER),
        ("rate(bpfleet_flow_bytes_total[5m])", BYTES_A_SECOND),
        ("increase(bpfleet_flow_bytes_total[5m])", BYTES),
        ("rate(bpfleet_tcp_resets_total[5m])", A_SECOND),
        ("rate(process_cpu_seconds_total[5m])", NUMBER),
        ("rate(bpfleet_tcp_rtt_seconds_count[5m])", A_SECOND),
        ("rate(bpfleet_tcp_rtt_seconds_sum[5m]) / rate(bpfleet_tcp_rtt_seconds_count[5m])", SECONDS),
        ("histogram_quantile(0.9, sum by (le) (rate(bpfleet_tcp_rtt_seconds_bucket[5m])))", SECONDS),
        ("histogram_quantile(0.9, rate(http_server_request_body_size_bytes_bucket[5m]))", BYTES),
        ("histogram_quantile(0.9, rate(bpfleet_tcp_congestion_window_segments_bucket[5m]))", NUMBER),
        ("time() - process_start_time_seconds", SECONDS),
        ("1 - bpfleet_map_entries / (bpfleet_map_capacity > 0)", NUMBER),
        ("(rate(a_total[5m]) or 0 * rate(b_total[5m])) / (rate(b_total[5m]) > 0)", NUMBER),
        ("-max_over_time(a_seconds[1h:5m])", SECONDS),
        ("8 * rate(a_bytes_total[5m])", BYTES_A_SECOND),
        ("absent(a_seconds)", NUMBER),
        ("topk(3, rate(a_total[5m])) > 5", A_SECOND),
    ],
)
def test_a_unit_follows_from_names_and_operations(expression: str, expected: Dimension) -> None:
    assert dimension(promql.parse(expression)) == expected


def test_a_dimension_says_what_it_is() -> None:
    assert [str(each) for each in (NUMBER, A_SECOND, Dimension(2, 1))] == [
        "a number",
        "events a second",
        "bytes^2 seconds^1",
    ]
