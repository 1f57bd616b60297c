"""Paths by the formats of kubelet and runtimes; those of CAPTURED are of a real node (containerd, cgroupfs, hybrid)."""

import itertools

import pytest

from agent.identity.runtimes import ContainerRef, parse, whole_pod

UID = "0c2d5a9e-6f0b-4a52-9d6e-3b1f7c8a9d10"
ID = "4d2f" + "0123456789abcdef" * 3 + "aa55aa55aa55"
OUTER = "b" * 64
HASH = "8a1c2e3f4b5d6978a1c2e3f4b5d69780"

SLICES = {
    "guaranteed": "kubepods.slice/kubepods-pod{uid}.slice",
    "burstable": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice",
    "besteffort": "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice",
}
FOLDERS = {
    "guaranteed": "kubepods/pod{uid}",
    "burstable": "kubepods/burstable/pod{uid}",
    "besteffort": "kubepods/besteffort/pod{uid}",
}
IN_KIND = {
    "guaranteed": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid}.slice",
    "burstable": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
    "kubelet-kubepods-burstable-pod{uid}.slice",
    "besteffort": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
    "kubelet-kubepods-besteffort-pod{uid}.slice",
}
SYSTEMD = {"containerd": "cri-containerd-{id}.scope", "cri-o": "crio-{id}.scope", "docker": "docker-{id}.scope"}
CGROUPFS = {"": "{id}", "cri-o": "crio-{id}"}
PREFIXES = {
    "plain": "/",
    "kind under cgroupfs": f"/docker/{OUTER}/",
    "kind under systemd": f"/system.slice/docker-{OUTER}.scope/",
    "relative to a cgroup namespace": "/../../",
}


def grid() -> list[tuple[str, str, str]]:
    """path, runtime, QoS class"""
    systemd = [
        (slices[qos].format(uid=UID.replace("-", "_")) + "/" + name.format(id=ID), runtime, qos)
        for slices, (runtime, name), qos in itertools.product((SLICES, IN_KIND), SYSTEMD.items(), SLICES)
    ]
    cgroupfs = [
        (FOLDERS[qos].format(uid=UID) + "/" + name.format(id=ID), runtime, qos)
        for (runtime, name), qos in itertools.product(CGROUPFS.items(), FOLDERS)
    ]
    return [
        (prefix + path, runtime, qos)
        for prefix, (path, runtime, qos) in itertools.product(PREFIXES.values(), systemd + cgroupfs)
    ]


@pytest.mark.parametrize(("path", "runtime", "qos"), grid())
def test_a_container_of_a_pod_is_found_in_its_path(path: str, runtime: str, qos: str) -> None:
    assert parse(path) == ContainerRef(runtime, ID, UID, qos)


@pytest.mark.parametrize(("path", "runtime", "qos"), grid())
def test_what_a_container_makes_below_itself_is_its_own(path: str, runtime: str, qos: str) -> None:
    inner = f"/init.scope/kubepods/pod{'f' * 32}/{'9' * 64}"
    assert parse(path + inner) == ContainerRef(runtime, ID, UID, qos)


STANDALONE = {
    f"/docker/{ID}": ContainerRef("docker", ID),
    f"/system.slice/docker-{ID}.scope": ContainerRef("docker", ID),
    f"/docker/{ID}/system.slice/nginx.service": ContainerRef("docker", ID),
    f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope": ContainerRef("docker", ID),
    f"/system.slice/nerdctl-{ID}.scope": ContainerRef("containerd", ID),
    f"/machine.slice/libpod-{ID}.scope/container": ContainerRef("podman", ID),
    f"/libpod_parent/libpod-{ID}": ContainerRef("podman", ID),
}


@pytest.mark.parametrize(("path", "expected"), STANDALONE.items())
def test_a_container_without_kubernetes_has_no_pod(path: str, expected: ContainerRef) -> None:
    assert parse(path) == expected


