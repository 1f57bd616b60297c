import pytest

from agent.metrics import negotiation
from agent.metrics.exposition import Form

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROTOBUF_FIRST = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2"
)


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_3, PROTOBUF_FIRST, "Application/OpenMetrics-Text; Q=1"])
def test_a_client_that_likes_openmetrics_best_gets_it(accept: str) -> None:
    assert negotiation.form(accept) is Form.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/*",
        "text/plain",
        "text/html,application/xhtml+xml,*/*;q=0.8",
        "application/openmetrics-text;q=0.5,text/plain",
        "application/openmetrics-text;q=0.5,*/*;q=0.9",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=nonsense",
        "application/openmetrics-text;q=2",
        "application/json",
        ";;,,q=",
        "\x00\xff",
    ],
)
def test_everybody_else_gets_the_text_that_all_can_read(accept: str) -> None:
    assert negotiation.form(accept) is Form.TEXT


def test_the_most_specific_range_decides_for_the_text() -> None:
    assert negotiation.form("*/*;q=1,text/plain;q=0.1,application/openmetrics-text;q=0.5") is Form.OPENMETRICS
    assert negotiation.form("text/*;q=0.2,*/*;q=0.9,application/openmetrics-text;q=0.5") is Form.OPENMETRICS


def test_no_more_ranges_are_read_than_a_client_has_reason_to_send() -> None:
    assert negotiation.form("a/b," * 5000 + "application/openmetrics-text") is Form.TEXT


@pytest.mark.parametrize(
    "accept", ["gzip", "deflate, gzip;q=0.5", "*", "GZIP", "x-gzip", "gzip, identity", "br;q=1, *;q=0.1"]
)
def test_gzip_where_it_is_accepted(accept: str) -> None:
    assert negotiation.gzip(accept)


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "gzip;q=0, *", "*;q=0", "identity, gzip;q=0.5", "br"])
def test_no_gzip_where_it_is_not(accept: str) -> None:
    assert not negotiation.gzip(accept)
