import random

import pytest
from tests.unit.security.process_records import CGROUP_ID, PARTS, TIME_NS, process

from agent.security import processes
from agent.security.processes import CUT, EXECUTABLE, HAS_MORE_ANCESTORS, SCRIPT, Part


def test_a_process_is_told_with_its_file_and_its_parents() -> None:
    told = processes.decode(process() + b"rest")
    assert (told.time_ns, told.cgroup_id, told.rest) == (TIME_NS, CGROUP_ID, b"rest")
    assert told.attributes == {
        "process.pid": 4_001,
        "process.vpid": 7,
        "process.parent_pid": 4_000,
        "process.user.id": 1_000,
        "process.executable.path": "/usr/bin/dash",
        "process.executable.name": "dash",
        "bpfleet.process.parent.name": "nginx",
        "bpfleet.process.ancestors": "nginx < containerd-shim < systemd",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert set(processes.decode(process({})).attributes) == {
        *("process.pid", "process.vpid", "process.parent_pid", "process.user.id")
    }
    assert processes.decode(process({EXECUTABLE: ()})).attributes == processes.decode(process({})).attributes


def test_flags_are_told_where_they_are_true() -> None:
    attributes = processes.decode(process(flags=0b1111)).attributes
    for name in ("is_init", "is_entered", "is_in_memory", "is_deleted"):
        assert attributes[f"bpfleet.process.{name}"] is True
    assert not [name for name in processes.decode(process()).attributes if ".is_" in name]


def test_more_ancestors_than_are_told_are_dots() -> None:
    told = processes.decode(process(flags=HAS_MORE_ANCESTORS))
    assert told.attributes["bpfleet.process.ancestors"] == "nginx < containerd-shim < systemd < ..."


@pytest.mark.parametrize(
    "part, path",
    [
        (Part((b"c", b"b", b"a")), "/a/b/c"),
        (Part(()), "/"),
        (Part((b"c", b"b", b"a"), is_cut=True), "/a/.../b/c"),
        (Part((b"c", b"b"), is_broken=True), ".../b/c"),
        (Part((), is_broken=True), ".../"),
        (Part((b"c", b"b", b"a"), is_cut=True, is_broken=True), ".../a/.../b/c"),
        (Part((b"\xff\x1b", "é".encode())), "/é/\\xff\x1b"),
    ],
)
def test_a_path_is_told_from_the_root(part: Part, path: str) -> None:
    assert part.path == path


def test_a_part_says_whether_something_of_it_is_left_out() -> None:
    told = processes.decode(process({EXECUTABLE | CUT: (b"b", b"a"), SCRIPT: (b"x",)}))
    assert told.parts == {EXECUTABLE: Part((b"b", b"a"), is_cut=True), SCRIPT: Part((b"x",))}
    assert told.parts[SCRIPT].text == "x"
    assert Part(()).text == ""


def test_a_record_that_is_cut_anywhere_is_refused() -> None:
    whole = process()
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"^a process (of|with) \d+"):
            processes.decode(whole[:length])
    processes.decode(whole)


def test_parts_of_any_bytes_are_read_to_their_end() -> None:
    chance = random.Random(23)
    fixed = process({})[:-4]
    for _ in range(60_000):
        data = chance.randbytes(chance.randrange(60)).replace(b"\x33", b"\0").replace(b"\x77", b"\0\0")
        told = processes.decode(fixed + len(data).to_bytes(4, "little") + data + b"end")
        assert told.rest == b"end"
        assert told.attributes["process.pid"] == 4_001
        texts = [text for part in told.parts.values() for text in part.texts]
        assert all(texts) and not any(b"\0" in text for text in texts)
        for part in told.parts.values():
            assert part.path.startswith(("/", "..."))


def test_the_kinds_of_parts_are_those_of_the_header() -> None:
    assert sorted(PARTS) == [1, 2]
    assert (processes.FILE, processes.GIVEN, processes.TARGET) == (6, 7, 8)
