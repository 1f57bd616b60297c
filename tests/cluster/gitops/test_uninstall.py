"""The last of this directory: what is taken away leaves nothing, in the API and in the kernel."""

import pytest
from tests.cluster.gitops.api import Api
from tests.cluster.gitops.fleets import RELEASE, Fleet
from tests.cluster.waiting import eventually
from tests.support.kernel_objects import all_objects, held, processes

GONE_SECONDS = 60.0
OF_THE_CLUSTER = (
    "rbac.authorization.k8s.io/v1/clusterroles",
    "rbac.authorization.k8s.io/v1/clusterrolebindings",
    "admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    "admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
)


def test_what_is_uninstalled_leaves_no_object_and_nothing_in_the_kernel(api: Api, fleet: Fleet) -> None:
    statuses = [status for pod in fleet.agents() for status in pod["status"]["containerStatuses"]]
    containers = [status["containerID"].partition("://")[2] for status in statuses]
    agents = [process for container in containers for process in processes(container)]
    if not agents:
        pytest.skip("the agents' processes are not this machine's")
    before = {one for process in agents for one in held(process)}
    assert {one.kind for one in before} >= {"prog", "map"} and before <= all_objects()

    fleet.remove()

    eventually(lambda: not before & all_objects(), "programs, maps and links are gone", GONE_SECONDS)
    assert not [process for container in containers for process in processes(container)]
    for kind in ("DaemonSet", "Deployment", "PrometheusRule", "AlertmanagerConfig", "Service"):
        labels = [each["metadata"].get("labels", {}) for each in api.all(kind)]
        assert not [each for each in labels if each.get("app.kubernetes.io/part-of") == "bpfleet"]
    for path in OF_THE_CLUSTER:
        names = {each["metadata"]["name"] for each in api.ask("GET", f"/apis/{path}")["items"]}
        assert not {name for name in names if name.startswith("bpfleet") or name.endswith("-bpfleet")}, path
    assert api.ask("GET", f"/api/v1/namespaces/{RELEASE[0]}") is None
