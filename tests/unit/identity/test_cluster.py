"""Recorded streams of a real cluster, from the source to the answers."""

import pytest
from tests.unit.identity import recordings

from agent.identity import addresses
from agent.identity.cluster import GRACE_SECONDS, Cluster
from agent.identity.fake import FakeApi, listing
from agent.identity.model import Owner, Peer
from agent.identity.runtimes import parse
from agent.identity.watches import Expired, Forbidden, Unauthorized
from bpfleet.errors import ClusterError
from bpfleet.metrics import Flow

PAUSE = "registry.k8s.io/pause:3.10"
COREDNS = "registry.k8s.io/coredns/coredns:local"

OWNERS = [
    (
        "/kubepods/burstable/podd6556dcb-28bc-47aa-99e3-6e7a24ef957b",
        "0e1d3c4c6a3c20c1fba72b742a707d8c5bd782b8fb204a2ad8f0b822aafd8f10",
        ("shop", "web-99b876dc4-4wqmg", "nginx", "web", "Deployment"),
        PAUSE,
    ),
    (
        "/kubepods/burstable/podd6556dcb-28bc-47aa-99e3-6e7a24ef957b",
        "00d1f83a6719cb1c1d5723ae8b48e523641871789dfd2ea5af8bc7c5537f1b80",
        ("shop", "web-99b876dc4-4wqmg", "sidecar", "web", "Deployment"),
        PAUSE,
    ),
    (
        "/kubepods/pod55281224-57aa-4ffc-a50b-76c8cb97a969",
        "501246b44005a3ffe04f67f99bd2af1105871322d4b9431bff0a436d1147b9fa",
        ("shop", "db-0", "db", "db", "StatefulSet"),
        PAUSE,
    ),
    (
        "/kubepods/besteffort/podb7fc9e56-beb1-4fed-a0ff-78cda3989075",
        "16cd62725ab45d82cacc98712b80dc2534b854999f07e29d77f7bdcb9e1d0883",
        ("shop", "node-exporter-pk6fz", "exporter", "node-exporter", "DaemonSet"),
        PAUSE,
    ),
    (
        "/kubepods/besteffort/pod6263c85a-9e7d-4819-921f-4b92b92d33fa",
        "89498619bcf1a750d17e118edb73c08bfdfc72b40cc5efc75e05ed56bf6bd4a3",
        ("shop", "debug", "shell", "debug", "Pod"),
        PAUSE,
    ),
    (
        "/kubepods/burstable/podcfafab12-51b2-4b0c-b055-a2aadbf204ea",
        "5776042556bee76ab131d3de472c252aa8007062eb5b9a7f3e11849a849512bf",
        ("kube-system", "coredns-66dcfddf57-lphmv", "coredns", "coredns", "Deployment"),
        COREDNS,
    ),
]

ME = Owner("shop", pod="web-99b876dc4-lm6lb", workload="web")


def cluster_of(api: FakeApi, clock) -> Cluster:
    return Cluster(api, "node0", clock, jitter=lambda: 1.0)


@pytest.fixture
def cluster(clock) -> Cluster:
    """After the recording: lists and streams applied once."""
    cluster = cluster_of(FakeApi(recordings.answers()), clock)
    for watch in cluster.watches:
        assert watch.step() == 0.0
    cluster.refresh()
    return cluster


def peer(cluster: Cluster, address: str, port: int, transport: str = "tcp") -> Peer:
    packed = addresses.parse(address)
    assert packed
    return cluster.peer(Flow(packed, port, transport), ME)


@pytest.mark.parametrize(("pod", "container", "labels", "image"), OWNERS)
def test_each_captured_cgroup_path_has_its_recorded_owner(
    cluster: Cluster, pod: str, container: str, labels: tuple[str, ...], image: str
) -> None:
    ref = parse(f"{pod}/{container}")
    assert ref
    owner = cluster.pods.owner(ref)
    assert owner and owner.settled
    assert (owner.labels, owner.image) == (labels, image)


def workloads(cluster: Cluster) -> set[tuple[str, str, str]]:
    owners = cluster.pods._containers.values()
    return {(owner.container, owner.workload, owner.workload_kind) for owner in owners}


