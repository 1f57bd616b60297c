from datetime import UTC, datetime
from typing import Any

import pytest

from agent.identity.owners import workload

CREATED = "2026-11-21T14:30:02Z"
MINUTES = int(datetime(2026, 11, 21, 14, 30, tzinfo=UTC).timestamp()) // 60


def pod(name: str, kind: str = "", owner: str = "", labels: dict[str, str] | None = None) -> dict[str, Any]:
    reference = {"kind": kind, "name": owner, "controller": True}
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": CREATED, "labels": labels or {}}
    return {"metadata": metadata | ({"ownerReferences": [reference]} if kind else {})}


HASH = {"pod-template-hash": "7d4b9c6f5"}

CASES = {
    "Deployment": (pod("web-7d4b9c6f5-x2x4k", "ReplicaSet", "web-7d4b9c6f5", HASH), ("web", "Deployment")),
    "Deployment whose name ends like a hash": (
        pod("a-7d4b9c6f5-7d4b9c6f5-x", "ReplicaSet", "a-7d4b9c6f5-7d4b9c6f5", HASH),
        ("a-7d4b9c6f5", "Deployment"),
    ),
    "bare ReplicaSet": (pod("rs-abcde", "ReplicaSet", "rs"), ("rs", "ReplicaSet")),
    "ReplicaSet that is named otherwise": (pod("rs-abcde", "ReplicaSet", "rs", HASH), ("rs", "ReplicaSet")),
    "ReplicaSet that is only a hash": (
        pod("x", "ReplicaSet", "-7d4b9c6f5", HASH),
        ("-7d4b9c6f5", "ReplicaSet"),
    ),
    "Argo Rollout": (
        pod("r-5f6-x", "ReplicaSet", "r-5f6", {"rollouts-pod-template-hash": "5f6"}),
        ("r", "Rollout"),
    ),
    "StatefulSet": (pod("db-0", "StatefulSet", "db"), ("db", "StatefulSet")),
    "DaemonSet": (pod("node-exporter-x", "DaemonSet", "node-exporter"), ("node-exporter", "DaemonSet")),
    "CronJob": (pod(f"backup-{MINUTES}-x", "Job", f"backup-{MINUTES}"), ("backup", "CronJob")),
    "CronJob, started late": (pod("b-x", "Job", f"backup-{MINUTES - 600}"), ("backup", "CronJob")),
    "Job": (pod("migrate-x", "Job", "migrate"), ("migrate", "Job")),
    "Job named after a date": (pod("m-x", "Job", "migrate-20261121"), ("migrate-20261121", "Job")),
    "Job named after a later minute": (
        pod("m-x", "Job", f"migrate-{MINUTES + 60}"),
        (f"migrate-{MINUTES + 60}", "Job"),
    ),
    "static pod": (pod("kube-apiserver-node0", "Node", "node0"), ("kube-apiserver", "StaticPod")),
    "bare pod": (pod("debug"), ("debug", "Pod")),
    "custom owner": (pod("kafka-0", "StrimziPodSet", "kafka"), ("kafka", "StrimziPodSet")),
}


@pytest.mark.parametrize(("item", "expected"), CASES.values(), ids=CASES)
def test_the_workload_follows_from_the_pod_alone(item: dict[str, Any], expected: tuple[str, str]) -> None:
    assert workload(item) == expected


def test_an_owner_that_does_not_control_the_pod_is_not_its_workload() -> None:
    item = pod("debug", "ConfigMap", "settings")
    del item["metadata"]["ownerReferences"][0]["controller"]
    assert workload(item) == ("debug", "Pod")
