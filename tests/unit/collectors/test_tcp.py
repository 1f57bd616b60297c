from tests.unit.collectors.rows import FOLDED_V4, V4, Fed, amounts, feed, key, owner_key

from agent.collectors.tcp import Tcp
from bpfleet.catalogue import (
    FLOW_TCP_RETRANSMISSIONS,
    FLOW_TCP_RTT,
    FLOW_TCP_SEGMENTS,
    TCP_RESETS,
    TCP_RETRANSMISSIONS,
    TCP_RTT,
    TCP_SEGMENTS,
)
from bpfleet.metrics import Distribution, Flow, Sample, Summed

WEB, FOLDED = Flow(V4, 443, "tcp"), Flow(FOLDED_V4, 0, "tcp")
NAMES = ("flows", "flow_others", "tcp_flows", "tcp_others", "tcp_rtts")


def fed(**hashes: dict[bytes, tuple[int, ...]]) -> Fed:
    return feed(Tcp(), hashes, *NAMES)


def test_segments_are_read_from_the_packets_rows() -> None:
    made = fed(
        flows={key(23, WEB): amounts(9000, 5, 7, 6000, 4, 11)},
        flow_others={key(29, FOLDED): amounts(0, 0, 0, 60, 1, 1)},
    )
    assert made.samples() == [
        Sample(TCP_SEGMENTS, 7, 23, ("receive",)),
        Sample(FLOW_TCP_SEGMENTS, 7, 23, ("receive",), WEB),
        Sample(TCP_SEGMENTS, 11, 23, ("transmit",)),
        Sample(FLOW_TCP_SEGMENTS, 11, 23, ("transmit",), WEB),
        Sample(TCP_SEGMENTS, 1, 29, ("transmit",)),
        Sample(FLOW_TCP_SEGMENTS, 1, 29, ("transmit",), FOLDED),
    ]


def test_rows_of_other_transports_have_no_segments() -> None:
    assert fed(flows={key(23, Flow(V4, 53, "udp")): amounts(700, 7, 0, 700, 7, 0)}).samples() == []


def test_events_are_told_each_under_its_name() -> None:
    """events, segments sent again, resets received, resets sent, sum of round-trip times in ns, their number."""
    made = fed(tcp_flows={key(23, WEB): (13, 5, 2, 3, 4_000_000, 3)})
    assert made.samples() == [
        Sample(TCP_RETRANSMISSIONS, 5, 23),
        Sample(FLOW_TCP_RETRANSMISSIONS, 5, 23, (), WEB),
        Sample(TCP_RESETS, 2, 23, ("receive",)),
        Sample(TCP_RESETS, 3, 23, ("transmit",)),
        Sample(FLOW_TCP_RTT, Summed(0.004, 3), 23, (), WEB),
    ]
    assert made.delivered() == {"tcp_events": 13}


def test_a_folded_row_counts_fully_but_for_no_peer() -> None:
    made = fed(tcp_others={key(23, FOLDED): (3, 1, 0, 1, 1_000_000, 1)})
    assert made.samples() == [
        Sample(TCP_RETRANSMISSIONS, 1, 23),
        Sample(FLOW_TCP_RETRANSMISSIONS, 1, 23, (), FOLDED),
        Sample(TCP_RESETS, 1, 23, ("transmit",)),
        Sample(FLOW_TCP_RTT, Summed(0.001, 1), 23, (), FOLDED),
    ]
    assert made.delivered() == {"tcp_events": 3}


def test_round_trip_times_are_buckets_and_a_sum_in_seconds() -> None:
    made = fed(tcp_rtts={owner_key(23): (1, 0, 2, 1_500_000)})
    assert made.samples() == [Sample(TCP_RTT, Distribution((1, 0, 2), 0.0015), 23)]
    made.tables.hashes["tcp_rtts"][owner_key(23)] = (1, 4, 2, 2_500_000)
    assert made.samples() == [Sample(TCP_RTT, Distribution((0, 4, 0), 0.001), 23)]
    assert made.delivered() == {"rtts": 7}