def test_every_kind_of_workload_was_recorded(cluster: Cluster) -> None:
    assert workloads(cluster) == {
        ("prepare", "web", "Deployment"),
        ("nginx", "web", "Deployment"),
        ("sidecar", "web", "Deployment"),
        ("db", "db", "StatefulSet"),
        ("exporter", "node-exporter", "DaemonSet"),
        ("migrate", "migrate-20261121", "Job"),
        ("backup", "backup", "CronJob"),
        ("shell", "debug", "Pod"),
        ("crash", "crash", "Pod"),
        ("coredns", "coredns", "Deployment"),
    }


def test_the_recorded_addresses_have_their_peers(cluster: Cluster) -> None:
    assert peer(cluster, "10.96.0.1", 443) == Peer("service", "default", "kubernetes")
    assert peer(cluster, "10.96.0.10", 53, "udp") == Peer("service", "kube-system", "kube-dns")
    assert peer(cluster, "10.89.0.1", 6443) == Peer("service", "default", "kubernetes")
    assert peer(cluster, "10.89.0.1", 30080) == Peer("service", "shop", "web")
    assert peer(cluster, "10.89.0.1", 22) == Peer("node", "", "node0", "zone-b")
    assert peer(cluster, "10.244.0.4", 40000) == Peer("pod", "shop", "web-99b876dc4-lm6lb", "zone-b")
    assert peer(cluster, "192.0.2.1", 443) == Peer("external")
    assert cluster.peers.zone() == "zone-b"


def test_an_endpoints_zone_is_the_one_that_its_slice_was_written_with(cluster: Cluster) -> None:
    assert peer(cluster, "10.244.0.5", 3306) == Peer("pod", "shop", "db-0", "zone-a")


def test_the_state_after_the_recording_is_told(cluster: Cluster) -> None:
    state = {"synced": True, "lists": 1, "failures": 0, "strange": 0, "error": ""}
    assert cluster.status() == {
        "pods": {**state, "objects": 8},
        "nodes": {**state, "objects": 1},
        "services": {**state, "objects": 4},
        "endpointslices": {**state, "objects": 4},
    }


def test_identities_stay_while_the_server_is_away_and_after_410(cluster: Cluster, clock) -> None:
    before = workloads(cluster)
    for _ in range(30):
        clock.pass_by(max(watch.step() for watch in cluster.watches))
    cluster.refresh()
    assert clock.now > 1600 and workloads(cluster) >= {entry for entry in before if entry[1] != "debug"}
    assert peer(cluster, "10.244.0.5", 3306).name == "db-0"
    assert {watch.lists for watch in cluster.watches} == {1}


def test_a_token_that_expired_or_a_version_that_is_gone_is_made_good(clock) -> None:
    answers = recordings.answers()
    for resource in recordings.RESOURCES:
        answers[resource] += [Unauthorized("401"), Expired("410"), *recordings.answers()[resource]]
    api = FakeApi(answers)
    cluster = cluster_of(api, clock)
    for watch in cluster.watches * 4:
        clock.pass_by(watch.step())
    assert api.reconnects == 4
    assert {watch.lists for watch in cluster.watches} == {2}
    assert all(watch.synced for watch in cluster.watches)


def test_absence_means_something_only_when_all_was_listed(clock) -> None:
    api = FakeApi({"pods": [listing("7"), [{"type": "BOOKMARK", "object": {}}]]})
    cluster = cluster_of(api, clock)
    for watch in cluster.watches:
        watch.step()
    cluster.refresh()
    assert not cluster.is_ready()
    assert peer(cluster, "192.0.2.1", 443) == Peer("unknown")
    clock.pass_by(GRACE_SECONDS)
    assert cluster.is_ready()
    assert peer(cluster, "192.0.2.1", 443) == Peer("unknown")


def test_a_missing_permission_does_not_hold_up_the_rest(clock) -> None:
    answers = recordings.answers() | {"nodes": [Forbidden("403 nodes is forbidden")]}
    cluster = cluster_of(FakeApi(answers), clock)
    for watch in cluster.watches:
        watch.step()
    cluster.refresh()
    assert cluster.is_ready()
    assert peer(cluster, "10.244.0.5", 3306) == Peer("pod", "shop", "db-0", "zone-a")
    assert cluster.status()["nodes"]["error"] == "403 nodes is forbidden"


def test_the_threads_end_when_told(clock) -> None:
    cluster = cluster_of(FakeApi({resource: [ClusterError("away")] for resource in recordings.RESOURCES}), clock)
    cluster.start()
    cluster.stop()
    for thread in cluster.threads:
        thread.join(5)
        assert not thread.is_alive()
