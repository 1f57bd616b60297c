import copy
from collections.abc import Callable
from typing import Any

import pytest

from agent.identity import addresses
from agent.identity.listings import Json
from agent.identity.model import Peer
from agent.identity.pods import MAX_LABELS, Marks, Pods
from agent.identity.runtimes import ContainerRef

UID = "0c2d5a9e-6f0b-4a52-9d6e-3b1f7c8a9d10"
IDS = [digit * 64 for digit in "abcdef"]

POD: Json = {
    "metadata": {"name": "debug", "namespace": "shop", "uid": UID, "creationTimestamp": "2026-11-21T14:30:02Z"},
    "spec": {"nodeName": "node0", "containers": [{"name": "shell", "image": "debian:13"}]},
    "status": {
        "phase": "Running",
        "podIPs": [{"ip": "10.244.0.8"}, {"ip": "fd00::8"}],
        "containerStatuses": [
            {
                "name": "shell",
                "image": "sha256:0123",
                "containerID": f"containerd://{IDS[0]}",
                "lastState": {"terminated": {"containerID": f"containerd://{IDS[1]}"}},
            }
        ],
    },
}


def changed(**sections: dict[str, Any]) -> Json:
    item = copy.deepcopy(POD)
    for section, values in sections.items():
        item[section].update(values)
    return item


def ref(container_id: str = "", uid: str = UID) -> ContainerRef:
    return ContainerRef("containerd", container_id, uid, "burstable")


@pytest.fixture
def pods(clock: Callable[[], float]) -> Pods:
    return Pods(clock, keep_seconds=300)


def test_a_container_is_known_by_its_id_and_so_is_the_one_before_it(pods: Pods) -> None:
    pods.put(POD)
    for container_id in IDS[:2]:
        owner = pods.owner(ref(container_id))
        assert owner and owner.settled
        assert owner.labels == ("shop", "debug", "shell", "debug", "Pod")
        assert (owner.image, owner.node, owner.key) == ("debian:13", "node0", container_id)


def test_the_pods_own_cgroup_has_no_container(pods: Pods) -> None:
    pods.put(POD)
    owner = pods.owner(ref())
    assert owner and owner.settled and owner.labels == ("shop", "debug", "", "debug", "Pod")


def test_a_container_that_the_api_has_not_told_of_is_not_settled(pods: Pods) -> None:
    pods.put(POD)
    owner = pods.owner(ref(IDS[2]))
    assert owner and not owner.settled and owner.labels == ("shop", "debug", "", "debug", "Pod")
    assert pods.owner(ref(IDS[2], uid="1" * 32)) is None


def test_init_and_ephemeral_containers_are_containers(pods: Pods) -> None:
    statuses = [
        {"name": name, "containerID": f"cri-o://{container_id}"}
        for name, container_id in zip("ie", IDS[3:], strict=False)
    ]
    item = changed(
        status={"initContainerStatuses": statuses[:1], "ephemeralContainerStatuses": statuses[1:]},
        spec={
            "initContainers": [{"name": "i", "image": "one"}],
            "ephemeralContainers": [{"name": "e", "image": "two"}],
        },
    )
    pods.put(item)
    owners = [pods.owner(ref(container_id)) for container_id in IDS[3:5]]
    assert [(owner.container, owner.image) for owner in owners if owner] == [("i", "one"), ("e", "two")]


def test_a_static_pod_is_known_by_the_hash_in_its_path(pods: Pods) -> None:
    config_hash = "8a1c2e3f4b5d6978a1c2e3f4b5d69780"
    owner_of = {"kind": "Node", "name": "node0", "controller": True}
    item = changed(
        metadata={
            "name": "etcd-node0",
            "annotations": {"kubernetes.io/config.hash": config_hash},
            "ownerReferences": [owner_of],
        }
    )
    pods.put(item)
    owner = pods.owner(ref(IDS[5], uid=config_hash))
    assert owner and owner.labels == ("shop", "etcd-node0", "", "etcd", "StaticPod")


def test_a_pod_cannot_take_anothers_place_by_an_annotation(pods: Pods) -> None:
    pods.put(POD)
    thief = {"name": "thief", "namespace": "lab", "uid": "7", "annotations": {"kubernetes.io/config.hash": UID}}
    pods.put(changed(metadata=thief, status={"containerStatuses": []}))
    for container_id in ("", IDS[3]):
        owner = pods.owner(ref(container_id))
        assert owner and owner.labels[:2] == ("shop", "debug")


