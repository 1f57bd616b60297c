from bpfleet import catalogue, names
from bpfleet.metrics import Counter, Histogram, Info, Scope, Summary

REQUIRED = """
bpfleet_container_info bpfleet_network_io_bytes_total bpfleet_network_io_packets_total
bpfleet_flow_bytes_total bpfleet_flow_packets_total bpfleet_flow_tcp_segments_total
bpfleet_flow_tcp_retransmissions_total bpfleet_flow_tcp_connects_total bpfleet_flow_tcp_rtt_seconds
bpfleet_tcp_connections_opened_total bpfleet_tcp_connections_accepted_total bpfleet_tcp_connections_failed_total
bpfleet_tcp_connections_closed_total bpfleet_tcp_connections_active bpfleet_tcp_connect_duration_seconds
bpfleet_tcp_connection_lifetime_seconds bpfleet_tcp_rtt_seconds bpfleet_tcp_segments_total
bpfleet_tcp_retransmissions_total bpfleet_tcp_resets_total
bpfleet_collector_up bpfleet_collector_info bpfleet_seen_total bpfleet_delivered_total bpfleet_lost_total
bpfleet_program_runs_total bpfleet_program_run_seconds_total bpfleet_map_entries bpfleet_map_capacity
bpfleet_map_bytes bpfleet_series bpfleet_build_info
""".split()
"""Rules, dashboards and other people's queries rely on these."""


def test_names_that_others_rely_on_are_there() -> None:
    assert set(REQUIRED) <= {metric.family for metric in catalogue.ALL}


def test_no_two_metrics_share_a_name_in_any_form() -> None:
    """OpenMetrics drops the suffix from a family's name, and a histogram takes _bucket, _sum and _count."""
    taken = []
    for metric in catalogue.ALL:
        extra = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}.get(metric.kind, ())
        taken += [metric.family, *(metric.family + suffix for suffix in extra)]
    assert len(taken) == len(set(taken))
    stems = [metric.family.removesuffix("_" + metric.suffix) for metric in catalogue.ALL]
    assert len(stems) == len(set(stems))


def test_names_follow_the_unit_and_the_kind() -> None:
    assert Counter("network.io", "", unit="By").family == "bpfleet_network_io_bytes_total"
    assert Counter("tcp.segments", "", unit="{segment}").family == "bpfleet_tcp_segments_total"
    assert Histogram("tcp.rtt", "", unit="s").family == "bpfleet_tcp_rtt_seconds"
    assert Histogram("http.server.request.duration", "", unit="s", prefix="").family == (
        "http_server_request_duration_seconds"
    )
    assert Summary("flow.tcp.rtt", "", unit="s").family == "bpfleet_flow_tcp_rtt_seconds"
    assert Info("container", "").family == "bpfleet_container_info"


def test_labels_are_exposed_as_identity_own_peer() -> None:
    flow = Counter("flow", "", labels=("direction",), scope=Scope.FLOW)
    assert flow.label_names == (*names.IDENTITY, "direction", *names.PEER)
    assert Counter("seen", "", labels=("channel",), scope=Scope.AGENT).label_names == ("channel",)


def test_every_label_set_is_declared_consistently() -> None:
    for metric in catalogue.ALL:
        assert len(set(metric.label_names)) == len(metric.label_names), metric.family
        assert len(metric.values) in (0, len(metric.labels)), metric.family
        assert metric.help.endswith("."), metric.family
