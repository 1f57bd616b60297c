import struct

import pytest

from agent.collectors.cgroups import MAX_PATH_BYTES, Cgroups
from agent.kernel.door import KernelSettings, Loaded
from agent.kernel.fake import FakeDoor, FakeTables
from bpfleet.api import CgroupChange


def record(cgroup_id: int, removed: int, path: bytes, length: int | None = None) -> bytes:
    """`struct cgroup_event` of bpf/cgroups.bpf.c: what bpf_probe_read_kernel_str() leaves, with its final zero."""
    told = len(path) + 1 if length is None else length
    return struct.pack("=QIi512s", cgroup_id, removed, told, path)


def loaded(*records: bytes) -> Loaded:
    tables = FakeTables(rings={"cgroup_events": list(records)})
    return FakeDoor({"cgroups": tables}).load([Cgroups()], KernelSettings())


def events(*records: bytes) -> list[CgroupChange]:
    return list(Cgroups().cgroups(loaded(*records).maps("cgroups")))


def test_each_record_is_an_event_in_the_order_in_which_it_happened() -> None:
    assert events(record(23, 0, b"/kubepods/pod1"), record(23, 1, b"/kubepods/pod1")) == [
        CgroupChange(23, False, "/kubepods/pod1"),
        CgroupChange(23, True, "/kubepods/pod1"),
    ]


def test_what_stands_in_the_ring_behind_the_path_is_not_part_of_it() -> None:
    """Records are reserved, not cleared: old bytes follow the final zero."""
    assert events(record(23, 0, b"/new\0an older and longer path", length=5)) == [CgroupChange(23, False, "/new")]


def test_the_longest_path_that_fits_is_whole() -> None:
    path = b"/" + b"a" * (MAX_PATH_BYTES - 3)
    assert events(record(23, 0, path)) == [CgroupChange(23, False, path.decode())]


@pytest.mark.parametrize("length", [MAX_PATH_BYTES, 0, -14])
def test_a_path_that_was_cut_or_could_not_be_read_is_none(length: int) -> None:
    """A part of a path would be another cgroup's name. The kernel tells errors by negative numbers (-14 is EFAULT)."""
    path = b"/" + b"a" * (MAX_PATH_BYTES - 2)
    assert events(record(23, 0, path, length)) == [CgroupChange(23, False, None)]


def test_a_path_that_is_not_text_is_kept_readable() -> None:
    (event,) = events(record(23, 0, b"/caf\xe9"))
    assert event.path is not None and event.path.startswith("/caf") and len(event.path) > 4


def test_every_record_is_delivered_also_one_without_a_path() -> None:
    made = loaded(record(23, 0, b"/a"), record(29, 0, b"/b", MAX_PATH_BYTES), record(23, 1, b"/a"))
    list(Cgroups().cgroups(made.maps("cgroups")))
    assert made.delivered() == {"cgroup_events": 3}


def test_it_counts_nothing_itself() -> None:
    made = loaded(record(23, 0, b"/a"))
    assert list(Cgroups().collect(made.maps("cgroups"))) == []
    assert made.delivered() == {}
