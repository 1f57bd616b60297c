"""Is every change of a mode told once, with the file, its mode before and after, and what became of it?

Witnesses: stat(2) before and after each, chmod(1), its results.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.applications import PROGRAMS
from tests.support.cgroups import Cgroup
from tests.support.watching import ALL, Watching, watching

from agent.collectors.chmod import Chmod
from agent.security.orders import Watch

Place = Callable[..., Cgroup]

NOBODY = 65534
NO_FOLLOW, EMPTY_PATH = 0x100, 0x1000
"""uapi/linux/fcntl.h: AT_*"""

FLOOD, BURST = 499, 7
CALLS = ("chmod", "fchmod", "fchmodat", "fchmodat2")


@pytest.fixture(scope="module")
def watched() -> Iterator[Watching]:
    with watching(Chmod()) as running:
        yield running


@pytest.fixture
def workload(place: Place, watched: Watching) -> Cgroup:
    cgroup = place("modes")
    watched.watch("chmod", cgroup, names=[ALL])
    return cgroup


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "program"
    path.touch(0o755)
    return path


@pytest.fixture(scope="module")
def knows_all(watched: Watching) -> bool:
    """Where the kernel has function tracing, all calls have their files and old modes; else fchmod alone."""
    return "fexit/chmod_common" in watched.outcome("chmod").hooks


def changed(workload: Cgroup, *asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the program says of each: call, path, old, new, error."""
    done = workload.run([sys.executable, "-I", str(PROGRAMS / "modes.py"), json.dumps(asked)])
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def test_each_of_the_four_calls_that_sets_setuid_is_told_with_both_modes(
    watched: Watching, workload: Cgroup, tmp_path: Path, knows_all: bool
) -> None:
    files = [tmp_path / call for call in CALLS]
    for each in files:
        each.touch(0o755)
    said = changed(workload, *({"call": each.name, "path": str(each), "mode": 0o4755} for each in files))
    assert [(each["old"], each["new"], each["error"]) for each in said] == [("0755", "4755", "")] * 4
    told = watched.told("chmod")
    assert [event["bpfleet.syscall.name"] for event in told] == list(CALLS)
    assert [event["file.path"] for event in told] == [str(each) for each in files]
    assert [event["file.mode"] for event in told] == ["4755"] * 4
    assert [event["bpfleet.file.is_setuid"] for event in told] == [True] * 4
    assert [event["bpfleet.file.is_setgid"] for event in told] == [False] * 4
    known = [call for call, event in zip(CALLS, told, strict=True) if event.get("bpfleet.file.mode.old") == "0755"]
    assert known == (list(CALLS) if knows_all else ["fchmod"])
    assert all("error.type" not in event for event in told)


def test_what_was_set_before_is_not_set_again(watched: Watching, workload: Cgroup, file: Path) -> None:
    file.chmod(0o6755)
    said = changed(
        workload,
        {"call": "fchmod", "path": str(file), "mode": 0o6711},
        {"call": "fchmod", "path": str(file), "mode": 0o755},
        {"call": "fchmod", "path": str(file), "mode": 0o2755},
    )
    told = watched.told("chmod")
    assert [event["bpfleet.file.mode.old"] for event in told] == [each["old"] for each in said]
    assert [event["file.mode"] for event in told] == [each["new"] for each in said] == ["6711", "0755", "2755"]
    assert [event["bpfleet.file.is_setuid"] for event in told] == [False, False, False]
    assert [event["bpfleet.file.is_setgid"] for event in told] == [False, False, True]


def test_relative_names_have_their_directory(watched: Watching, workload: Cgroup, tmp_path: Path, file: Path) -> None:
    folder = str(tmp_path)
    said = changed(
        workload,
        {"call": "fchmodat", "path": file.name, "directory": folder, "mode": 0o4711},
        {"call": "fchmodat2", "path": file.name, "directory": folder, "mode": 0o700, "flags": NO_FOLLOW},
        {"call": "fchmodat2", "path": "", "directory": str(file), "mode": 0o4700, "flags": EMPTY_PATH},
    )
    assert [each["error"] for each in said] == [""] * 3
    told = watched.told("chmod")
    assert [event["file.path"] for event in told] == [str(file)] * 3
    assert [event["file.mode"] for event in told] == ["4711", "0700", "4700"]
    workload.run(["sh", "-c", f"cd {folder} && exec chmod u+s {file.name}"])
    (event,) = watched.told("chmod")
    assert (event["file.path"], event["process.executable.name"]) == (str(file), "chmod")
    assert event["file.mode"] == "4700" == f"{stat.S_IMODE(file.stat().st_mode):o}"


