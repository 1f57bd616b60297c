"""Is every process that looks into another one told, with who it is and into whom?

Witnesses: strace, gdb, the results of programs that trace.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.applications import PROGRAMS
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.watching import Watching, watching

from agent.collectors.ptrace import Ptrace
from agent.security.orders import Watch

Place = Callable[..., Cgroup]

NOBODY = 65534
NO_PROCESS = 4_194_303
"""The last id that there can be."""

FLOOD, BURST = 97, 5


@pytest.fixture(scope="module")
def watched() -> Iterator[Watching]:
    with watching(Ptrace()) as running:
        yield running


@pytest.fixture
def tracer(place: Place, watched: Watching) -> Cgroup:
    cgroup = place("tracer")
    watched.watch("ptrace", cgroup)
    return cgroup


@pytest.fixture
def tracee(place: Place) -> Cgroup:
    return place("tracee")


def sleeper(place: Cgroup) -> "subprocess.Popen[str]":
    """A process that is what it will be: the shell before it has another name."""
    return place.start([sys.executable, "-I", "-c", "print('up', flush=True); input()"], ready="up")


def traced(place: Cgroup, *arguments: object) -> dict[str, Any]:
    """What the program says: its process id, and the error."""
    done = place.run([sys.executable, "-I", str(PROGRAMS / "traces.py"), *map(str, arguments)])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def target(event: Mapping[str, Any]) -> dict[str, Any]:
    prefix = "bpfleet.ptrace.target."
    return {name.removeprefix(prefix): value for name, value in event.items() if name.startswith(prefix)}


def the_sleeper(process: "subprocess.Popen[str]", place: Cgroup, vpid: int = 0) -> dict[str, Any]:
    name = os.path.basename(os.path.realpath(sys.executable))
    cgroup_id = place.path.stat().st_ino
    return {"pid": process.pid, "vpid": vpid or process.pid, "cgroup_id": cgroup_id, "name": name}


@pytest.mark.parametrize("request_", ["attach", "seize"])
def test_who_traces_and_who_is_traced_are_told(
    watched: Watching, tracer: Cgroup, tracee: Cgroup, request_: str
) -> None:
    process = sleeper(tracee)
    said = traced(tracer, request_, process.pid)
    (whole,) = watched.events("ptrace")
    event = whole.attributes
    assert whole.cgroup_id == tracer.path.stat().st_ino
    assert said == {"pid": event["process.pid"], "error": ""}
    assert event["bpfleet.ptrace.request"] == request_
    assert event["process.executable.path"] == os.path.realpath(sys.executable)
    assert target(event) == the_sleeper(process, tracee)
    assert "error.type" not in event


def test_who_asks_to_be_traced_is_told_with_its_parent(watched: Watching, tracer: Cgroup) -> None:
    said = traced(tracer, "traceme")
    (event,) = watched.told("ptrace")
    assert event["bpfleet.ptrace.request"] == "traceme"
    assert event["process.pid"] == said["pid"] == event["bpfleet.ptrace.target.pid"]
    assert event["process.parent_pid"] == os.getpid()
    assert event["bpfleet.ptrace.target.cgroup_id"] == tracer.path.stat().st_ino


@needs("strace")
def test_strace_of_a_running_process_is_told(watched: Watching, tracer: Cgroup, tracee: Cgroup) -> None:
    process = sleeper(tracee)
    strace = tracer.start(["strace", "-p", str(process.pid)], stderr=subprocess.PIPE)
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline()
    (event,) = [each for each in watched.told("ptrace") if target(each).get("pid") == process.pid]
    assert event["process.executable.name"] == "strace"
    assert event["bpfleet.ptrace.request"] == "seize"
    assert target(event) == the_sleeper(process, tracee)


@needs("gdb")
def test_gdb_at_a_running_process_is_told(watched: Watching, tracer: Cgroup, tracee: Cgroup) -> None:
    process = sleeper(tracee)
    quick = ["-nx", "-batch", "-iex", "set auto-load off", "-iex", "set auto-solib-add off"]
    tracer.run(["gdb", *quick, "-p", str(process.pid)], check=False)
    (event,) = [each for each in watched.told("ptrace") if target(each).get("pid") == process.pid]
    assert event["process.executable.name"] == "gdb"
    assert event["bpfleet.ptrace.request"] == "attach"
    assert target(event) == the_sleeper(process, tracee)


def test_attempts_that_fail_are_told_with_whom_they_were_for(watched: Watching, tracer: Cgroup, tracee: Cgroup) -> None:
    process = sleeper(tracee)
    assert traced(tracer, "attach", process.pid, NOBODY)["error"] == "EPERM"
    (event,) = watched.told("ptrace")
    assert (event["error.type"], event["process.user.id"]) == ("EPERM", NOBODY)
    assert target(event) == the_sleeper(process, tracee)
    assert traced(tracer, "seize", NO_PROCESS)["error"] == "ESRCH"
    (event,) = watched.told("ptrace")
    assert event["error.type"] == "ESRCH"
    assert target(event) == {"vpid": NO_PROCESS}


def test_ids_of_a_pid_namespace_are_those_of_the_machine(watched: Watching, tracer: Cgroup) -> None:
    inside = f"sleep 60 & {sys.executable} -I {PROGRAMS / 'traces.py'} attach $!; echo $!; kill $!"
    done = tracer.run(["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", inside])
    vpid = int(done.stdout.splitlines()[1])
    (event,) = watched.told("ptrace")
    assert "error.type" not in event
    assert event["bpfleet.ptrace.target.vpid"] == vpid < 100
    assert event["bpfleet.ptrace.target.pid"] > vpid
    assert event["process.vpid"] < 100 < event["process.pid"]
    assert event["bpfleet.ptrace.target.cgroup_id"] == tracer.path.stat().st_ino


def test_32_bit_calls_are_told_as_well(watched: Watching, tracer: Cgroup, tracee: Cgroup, tmp_path: Path) -> None:
    program, process = tmp_path / "int80", sleeper(tracee)
    subprocess.run(["cc", "-O1", "-o", str(program), str(PROGRAMS / "int80.c")], check=True)
    (tmp_path / "file").touch()
    done = tracer.run([str(program), str(tmp_path / "file"), "0600", str(process.pid)], check=False)
    assert done.stdout.split()[2] == "0"
    (event,) = watched.told("ptrace")
    assert event["bpfleet.ptrace.request"] == "seize"
    assert target(event) == the_sleeper(process, tracee)


def test_who_is_not_watched_is_not_told(watched: Watching, tracer: Cgroup, tracee: Cgroup, place: Place) -> None:
    before = watched.books("ptrace").seen
    traced(place("neighbour"), "seize", sleeper(tracee).pid)
    assert watched.told("ptrace") == []
    assert watched.books("ptrace").seen == before


def test_what_a_bucket_refuses_is_counted(watched: Watching, tracer: Cgroup) -> None:
    watched.watch("ptrace", tracer, by=Watch(per_second=1, burst=BURST))
    watched.suppressed("ptrace")
    before = watched.books("ptrace")
    attach = "import ctypes\nlibc = ctypes.CDLL(None)\n"
    tracer.run([sys.executable, "-I", "-c", f"{attach}for _ in range({FLOOD}): libc.ptrace(16, {NO_PROCESS}, 0, 0)"])
    told = watched.told("ptrace")
    after = watched.books("ptrace")
    refused = after.lost["rate_limit"] - before.lost["rate_limit"]
    assert after.balanced
    assert after.seen - before.seen == FLOOD == len(told) + refused
    assert BURST <= len(told) < 2 * BURST
    assert watched.suppressed("ptrace") == {tracer.path.stat().st_ino: refused}
