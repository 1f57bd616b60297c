import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.identity.cgroups import AUDIT_SECONDS, RESCAN_SECONDS, CgroupTree


def make(root: Path, path: str) -> int:
    directory = root / path.lstrip("/")
    directory.mkdir(parents=True)
    return directory.stat().st_ino


@pytest.fixture
def tree(tmp_path: Path, clock: Callable[[], float]) -> CgroupTree:
    return CgroupTree(tmp_path, clock, keep_seconds=300)


def test_ids_are_the_inode_numbers_of_directories(tmp_path: Path, tree: CgroupTree) -> None:
    deep = make(tmp_path, "/kubepods/burstable/pod1/abc")
    assert tree.path(deep) == "/kubepods/burstable/pod1/abc"
    assert tree.path(tmp_path.stat().st_ino) == "/"


def test_a_cgroup_that_lived_for_a_moment_is_known_from_the_kernels_messages(tree: CgroupTree) -> None:
    tree.made(77, b"/jobs/short")
    tree.removed(77)
    assert tree.path(77) == "/jobs/short"
    assert 77 not in tree.living()


def test_a_removed_cgroup_is_known_for_five_minutes(tree: CgroupTree, clock) -> None:
    tree.made(77, "/jobs/short")
    tree.removed(77)
    clock.pass_by(300)
    tree.refresh()
    assert tree.path(77) == "/jobs/short"
    clock.pass_by(1)
    tree.refresh()
    assert tree.path(77) is None


def test_a_name_that_is_used_again_belongs_to_both_ids(tree: CgroupTree) -> None:
    for cgroup_id in range(100, 123):
        tree.made(cgroup_id, "/jobs/again")
        tree.removed(cgroup_id)
    assert {tree.path(cgroup_id) for cgroup_id in range(100, 123)} == {"/jobs/again"}


def test_an_id_that_is_used_again_has_its_new_name(tree: CgroupTree) -> None:
    tree.made(77, "/jobs/old")
    tree.removed(77)
    tree.made(77, "/jobs/new")
    assert tree.path(77) == "/jobs/new"
    assert 77 in tree.living()


def test_an_unknown_id_causes_one_scan_a_second(tmp_path: Path, tree: CgroupTree, clock) -> None:
    assert tree.path(10**9) is None
    late = make(tmp_path, "/late")
    assert tree.path(late) is None
    clock.pass_by(RESCAN_SECONDS)
    assert tree.path(late) == "/late"


def test_a_look_up_without_a_scan_reads_nothing(tmp_path: Path, tree: CgroupTree) -> None:
    cgroup_id = make(tmp_path, "/quiet")
    assert tree.path(cgroup_id, scan=False) is None


def test_lost_messages_are_made_good_by_a_scan(tmp_path: Path, tree: CgroupTree, clock) -> None:
    gone = make(tmp_path, "/gone")
    tree.scan()
    new = make(tmp_path, "/new")
    (tmp_path / "gone").rmdir()
    clock.pass_by(AUDIT_SECONDS)
    tree.refresh()
    assert set(tree.living()) == {tmp_path.stat().st_ino, new}
    assert tree.path(gone) == "/gone"


def test_a_mount_inside_a_cgroup_namespace_learns_what_to_leave_out(tmp_path: Path, tree: CgroupTree) -> None:
    cgroup_id = make(tmp_path, "/kubelet.slice/pods")
    tree.made(5, "/docker/abc/kubelet.slice/too-short-lived")
    tree.made(cgroup_id, "/docker/abc/kubelet.slice/pods")
    tree.made(6, "/docker/abc/kubelet.slice/short-lived")
    tree.made(7, "/docker/abcdef/elsewhere")
    assert tree.path(cgroup_id) == "/kubelet.slice/pods"
    assert tree.path(6) == "/kubelet.slice/short-lived"
    assert tree.path(7) == "/docker/abcdef/elsewhere"


def test_names_that_are_not_utf8_stay_visible_and_can_be_encoded(tmp_path: Path, tree: CgroupTree) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/bad\xff\nname")
    cgroup_id = os.stat(os.fsencode(tmp_path) + b"/bad\xff\nname").st_ino
    assert tree.path(cgroup_id) == "/bad\\xff\nname"
    tree.made(8, b"/bad\xff\x00name")
    assert tree.path(8) == "/bad\\xff\x00name"


def test_a_root_that_is_not_there_has_no_cgroups(tmp_path: Path, clock: Callable[[], float]) -> None:
    tree = CgroupTree(tmp_path / "absent", clock)
    assert tree.path(42) is None
    tree.refresh()
