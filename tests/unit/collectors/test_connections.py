import pytest
from tests.unit.collectors.rows import FOLDED_V4, V4, Fed, feed, key, owner_key

from agent.collectors.connections import Connections
from bpfleet.catalogue import (
    CONNECT_DURATION,
    CONNECTION_LIFETIME,
    CONNECTIONS_ACCEPTED,
    CONNECTIONS_ACTIVE,
    CONNECTIONS_CLOSED,
    CONNECTIONS_FAILED,
    CONNECTIONS_OPENED,
    FLOW_TCP_ACCEPTS,
    FLOW_TCP_CONNECTS,
)
from bpfleet.metrics import Distribution, Flow, Metric, Sample

WEB, FOLDED = Flow(V4, 443, "tcp"), Flow(FOLDED_V4, 0, "tcp")
NAMES = ("connection_flows", "connection_others", "connection_connects", "connection_lifetimes")
NOT_FAILED = (0,) * 6


def fed(**hashes: dict[bytes, tuple[int, ...]]) -> Fed:
    return feed(Connections(), hashes, *NAMES)


def test_a_row_is_told_by_kind_of_event() -> None:
    """events, opened, accepted, closed, activated, deactivated, then the failures."""
    made = fed(connection_flows={key(23, WEB): (60, 7, 11, 13, 18, 11, *NOT_FAILED)})
    assert made.samples() == [
        Sample(CONNECTIONS_OPENED, 7, 23),
        Sample(FLOW_TCP_CONNECTS, 7, 23, ("success",), WEB),
        Sample(CONNECTIONS_ACCEPTED, 11, 23),
        Sample(FLOW_TCP_ACCEPTS, 11, 23, flow=WEB),
        Sample(CONNECTIONS_CLOSED, 13, 23),
        Sample(CONNECTIONS_ACTIVE, 7, 23),
    ]
    assert made.delivered() == {"connection_events": 60}


def test_active_connections_fall_when_more_end_than_begin() -> None:
    made = fed(connection_flows={key(23, WEB): (5, 0, 0, 0, 5, 0, *NOT_FAILED)})
    assert made.samples() == [Sample(CONNECTIONS_ACTIVE, 5, 23)]
    made.tables.hashes["connection_flows"][key(23, WEB)] = (12, 0, 0, 0, 7, 5, *NOT_FAILED)
    assert made.samples() == [Sample(CONNECTIONS_ACTIVE, -3, 23)]


def test_as_many_that_end_as_begin_leave_active_alone() -> None:
    assert fed(connection_flows={key(23, WEB): (4, 0, 0, 0, 2, 2, *NOT_FAILED)}).samples() == []


@pytest.mark.parametrize(
    ("place", "reason"), list(enumerate(("refused", "timeout", "unreachable", "reset", "abandoned", "other")))
)
def test_each_failure_has_its_reason(place: int, reason: str) -> None:
    """In the order of `enum connection_failure`."""
    failed = tuple(23 if each == place else 0 for each in range(6))
    assert fed(connection_flows={key(29, WEB): (23, 0, 0, 0, 0, 0, *failed)}).samples() == [
        Sample(CONNECTIONS_FAILED, 23, 29, (reason,)),
        Sample(FLOW_TCP_CONNECTS, 23, 29, (reason,), WEB),
    ]


def test_a_folded_row_counts_fully_but_for_no_peer() -> None:
    made = fed(connection_others={key(23, FOLDED): (3, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0)})
    assert made.samples() == [
        Sample(CONNECTIONS_OPENED, 1, 23),
        Sample(FLOW_TCP_CONNECTS, 1, 23, ("success",), FOLDED),
        Sample(CONNECTIONS_FAILED, 2, 23, ("refused",)),
        Sample(FLOW_TCP_CONNECTS, 2, 23, ("refused",), FOLDED),
    ]
    assert made.delivered() == {"connection_events": 3}


@pytest.mark.parametrize(
    ("name", "channel", "metric"),
    [
        ("connection_connects", "connect_durations", CONNECT_DURATION),
        ("connection_lifetimes", "connection_lifetimes", CONNECTION_LIFETIME),
    ],
)
def test_durations_are_buckets_and_a_sum_in_seconds(name: str, channel: str, metric: Metric) -> None:
    made = fed(**{name: {owner_key(23): (1, 0, 2, 1_500_000)}})
    assert made.samples() == [Sample(metric, Distribution((1, 0, 2), 0.0015), 23)]
    assert made.delivered() == {channel: 3}
