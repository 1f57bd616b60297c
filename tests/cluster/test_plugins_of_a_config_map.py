"""Plugins from a ConfigMap, in the agent's pod with its three capabilities: one that counts, and three that are broken.

Witnesses: the calls that a program in a pod makes, and the kubelet, which would count a restart.
"""

import pytest
from tests.cluster.conftest import BROKEN_PLUGINS
from tests.cluster.pods import Cluster

pytestmark = [
    # the whole client leaves its connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CALL = "import os; file = os.memfd_create('x'); [os.fsync(file) for _ in range(COUNT)]"
FSYNCS = "bpfleet_disk_fsyncs_total"


def test_a_system_call_of_a_pod_is_counted_by_a_plugin_from_a_config_map(cluster: Cluster) -> None:
    labels = {"namespace": cluster.namespace, "pod": "client", "container": "shell", "workload_kind": "Pod"}
    before = cluster.settled().value(FSYNCS, **labels)
    for count in (4999, 101):
        assert cluster.run(CALL.replace("COUNT", str(count))) == ""
    page = cluster.settled()
    assert page.value(FSYNCS, **labels) - before == 5100
    assert page.value(FSYNCS, namespace=cluster.namespace, container="sink") == 0
    assert page.value("bpfleet_lost_total", channel="fsyncs") == 0
    assert cluster.status()["collectors"]["fsyncs"]["up"]


def test_what_is_broken_beside_it_is_off_with_its_reason_and_the_agent_stays_up(cluster: Cluster) -> None:
    states, page = cluster.status()["collectors"], cluster.page()
    assert len(BROKEN_PLUGINS) == 3
    for broken in BROKEN_PLUGINS:
        state = states[broken.off]
        assert state["reason"].startswith(broken.reason), (broken.off, state["reason"])
        assert not state["up"]
        assert list(page.where("bpfleet_collector_up", collector=broken.off)) == [({"collector": broken.off}, 0)]
    off = {name for name, state in states.items() if not state["up"] and state["reason"]}
    assert off & {"traffic", "tcp", "connections", "http", "http_log", "fsyncs"} == set()
    (status,) = cluster.pod("agent").status.container_statuses
    assert status.ready and status.restart_count == 0
