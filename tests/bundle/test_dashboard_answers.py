"""Panels about objectives, Flux, nodes and zones, which no agent on a host brings, and those that may be empty: does
their query find something?

Witness: promtool, with the series as kube-state-metrics, Flux and Prometheus name them, and the bundle's own rules.
"""

import json
from pathlib import Path

import pytest
import yaml

from agent.collectors import BUILT_IN
from bpfleet.events import HTTP_REQUEST, SECURITY
from bpfleet.policies.model import SEVERITIES
from bundle import tools
from bundle.dashboards.check import filled, may_be_empty, queries
from bundle.dashboards.cli import DIRECTORY
from bundle.rules import model

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / DIRECTORY).glob("*.json"))

VALUES = {
    "__rate_interval": "5m", "__range": "1h", "datasource": "p", "namespace": "shop", "workload": "web", "node": ".*",
}  # fmt: skip
ELSEWHERE = (
    "slo:",
    "ALERTS",
    "kube_",
    "gotk_",
    "workqueue_depth",
    "controller_runtime_",
    "bpfleet_service_backend_info",
)
ELSEWHERE_TOO = ("bpfleet_container_info", 'zone!=""', 'peer_namespace="$namespace"')

WEB = 'namespace="shop",workload="web",workload_kind="Deployment",pod="web-1",container="web"'
PEER = 'peer_kind="service",peer_namespace="shop",peer_name="web",port="80",transport="tcp"'
TARGET = 'job="monitoring/flux",instance="10.0.0.1:8080"'
OBJECT = 'customresource_kind="Kustomization",exported_namespace="flux-system",name="apps",revision="main@sha1:1"'

GAUGES = (
    'kube_namespace_labels{namespace="shop",label_bpfleet_dev_slo_tier="critical"}',
    'kube_node_info{node="n1"}',
    'kube_node_info{node="n2"}',
    'kube_node_info{node="n3"}',
    'bpfleet_build_info{node="n1",version="1",kernel="6.1",headers="btf"}',
    f'gotk_resource_info{{{OBJECT},ready="True",suspended="false"}}',
    'gotk_resource_info{customresource_kind="Provider",exported_namespace="flux-system",name="discord"}',
    'gotk_resource_info{customresource_kind="GitRepository",name="held",ready="False",suspended="true"}',
    f'workqueue_depth{{{TARGET},name="kustomization"}}',
    f'bpfleet_service_backend_info{{{PEER},backend_pod="web-1",backend_port="80"}}',
    f'bpfleet_container_info{{{WEB},node="n1",image="web:1"}}',
    'bpfleet_collector_info{node="n1",instance="i1",collector="http",reason="no BTF"}',
    'bpfleet_sink_info{node="n1",sink="otlp",reason="no endpoint"}',
    'bpfleet_events_waiting{node="n1",stage="owner"}',
    f'http_server_active_requests{{{WEB},http_request_method="GET"}}',
    'bpfleet_request_log_opened{node="n1",what="paths"}',
    'bpfleet_request_log_annotations_refused{node="n1"}',
    'bpfleet_security_policies_last_reload_successful{node="n1"}',
)
OFF = 'bpfleet_collector_up{node="n1",instance="i1",collector="http"}'
"""The one gauge that is 0."""

CHANNELS = [channel.name for kind in BUILT_IN if set(kind.event_names) & set(SECURITY) for channel in kind.channels]
"""Values that boards name are the agent's own words here, or a board that has others would find them."""