def test_a_change_that_fails_is_told_with_its_error(watched: Watching, workload: Cgroup, file: Path) -> None:
    said = changed(
        workload,
        {"call": "fchmod", "path": str(file), "mode": 0o4777, "as": NOBODY},
        *({"call": call, "path": "/proc/self/status", "mode": 0o4777} for call in CALLS),
    )
    assert [each["error"] for each in said] == ["EPERM"] * 5
    told = watched.told("chmod")
    assert [event["error.type"] for event in told] == ["EPERM"] * 5
    assert [event["file.mode"] for event in told] == ["4777"] * 5
    assert [event["process.user.id"] for event in told] == [NOBODY, *[0] * 4]
    assert stat.S_IMODE(file.stat().st_mode) == 0o755


def test_only_names_that_are_asked_for_are_told(
    watched: Watching, workload: Cgroup, tmp_path: Path, file: Path
) -> None:
    watched.watch("chmod", workload, names=[b"wanted"])
    wanted = tmp_path / "wanted" / "inner"
    wanted.mkdir(parents=True)
    (wanted / "file").touch()
    for call in CALLS:
        changed(workload, {"call": call, "path": str(file), "mode": 0o700})
        assert watched.told("chmod") == []
        changed(workload, {"call": call, "path": str(wanted / "file"), "mode": 0o700})
        assert [event["file.path"] for event in watched.told("chmod")] == [str(wanted / "file")]
    changed(workload, {"call": "fchmodat", "path": "file", "directory": str(wanted), "mode": 0o711})
    assert [event["file.path"] for event in watched.told("chmod")] == [str(wanted / "file")]


def test_bytes_of_any_kind_in_a_name_are_told_as_they_are(watched: Watching, workload: Cgroup, tmp_path: Path) -> None:
    name = b"\xff\x1b]0;owned\x07\n"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    for call in ("chmod", "fchmod"):
        changed(workload, {"call": call, "path": str(tmp_path) + "/" + os.fsdecode(name), "mode": 0o4755})
    told = [event["file.path"] for event in watched.told("chmod")]
    assert told == [f"{tmp_path}/" + name.decode(errors="backslashreplace")] * 2


def test_32_bit_calls_are_told_as_well(watched: Watching, workload: Cgroup, tmp_path: Path, file: Path) -> None:
    program = tmp_path / "int80"
    subprocess.run(["cc", "-O1", "-o", str(program), str(PROGRAMS / "int80.c")], check=True)
    _, changes, _ = workload.run([str(program), str(file), "4711", "1"], check=False).stdout.split()
    assert changes == "0"
    (event,) = watched.told("chmod")
    assert (event["file.path"], event["file.mode"]) == (str(file), "4711")
    assert event["bpfleet.syscall.name"] == "chmod"


def test_who_is_not_watched_is_not_told(watched: Watching, workload: Cgroup, place: Place, file: Path) -> None:
    before = watched.books("chmod").seen
    for call in CALLS:
        changed(place("neighbour"), {"call": call, "path": str(file), "mode": 0o4755})
    assert watched.told("chmod") == []
    assert watched.books("chmod").seen == before


def test_what_a_bucket_refuses_is_counted(watched: Watching, workload: Cgroup, file: Path) -> None:
    watched.watch("chmod", workload, names=[ALL], by=Watch(per_second=1, burst=BURST))
    watched.suppressed("chmod")
    before = watched.books("chmod")
    workload.run([sys.executable, "-I", "-c", f"import os\nfor _ in range({FLOOD}): os.chmod({str(file)!r}, 0o4755)"])
    told = watched.told("chmod")
    after = watched.books("chmod")
    refused = after.lost["rate_limit"] - before.lost["rate_limit"]
    assert after.balanced
    assert after.seen - before.seen == FLOOD == len(told) + refused
    assert BURST <= len(told) < 2 * BURST
    assert watched.suppressed("chmod") == {workload.path.stat().st_ino: refused}