def test_a_static_pod_has_a_hash_for_a_uid() -> None:
    assert parse(f"/kubepods/burstable/pod{HASH}/{ID}") == ContainerRef("", ID, HASH, "burstable")
    assert parse(
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{HASH}.slice/cri-containerd-{ID}.scope"
    ) == ContainerRef("containerd", ID, HASH, "burstable")


def test_containerd_without_systemd_under_a_kubelet_with_it_makes_one_directory() -> None:
    pod = f"kubepods-besteffort-pod{UID.replace('-', '_')}.slice"
    path = f"/system.slice/containerd.service/{pod}:cri-containerd:{ID}"
    assert parse(path) == ContainerRef("containerd", ID, UID, "besteffort")


def test_the_pods_own_cgroup_and_the_runtimes_helpers_have_no_container() -> None:
    pod = f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice"
    for path in (pod, f"{pod}/crio-conmon-{ID}.scope"):
        assert parse(path) == ContainerRef("", "", UID, "guaranteed")


CAPTURED = {
    "/kubepods/pod55281224-57aa-4ffc-a50b-76c8cb97a969/"
    "501246b44005a3ffe04f67f99bd2af1105871322d4b9431bff0a436d1147b9fa": "guaranteed",
    "/kubepods/burstable/podd6556dcb-28bc-47aa-99e3-6e7a24ef957b/"
    "0e1d3c4c6a3c20c1fba72b742a707d8c5bd782b8fb204a2ad8f0b822aafd8f10": "burstable",
    "/kubepods/besteffort/pod6263c85a-9e7d-4819-921f-4b92b92d33fa/"
    "89498619bcf1a750d17e118edb73c08bfdfc72b40cc5efc75e05ed56bf6bd4a3": "besteffort",
}


@pytest.mark.parametrize(("path", "qos"), CAPTURED.items())
def test_captured_paths_are_read(path: str, qos: str) -> None:
    *_, pod, container_id = path.split("/")
    assert parse(path) == ContainerRef("", container_id, pod.removeprefix("pod"), qos)


NO_CONTAINERS = [
    "/",
    "/kubepods",
    "/kubepods/burstable",
    "/kubepods.slice/kubepods-burstable.slice",
    "/system.slice/containerd.service",
    "/system.slice/docker.service",
    "/user.slice/user-1000.slice/session-3.scope",
    "/init.scope",
]


@pytest.mark.parametrize("path", NO_CONTAINERS)
def test_everything_else_is_no_container(path: str) -> None:
    assert parse(path) is None


NEAR_MISSES = [
    f"/{ID}",
    f"/kubepods/burstable/pod{UID[:-1]}/x",
    f"/kubepods/podcast/{ID}",
    f"/docker/{ID[:-1]}",
    f"/docker/{ID.upper()}",
    f"/docker/{ID}0",
    f"/system.slice/docker-{ID}.scope.d",
    f"/docker/{ID}\n",
    "/docker/" + "٣" * 64,
    "\x00/\ud800/pod",
    "/" * 5000,
]


@pytest.mark.parametrize("path", NEAR_MISSES)
def test_names_that_only_look_like_a_container_are_none(path: str) -> None:
    assert parse(path) is None


@pytest.mark.parametrize(("path", "runtime", "qos"), grid())
def test_all_of_a_pod_is_in_one_directory(path: str, runtime: str, qos: str) -> None:
    pod = path.rpartition("/")[0]
    assert whole_pod(path) == whole_pod(f"{path}/init.scope") == whole_pod(pod) == pod


def test_the_pod_of_a_joined_directory_has_its_name() -> None:
    slices = "/system.slice/kubepods-burstable-pod" + UID.replace("-", "_") + ".slice"
    assert whole_pod(f"{slices}:cri-containerd:{ID}") == slices


@pytest.mark.parametrize("path", ["/", "/system.slice/nginx.service", f"/docker/{ID}", "/pods/web"])
def test_what_is_in_no_pod_stays_as_it_is(path: str) -> None:
    assert whole_pod(path) == path
