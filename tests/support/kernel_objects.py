"""Which BPF programs, maps and links exist, and who holds them: bpftool as the witness."""

import contextlib
import json
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

KINDS = ("prog", "map", "link")


class Object(NamedTuple):
    """The kernel never gives an id twice."""

    kind: str
    number: int


def all_objects() -> set[Object]:
    found = set()
    for kind in KINDS:
        # bpftool cannot name the holders where the kernel lacks what its own iterator needs; ids alone will do.
        said = subprocess.run(["bpftool", "--json", kind, "show"], capture_output=True, text=True, check=True).stdout
        found |= {Object(kind, one["id"]) for one in json.loads(said or "[]")}
    return found


def processes(container: str) -> list[Path]:
    """Of a container on this machine."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):
            if container in each.read_text():
                found.append(each.parent)
    return found


def held(process: Path) -> set[Object]:
    """What it has open."""
    ids = {f"{kind}_id:": kind for kind in KINDS}
    found = set()
    for each in (process / "fdinfo").iterdir():
        with contextlib.suppress(OSError):
            rows = [line.split() for line in each.read_text().splitlines()]
            found |= {Object(ids[row[0]], int(row[1])) for row in rows if row and row[0] in ids}
    return found


SILENT_SECONDS = 0.25
"""Before the first look. A program array that loses its last descriptor is emptied by a work item; whoever takes a
descriptor of it before that runs, as bpftool does, and lets it go, makes the kernel keep the array for good
(kernel/bpf/arraymap.c, prog_array_map_clear: a reference for work that is pending already)."""


def left_of(before: set[Object], within_seconds: float) -> set[Object]:
    """What was not there before, as soon as it is nothing, else after that time."""
    end = time.monotonic() + within_seconds
    time.sleep(SILENT_SECONDS)
    while (left := all_objects() - before) and time.monotonic() < end:
        time.sleep(0.02)
    return left