HISTOGRAMS = (
    *("http_client_request_duration_seconds", "http_server_request_duration_seconds"),
    *("http_server_request_body_size_bytes", "http_server_response_body_size_bytes"),
    *("bpfleet_http_route_duration_seconds", "bpfleet_tcp_connect_duration_seconds", "bpfleet_tcp_rtt_seconds"),
    *("bpfleet_tcp_connection_lifetime_seconds", "bpfleet_tcp_congestion_window_segments"),
    *("bpfleet_tcp_receive_window_bytes", "bpfleet_tcp_send_window_bytes"),
)
COUNTERS = (
    f'http_server_request_duration_seconds_count{{{WEB},http_request_method="GET",error_type="500"}}',
    f'http_server_request_duration_seconds_count{{{WEB},http_request_method="GET",error_type=""}}',
    f'http_server_request_duration_seconds_bucket{{{WEB},http_request_method="GET",error_type="",le="0.25"}}',
    f'bpfleet_flow_tcp_connects_total{{{WEB},{PEER},result="success"}}',
    f'bpfleet_flow_tcp_connects_total{{{WEB},{PEER},result="refused"}}',
    f'bpfleet_flow_tcp_segments_total{{{WEB},{PEER},direction="transmit",zone="a",peer_zone="b"}}',
    f'bpfleet_flow_tcp_retransmissions_total{{{WEB},{PEER},zone="a",peer_zone="b"}}',
    f'bpfleet_flow_bytes_total{{{WEB},{PEER},direction="transmit",zone="a",peer_zone="b"}}',
    'gotk_reconcile_duration_seconds_bucket{kind="Kustomization",name="apps",le="+Inf"}',
    'gotk_reconcile_duration_seconds_bucket{kind="Kustomization",name="apps",le="1"}',
    'gotk_reconcile_duration_seconds_count{kind="Kustomization",name="apps"}',
    'gotk_reconcile_duration_seconds_sum{kind="Kustomization",name="apps"}',
    f'controller_runtime_reconcile_errors_total{{{TARGET},controller="kustomization"}}',
    'bpfleet_drain_failures_total{node="n1",step="peers"}',
    'bpfleet_seen_total{node="n1",channel="packets"}',
    'bpfleet_sink_events_total{node="n1",sink="otlp",outcome="delivered"}',
    f'bpfleet_events_total{{node="n1",event="{HTTP_REQUEST}",outcome="passed"}}',
    f'bpfleet_packet_drops_total{{{WEB},reason="NO_SOCKET"}}',
    f'bpfleet_flow_http_requests_total{{{WEB},{PEER},role="client",result="error"}}',
    f'bpfleet_flow_http_requests_total{{{WEB},{PEER},role="server",result="error"}}',
    f'bpfleet_tcp_segments_total{{{WEB},direction="transmit"}}',
    f"bpfleet_tcp_retransmissions_total{{{WEB}}}",
    *(f'bpfleet_security_events_total{{{WEB},rule="shell-entered",severity="{each}"}}' for each in SEVERITIES),
    f'bpfleet_security_suppressed_total{{{WEB},event="exec"}}',
    *(f'bpfleet_delivered_total{{node="n1",channel="{each}"}}' for each in CHANNELS),
    *(f'{name}_bucket{{{WEB},le="{bound}"}}' for name in HISTOGRAMS for bound in ("1", "+Inf")),
    *(f'{name}_{part}{{{WEB},error_type="timeout"}}' for name in HISTOGRAMS for part in ("count", "sum")),
)


def asked(uid: str, title: str) -> str:
    (found,) = (
        text
        for each, text in queries(json.loads((ROOT / DIRECTORY / f"{uid}.json").read_text()))
        if each["title"] == title
    )
    return filled(found, VALUES)


def told(folder: Path, series: list[dict[str, str]], expressions: list[tuple[str, float]]) -> str:
    """What promtool complains of; each expression with its one value without labels, after an hour and a half."""
    (rules,) = (file for file in model.files(ROOT) if str(file.path) == "policies/slo/rules.yaml")
    (folder / "rules.yaml").write_text(yaml.safe_dump(dict(rules.plain)))
    tests = [
        {"expr": text, "eval_time": "90m", "exp_samples": [{"labels": "{}", "value": value}]}
        for text, value in expressions
    ]
    order = [group["name"] for group in rules.plain["groups"]]
    (folder / "tests.yaml").write_text(
        yaml.safe_dump(
            {
                "rule_files": ["rules.yaml"],
                "evaluation_interval": "1m",
                "group_eval_order": order,
                "tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}],
            }
        )
    )
    said = tools.ask("promtool", "test", "rules", "tests.yaml", cwd=folder)
    return said.stdout + said.stderr if said.returncode else ""


def test_every_query_about_the_cluster_or_that_may_be_empty_finds_something(tmp_path: Path) -> None:
    series = [{"series": each, "values": "1x100"} for each in GAUGES]
    series += [{"series": each, "values": "0+60x100"} for each in COUNTERS]
    series.append({"series": OFF, "values": "0x100"})
    about = [
        filled(text, VALUES)
        for file in FILES
        for panel, text in queries(json.loads(file.read_text()))
        if may_be_empty(panel) or any(word in text for word in (*ELSEWHERE, *ELSEWHERE_TOO))
    ]

    assert len(about) > 90
    assert told(tmp_path, series, [(f"count({text}) > bool 0", 1) for text in about]) == ""


@pytest.mark.parametrize(("nodes", "agents"), [(3, 3), (3, 1), (3, 0)])
def test_nodes_without_an_agent_are_counted_where_no_agent_is_left(nodes: int, agents: int, tmp_path: Path) -> None:
    series = [f'kube_node_info{{node="n{number}"}}' for number in range(nodes)]
    series += [f'bpfleet_build_info{{node="n{number}"}}' for number in range(agents)]

    wanted: list[tuple[str, float]] = [
        (asked("bpfleet-overview", "Agents"), agents),
        (asked("bpfleet-overview", "Nodes without an agent"), nodes - agents),
    ]
    assert told(tmp_path, [{"series": each, "values": "1x100"} for each in series], wanted) == ""


def test_what_flux_gives_no_ready_or_leaves_alone_is_not_counted_as_not_ready(tmp_path: Path) -> None:
    series = [{"series": each, "values": "1x100"} for each in GAUGES]
    text = asked("bpfleet-flux", "Not ready")

    assert told(tmp_path, series, [(text, 0)]) == ""
    failed = {
        "series": 'gotk_resource_info{customresource_kind="HelmRelease",name="a",ready="False"}',
        "values": "1x100",
    }
    assert told(tmp_path, [*series, failed], [(text, 1)]) == ""
