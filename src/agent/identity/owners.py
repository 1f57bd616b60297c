"""Which workload does a pod belong to? By name rules on the pod alone: no look-ups of owners, no permission for them.

- Deployment: its ReplicaSets are named <deployment>-<pod-template-hash>, and the hash is a label of the pod
  (https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pod-template-hash-label).
- CronJob: its Jobs are named <cronjob>-<scheduled time in minutes since 1970>
  (getJobName in https://github.com/kubernetes/kubernetes/blob/master/pkg/controller/cronjob/utils.go).
- static pod: its mirror is owned by the Node and named <pod>-<node>.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_SCHEDULED = re.compile(r"(?P<cronjob>.+)-(?P<minutes>[0-9]{7,9})", re.ASCII)

MAX_LATE_MINUTES = 7 * 24 * 60
"""A CronJob's pod starts after its scheduled minute; retries may take days. A Job that a person named after a date
(20261121 minutes are in 2008) lies far outside."""

_HASHES = {"pod-template-hash": "Deployment", "rollouts-pod-template-hash": "Rollout"}


def workload(pod: Mapping[str, Any]) -> tuple[str, str]:
    """Name and kind of the top owner of a pod (the API's JSON)."""
    metadata = pod["metadata"]
    references = metadata.get("ownerReferences") or ()
    owner = next((reference for reference in references if reference.get("controller")), None)
    if owner is None:
        return metadata["name"], "Pod"
    name, kind = owner["name"], owner["kind"]
    if kind == "ReplicaSet":
        return _replica_set(name, metadata.get("labels") or {})
    if kind == "Job":
        return _job(name, metadata.get("creationTimestamp") or "")
    if kind == "Node":
        return metadata["name"].removesuffix("-" + name), "StaticPod"
    return name, kind


def _replica_set(name: str, labels: Mapping[str, str]) -> tuple[str, str]:
    for label, kind in _HASHES.items():
        suffix = "-" + labels.get(label, "")
        if len(suffix) > 1 and name.endswith(suffix) and name != suffix:
            return name.removesuffix(suffix), kind
    return name, "ReplicaSet"


def _job(name: str, created: str) -> tuple[str, str]:
    scheduled = _SCHEDULED.fullmatch(name)
    if scheduled and created:
        late = datetime.fromisoformat(created.replace("Z", "+00:00")).timestamp() / 60 - int(scheduled["minutes"])
        if -1 <= late <= MAX_LATE_MINUTES:
            return scheduled["cronjob"], "CronJob"
    return name, "Job"
