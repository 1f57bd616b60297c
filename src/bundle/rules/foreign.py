"""Metrics that are not ours and that rules and dashboards may use: who brings them, of which kind, with which labels.

One list, so that a misspelt name is told before Prometheus silently finds nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple


class Foreign(NamedTuple):
    """kind: counter, gauge, histogram (its series end in _bucket, _sum, _count)."""

    kind: str
    labels: frozenset[str] = frozenset()


def _gauge(*labels: str) -> Foreign:
    return Foreign("gauge", frozenset(labels))


def _counter(*labels: str) -> Foreign:
    return Foreign("counter", frozenset(labels))


def _histogram(*labels: str) -> Foreign:
    return Foreign("histogram", frozenset(labels))


TARGET = frozenset(("job", "instance", "namespace", "pod", "container", "endpoint", "service", "node"))
"""What a scrape adds. Series of the agent have their own namespace, pod and container (honorLabels)."""

PROMETHEUS: Mapping[str, Foreign] = {
    "up": _gauge(),
    "scrape_duration_seconds": _gauge(),
    "scrape_samples_scraped": _gauge(),
    "scrape_samples_post_metric_relabeling": _gauge(),
    "scrape_series_added": _gauge(),
    "ALERTS": _gauge("alertname", "alertstate", "severity", "team", "sli", "tier"),
    "prometheus_target_scrapes_exceeded_sample_limit_total": _counter(),
    "prometheus_target_scrapes_exceeded_body_size_limit_total": _counter(),
    "prometheus_target_scrape_pool_exceeded_label_limits_total": _counter(),
    "prometheus_rule_evaluation_failures_total": _counter("rule_group"),
    "prometheus_rule_group_last_duration_seconds": _gauge("rule_group"),
    "prometheus_tsdb_head_series": _gauge(),
    "prometheus_notifications_dropped_total": _counter("alertmanager"),
    "alertmanager_notifications_failed_total": _counter("integration", "reason"),
    "alertmanager_notifications_total": _counter("integration"),
}

PROCESS: Mapping[str, Foreign] = {
    "process_cpu_seconds_total": _counter(),
    "process_resident_memory_bytes": _gauge(),
    "process_virtual_memory_bytes": _gauge(),
    "process_start_time_seconds": _gauge(),
    "process_open_fds": _gauge(),
    "process_max_fds": _gauge(),
}
"""Of the client libraries: the agent's own process has them."""

KUBE_STATE_METRICS: Mapping[str, Foreign] = {
    "kube_namespace_labels": _gauge("label_bpfleet_dev_slo_tier", "label_bpfleet_dev_anomaly", "label_team"),
    "kube_namespace_status_phase": _gauge("phase"),
    "kube_node_info": _gauge("kernel_version", "os_image", "container_runtime_version", "kubelet_version"),
    "kube_node_status_condition": _gauge("condition", "status"),
    "kube_pod_info": _gauge("created_by_kind", "created_by_name", "host_ip", "pod_ip", "uid"),
    "kube_pod_status_phase": _gauge("phase", "uid"),
    "kube_pod_container_status_restarts_total": _counter("uid"),
    "kube_pod_container_resource_limits": _gauge("resource", "unit", "uid"),
    "kube_pod_container_resource_requests": _gauge("resource", "unit", "uid"),
    "kube_daemonset_status_desired_number_scheduled": _gauge("daemonset"),
    "kube_daemonset_status_number_ready": _gauge("daemonset"),
    "kube_daemonset_status_number_unavailable": _gauge("daemonset"),
    "kube_daemonset_status_updated_number_scheduled": _gauge("daemonset"),
}

FLUX: Mapping[str, Foreign] = {
    "gotk_resource_info": _gauge(
        *("customresource_group", "customresource_kind", "customresource_version", "exported_namespace", "name"),
        *("ready", "suspended", "revision", "source_name", "chart_name", "chart_version", "url", "reason"),
    ),
    "gotk_reconcile_duration_seconds": _histogram("kind", "name", "exported_namespace"),
    "controller_runtime_reconcile_total": _counter("controller", "result"),
    "controller_runtime_reconcile_errors_total": _counter("controller"),
    "controller_runtime_reconcile_time_seconds": _histogram("controller"),
    "workqueue_depth": _gauge("name", "controller"),
}
"""gotk_resource_info: kube-state-metrics makes it of Flux's objects by its customResourceState configuration."""

FOREIGN: Mapping[str, Foreign] = {**PROMETHEUS, **PROCESS, **KUBE_STATE_METRICS, **FLUX}
