"""GOALS C6: the watches' share of 75 MiB, with 100 pods on the node and 5,000 endpoints on 500 nodes."""

import subprocess
import sys

LIMIT_MIB = 45
"""Leaves 30 MiB for 10,000 series."""

SCRIPT = """
import json, pathlib, time
import agent.__main__  # all that an agent imports
from agent.identity.cluster import Cluster
from agent.identity.fake import FakeApi, listing
from agent.identity.kubernetes import KubernetesApi
from tests.unit.identity import recordings

KubernetesApi()  # imports what the real one needs
template = next(event["object"] for event in reversed(recordings.watched("pods")) if event["type"] == "MODIFIED")

def pod(number):
    item = json.loads(json.dumps(template))
    item["metadata"].update(name=f"web-99b876dc4-{number:05}", uid=f"{number:032x}")
    item["status"]["podIPs"] = [{"ip": f"10.128.0.{number}"}]
    for status in item["status"]["containerStatuses"]:
        status["containerID"] = f"containerd://{number:064x}"
    return item

def endpoint(service, number):
    target = {"kind": "Pod", "namespace": f"team-{service % 50}", "name": f"service-{service}-99b876dc4-{number:05}"}
    address = f"10.{128 + service // 250}.{service % 250}.{number}"
    return {"addresses": [address], "zone": f"zone-{number % 3}", "nodeName": f"node-{number}", "targetRef": target}

def endpoint_slice(number):
    labels = {"kubernetes.io/service-name": f"service-{number}"}
    return {
        "metadata": {"name": f"service-{number}-x", "namespace": f"team-{number % 50}", "labels": labels},
        "ports": [{"port": 8080}, {"port": 9090}],
        "endpoints": [endpoint(number, each) for each in range(20)],
    }

def service(number):
    metadata = {"name": f"service-{number}", "namespace": f"team-{number % 50}"}
    return {"metadata": metadata, "spec": {"clusterIPs": [f"10.96.0.{number}"], "ports": [{"port": 80}]}}

def node(number):
    return {
        "metadata": {"name": f"node-{number}", "labels": {"topology.kubernetes.io/zone": f"zone-{number % 3}"}},
        "spec": {"podCIDRs": [f"10.{128 + number // 250}.{number % 250}.0/24"]},
        "status": {"addresses": [{"address": f"192.168.{number // 250}.{number % 250}"}]},
    }

made = {"pods": (pod, 100), "endpointslices": (endpoint_slice, 250), "services": (service, 250), "nodes": (node, 500)}
api = FakeApi({name: [listing("7", *map(make, range(count))), []] for name, (make, count) in made.items()})
cluster = Cluster(api, "node-0", time.monotonic)
for watch in cluster.watches:
    watch.step()
cluster.refresh()
assert [len(watch.book) for watch in cluster.watches] == [100, 500, 250, 250]
assert sum(len(record.ports) for record in cluster.peers.slices.records()) == 10_000
status = pathlib.Path("/proc/self/status").read_text().split()
print(int(status[status.index("VmRSS:") + 1]) / 1024)
"""


def test_the_watches_of_a_large_cluster_leave_room_for_the_series() -> None:
    env = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 20 < float(done.stdout) <= LIMIT_MIB