def test_a_pod_that_ended_is_known_for_five_minutes(pods: Pods, clock) -> None:
    pods.put(POD)
    pods.remove(POD)
    clock.pass_by(300)
    pods.refresh()
    assert pods.owner(ref(IDS[0])) and pods.owner(ref()) and not len(pods) and not pods.peers()
    clock.pass_by(1)
    pods.refresh()
    assert pods.owner(ref(IDS[0])) is None and pods.owner(ref()) is None


def test_a_list_ends_the_pods_that_are_not_in_it(pods: Pods, clock) -> None:
    pods.put(POD)
    pods.put(changed(metadata={"uid": "2" * 32}, status={"containerStatuses": None}))
    pods.keep({"2" * 32})
    assert len(pods) == 1
    clock.pass_by(301)
    pods.refresh()
    assert pods.owner(ref()) is None and pods.owner(ref(uid="2" * 32))


def test_a_pod_that_comes_back_under_its_name_has_another_uid(pods: Pods) -> None:
    pods.put(POD)
    pods.remove(POD)
    pods.put(changed(metadata={"uid": "2" * 32}, status={"containerStatuses": []}))
    old, new = pods.owner(ref()), pods.owner(ref(uid="2" * 32))
    assert old and new and old.key != new.key and old.labels == new.labels


def test_former_containers_of_a_pod_that_lives_are_forgotten_too(pods: Pods, clock) -> None:
    pods.put(POD)
    for container_id in IDS[2:4]:
        pods.put(changed(status={"containerStatuses": [{"name": "shell", "containerID": f"x://{container_id}"}]}))
    assert all(pods.owner(ref(container_id)).container == "shell" for container_id in IDS[:4])
    clock.pass_by(301)
    pods.refresh()
    assert [pods.owner(ref(container_id)).settled for container_id in IDS[:4]] == [False, False, False, True]


def test_addresses_belong_to_a_pod_that_runs_on_a_network_of_its_own(pods: Pods) -> None:
    pods.put(POD)
    peer = Peer("pod", "shop", "debug")
    assert pods.peers() == [(addresses.parse("10.244.0.8"), peer), (addresses.parse("fd00::8"), peer)]
    for item in (changed(status={"phase": "Succeeded"}), changed(spec={"hostNetwork": True})):
        pods.put(item)
        assert pods.peers() == []


HOSTILE = ["a\nb", 'a"b\\', "\x1b[31m", "\x00", "‮", "a" * 5000, "{}", "';--", "\ud800", "𝕏", ""]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_what_they_are_and_can_be_encoded(pods: Pods, name: str) -> None:
    pods.put(
        changed(
            metadata={"name": name, "namespace": name},
            spec={"containers": [{"name": name, "image": name}]},
            status={"containerStatuses": [{"name": name, "containerID": f"x://{IDS[0]}"}]},
        )
    )
    owner = pods.owner(ref(IDS[0]))
    assert owner
    for value in (*owner.labels[:4], owner.image):
        assert value.encode("utf-8").decode("utf-8") == value
        assert value == name[:1024].replace("\ud800", "\\ud800")


def test_a_pods_labels_and_our_annotations_are_kept_as_they_are_now(pods: Pods) -> None:
    ours = {"bpfleet.io/security": "on", "other.io/x": "y"}
    pods.put(changed(metadata={"labels": {"app": "web"}, "annotations": ours}))
    assert pods.marks(UID) == Marks({"app": "web"}, {"bpfleet.io/security": "on"})
    before = pods.version
    pods.put(changed(metadata={"labels": {"app": "db"}}))
    assert pods.marks(UID) == Marks({"app": "db"}, {}) and pods.version > before
    assert pods.marks("nobody") == Marks({}, {})


def test_labels_without_number_are_bounded(pods: Pods) -> None:
    pods.put(changed(metadata={"labels": {f"label-{number:04}": "x" * 5000 for number in range(1000)}}))
    labels = pods.marks(UID).labels
    assert len(labels) == MAX_LABELS and max(map(len, labels.values())) <= 1024
