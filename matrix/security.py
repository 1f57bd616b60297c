"""In a guest: file_open, chmod and ptrace without an agent, by the functions of the kernel and by its system calls, and
whether they tell what programs say that they did."""

import json
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.applications import PROGRAMS
from tests.support.cgroups import Cgroup
from tests.support.watching import ALL, Watching, watching

from agent.collectors.chmod import Chmod
from agent.collectors.file_open import FileOpen
from agent.collectors.ptrace import Ptrace
from agent.kernel import facts
from bpfleet.api import AnyOf, Collector, Probe, TracingFunction

COLLECTORS = (FileOpen, Chmod, Ptrace)
ORDINARY = 10_000
MANY = f"import os\nfor _ in range({ORDINARY}): os.close(os.open('/etc/hostname', 0))"
SOCKET = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
    server.bind(sys.argv[1])
    server.listen()
    client.connect(sys.argv[1])
"""
OPENAT2_RESOLVES = 8
NOBODY = 65534

FCHMODAT2_IS_THERE = (6, 6)
IO_URING_IS_TOLD = (6, 3)
"""Without function tracing; with it, from 5.12 on: before, a thread of the kernel's own did it."""


class Row(NamedTuple):
    """As matrix.load.Check has it: what was told, and what the witness says."""

    collector: str
    what: str
    counted: float
    witness: float


def by_system_calls(kind: type[Collector]) -> type[Collector]:
    """The same on a kernel without function tracing."""
    probes: list[Probe | AnyOf] = []
    for one in kind.probes:
        if isinstance(one, AnyOf):
            kept = tuple(each for each in one.probes if not isinstance(each, TracingFunction))
            probes += [replace(one, probes=kept)] if kept else []
        else:
            probes.append(one)
    return type(kind.__name__, (kind,), {"probes": tuple(probes), "__module__": kind.__module__})


def compare() -> tuple[dict[str, list[str]], list[Row]]:
    """Hooks in use, by collector, and every check."""
    hooks: dict[str, list[str]] = {kind.name: [] for kind in COLLECTORS}
    rows = []
    for kinds, how in ((COLLECTORS, ""), (tuple(map(by_system_calls, COLLECTORS)), ", by its number")):
        used, found = compare_with(*(kind() for kind in kinds))
        rows += [row._replace(what=row.what + how) for row in found]
        for name, each in used.items():
            hooks[name] += each
    return hooks, rows


def compare_with(*collectors: Collector) -> tuple[Mapping[str, Sequence[str]], list[Row]]:
    with watching(*collectors) as watched, Cgroup("watched") as place, Cgroup("other") as other:
        with tempfile.TemporaryDirectory() as folder:
            rows = [*_opens(watched, place, Path(folder)), *_modes(watched, place, Path(folder))]
        rows += _traces(watched, place, other)
        for kind in COLLECTORS:
            books = watched.books(kind.name)
            rows.append(
                Row(kind.name, "seen = delivered + lost", books.delivered + sum(books.lost.values()), books.seen)
            )
        return {kind.name: watched.outcome(kind.name).hooks for kind in COLLECTORS}, rows


def said_by(place: Cgroup, program: str, *arguments: str) -> Any:
    return json.loads(place.run([sys.executable, "-I", str(PROGRAMS / program), *arguments]).stdout)


