from tests.unit.collectors.rows import FOLDED_V4, FOLDED_V6, V4, V6, Fed, amounts, feed, key

from agent.collectors.traffic import Traffic
from bpfleet.catalogue import FLOW_BYTES, FLOW_PACKETS, NETWORK_IO, NETWORK_PACKETS
from bpfleet.metrics import Flow, Sample

UDP, WEB = Flow(V4, 53, "udp"), Flow(V6, 443, "tcp")
Row = tuple[int, ...]


def fed(flows: dict[bytes, Row], others: dict[bytes, Row] | None = None) -> Fed:
    return feed(Traffic(), {"flows": flows, "flow_others": others or {}}, "flows", "flow_others")


def test_a_row_is_bytes_and_packets_by_direction_with_and_without_its_peer() -> None:
    """received bytes, packets, segments; sent bytes, packets, segments."""
    made = fed({key(23, UDP): amounts(700, 7, 0, 1100, 11, 0)})
    assert made.samples() == [
        Sample(NETWORK_IO, 700, 23, ("receive", "udp", "ipv4")),
        Sample(NETWORK_PACKETS, 7, 23, ("receive", "udp", "ipv4")),
        Sample(FLOW_BYTES, 700, 23, ("receive",), UDP),
        Sample(FLOW_PACKETS, 7, 23, ("receive",), UDP),
        Sample(NETWORK_IO, 1100, 23, ("transmit", "udp", "ipv4")),
        Sample(NETWORK_PACKETS, 11, 23, ("transmit", "udp", "ipv4")),
        Sample(FLOW_BYTES, 1100, 23, ("transmit",), UDP),
        Sample(FLOW_PACKETS, 11, 23, ("transmit",), UDP),
    ]
    assert made.delivered() == {"packets": 18, "peers": 18}


def test_a_direction_without_packets_yields_nothing() -> None:
    made = fed({key(23, WEB): amounts(0, 0, 0, 60, 1, 1), key(29, WEB): amounts(60, 1, 1, 0, 0, 0)})
    assert {(sample.cgroup_id, sample.labels[0]) for sample in made.samples()} == {(23, "transmit"), (29, "receive")}


def test_only_what_was_added_since_the_last_drain_is_told() -> None:
    made = fed({key(23, WEB): amounts(700, 7, 7, 0, 0, 0)})
    made.samples()
    assert made.samples() == []
    made.tables.hashes["flows"][key(23, WEB)] = amounts(5_000_000_060, 8, 8, 0, 0, 0)
    assert [sample.value for sample in made.samples()] == [4_999_999_360, 1, 4_999_999_360, 1]
    assert made.delivered() == {"packets": 8, "peers": 8}


def test_a_folded_row_counts_fully_but_for_no_peer() -> None:
    """What found no room among the peers keeps owner, transport and family."""
    four, six = Flow(FOLDED_V4, 0, "udp"), Flow(FOLDED_V6, 0, "tcp")
    made = fed(
        {key(23, UDP): amounts(0, 0, 0, 64, 1, 0)},
        {key(23, four): amounts(0, 0, 0, 640, 10, 0), key(23, six): amounts(90, 1, 1, 90, 1, 1)},
    )
    assert made.samples()[4:] == [
        Sample(NETWORK_IO, 640, 23, ("transmit", "udp", "ipv4")),
        Sample(NETWORK_PACKETS, 10, 23, ("transmit", "udp", "ipv4")),
        Sample(FLOW_BYTES, 640, 23, ("transmit",), four),
        Sample(FLOW_PACKETS, 10, 23, ("transmit",), four),
        Sample(NETWORK_IO, 90, 23, ("receive", "tcp", "ipv6")),
        Sample(NETWORK_PACKETS, 1, 23, ("receive", "tcp", "ipv6")),
        Sample(FLOW_BYTES, 90, 23, ("receive",), six),
        Sample(FLOW_PACKETS, 1, 23, ("receive",), six),
        Sample(NETWORK_IO, 90, 23, ("transmit", "tcp", "ipv6")),
        Sample(NETWORK_PACKETS, 1, 23, ("transmit", "tcp", "ipv6")),
        Sample(FLOW_BYTES, 90, 23, ("transmit",), six),
        Sample(FLOW_PACKETS, 1, 23, ("transmit",), six),
    ]
    assert made.delivered() == {"packets": 13, "peers": 1}


def test_every_transport_keeps_its_name() -> None:
    flows = {
        key(23, Flow(V4, 0, transport)): amounts(1, 1, 0, 0, 0, 0) for transport in ("other", "tcp", "udp", "icmp")
    }
    told = [sample.labels[1] for sample in fed(flows).samples() if sample.metric is NETWORK_IO]
    assert told == ["other", "tcp", "udp", "icmp"]