def _opens(watched: Watching, place: Cgroup, folder: Path) -> Iterator[Row]:
    file, inner = folder / "shadow", folder / "inner"
    file.touch()
    inner.mkdir()
    (folder / "link").symlink_to("shadow")
    watched.watch("file_open", place, names=[b"shadow"])
    asked: list[Mapping[str, Any]] = [
        {"call": "open", "path": str(file)},
        {"call": "creat", "path": str(inner / "shadow")},
        {"call": "openat", "path": "../link", "directory": str(inner)},
        {"call": "openat", "path": f"{folder}/./inner/../shadow"},
        {"call": "openat2", "path": "shadow", "directory": str(folder), "resolve": OPENAT2_RESOLVES},
        {"call": "openat", "path": "shadow", "cwd": "/tmp"},
        {"call": "openat", "path": "/etc/shadow", "as": NOBODY},
    ]
    said = said_by(place, "opens.py", json.dumps(asked))
    told = watched.told("file_open")
    wanted = [(each["path"] if not each["error"] else "", each["error"]) for each in said]
    found = [("" if "error.type" in event else event["file.path"], event.get("error.type", "")) for event in told]
    yield Row("file_open", "opens by true path and result", matches(found, wanted), len(wanted))
    yield Row("file_open", "opens that are told", len(told), len(wanted))
    place.run([sys.executable, "-I", "-c", MANY])
    yield Row("file_open", f"of {ORDINARY} ordinary opens", len(watched.told("file_open")), 0)
    socket = inner / "shadow"
    socket.unlink()
    place.run([sys.executable, "-I", "-c", SOCKET, str(socket)])
    found = [event["file.path"] for event in watched.told("file_open")]
    yield Row("file_open", "a socket that is connected to", matches(found, [str(socket)]), 1)
    traced = any(hook.startswith("fexit/") for hook in watched.outcome("file_open").hooks)
    if facts.version(platform.release()) >= ((5, 12) if traced else IO_URING_IS_TOLD):
        (opened,) = said_by(place, "uring.py", str(file))
        told = [event["file.path"] for event in watched.told("file_open")]
        yield Row("file_open", "opened by io_uring", matches(told, [opened]), 1)


def _modes(watched: Watching, place: Cgroup, folder: Path) -> Iterator[Row]:
    calls = ["chmod", "fchmod", "fchmodat"]
    calls += ["fchmodat2"] if facts.version(platform.release()) >= FCHMODAT2_IS_THERE else []
    watched.watch("chmod", place, names=[ALL])
    asked = []
    for call in calls:
        (folder / call).touch(0o755)
        asked.append({"call": call, "path": str(folder / call), "mode": 0o4755})
    said = said_by(place, "modes.py", json.dumps(asked))
    traced = "fexit/chmod_common" in watched.outcome("chmod").hooks
    known = calls if traced else ["fchmod"]
    wanted = [(each["path"], each["old"] if each["call"] in known else "", each["new"], True) for each in said]
    found = [
        (
            event["file.path"],
            event.get("bpfleet.file.mode.old", ""),
            event["file.mode"],
            event["bpfleet.file.is_setuid"],
        )
        for event in watched.told("chmod")
    ]
    yield Row(
        "chmod",
        f"{len(calls)} calls that set setuid, by path and {'both modes' if traced else 'mode'}",
        matches(found, wanted),
        len(calls),
    )


def _traces(watched: Watching, place: Cgroup, other: Cgroup) -> Iterator[Row]:
    watched.watch("ptrace", place)
    process = other.start([sys.executable, "-I", "-c", "print('up', flush=True); input()"], ready="up")
    for request in ("attach", "seize", "traceme"):
        said = said_by(place, "traces.py", request, str(process.pid))
        told = [
            (
                event["bpfleet.ptrace.request"],
                event["process.pid"],
                event["bpfleet.ptrace.target.pid"],
                event["bpfleet.ptrace.target.cgroup_id"],
            )
            for event in watched.told("ptrace")
        ]
        whom = (said["pid"], place) if request == "traceme" else (process.pid, other)
        wanted = [(request, said["pid"], whom[0], whom[1].path.stat().st_ino)]
        yield Row("ptrace", f"{request}: who traces whom", matches(told, wanted), 1)


def matches(found: Sequence[Any], wanted: Sequence[Any]) -> int:
    """How many are as they should be, in their order; what is there beside them is one too many."""
    return sum(map(lambda one, other: one == other, found, wanted)) - max(0, len(found) - len(wanted))


if __name__ == "__main__":
    in_use, checks = compare()
    print(json.dumps({"hooks": in_use, "checks": [row._asdict() for row in checks]}))
