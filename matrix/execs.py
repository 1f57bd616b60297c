"""Is every program that is started told once, on this kernel, as what it was? Without the agent: the collector alone,
in a cgroup of its own, and witnesses that every Debian has."""

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.support.cgroups import v2_root

from agent.collectors.exec import Exec
from agent.security.orders import Orders, Watch
from bpfleet.events import Attribute
from bpfleet.testing import Trial, loaded

ALL, FEW = Watch(per_second=100_000, burst=100_000), Watch(per_second=1, burst=23)
STARTS = 101
SHELL = 'i=0; while [ $i -lt "$0" ]; do /bin/true "turn $i"; i=$((i+1)); done'
ONE = 'exec "$0" "$@"'
PROGRAM = "/bin/true"
MANY = ["a" * 100_000] * 15

IN_MEMORY = """
import os, sys
file = os.memfd_create("payload")
os.write(file, open(sys.argv[1], "rb").read())
os.execve(file, ["in", "memory"], {})
"""
IN_A_NAMESPACE = ["unshare", "--pid", "--fork", PROGRAM]
FROM_OUTSIDE = """
place="$0$(sed -n s/^0:://p /proc/self/cgroup)"
echo $$ >"$0/cgroup.procs"
exec unshare --pid --fork sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$place" "$@"
"""
"""As runtimes do it: who makes the namespace is in another cgroup."""

ON_A_MOUNT = 'mount -t tmpfs none "$0"; mkdir -p "$0/a/b"; cp "$1" "$0/a/b/program"; exec "$0/a/b/program"'

Told = Mapping[str, Attribute]


def checks() -> Iterator[tuple[str, int, int]]:
    """What, how many were told, how many there were."""
    with loaded(Exec()) as trial, tempfile.TemporaryDirectory() as folder:
        trial.run(["sh", "-c", SHELL, "23"])
        yield "programs told that nobody watches", len(trial.events()) + trial.books()["exec"].seen, 0
        watch(trial, ALL)
        yield from _kinds(trial, Path(folder))
        yield from _counts(trial)


def watch(trial: Trial, watch: Watch) -> None:
    Exec().steer(trial.maps, Orders({"exec": {trial.cgroup_id: watch}}))


def _counts(trial: Trial) -> Iterator[tuple[str, int, int]]:
    before = trial.books()["exec"].seen
    trial.run(["sh", "-c", SHELL, str(STARTS)])
    lines = [str(event.attributes["process.command_line"]) for event in trial.events()]
    wanted = [shlex.join([PROGRAM, f"turn {turn}"]) for turn in range(STARTS)]
    yield "programs told, with their arguments, in their order", sum(map(str.__eq__, lines[1:], wanted)), STARTS
    watch(trial, FEW)
    trial.run(["sh", "-c", SHELL, str(STARTS)])
    told, refused = len(trial.events()), sum(int(str(sample.value)) for sample in trial.samples())
    yield "told + beyond the workload's share = programs", told + refused, STARTS + 1
    books = trial.books()["exec"]
    yield "books: seen", books.seen - before, 2 * (STARTS + 1)
    yield "books: lost beside what is beyond the share", sum(books.lost.values()) - refused, 0


def _kinds(trial: Trial, folder: Path) -> Iterator[tuple[str, int, int]]:
    def last(*argv: str) -> Told:
        trial.run(argv)
        return trial.events()[-1].attributes

    script = folder / "script"
    script.write_text("#!/bin/sh\n:\n")
    script.chmod(0o755)
    told = last(str(script))
    right = (told["bpfleet.process.script"], told["bpfleet.process.interpreter"]) == (str(script), "/bin/sh")
    yield "a script, with its interpreter", int(right and told["process.executable.path"] == _real("/bin/sh")), 1
    told = last(sys.executable, "-c", IN_MEMORY, PROGRAM)
    right = told["process.executable.path"] == "/memfd:payload"
    yield "a program in memory", int(right and told.get("bpfleet.process.is_in_memory") is True), 1
    told = last("sh", "-c", FROM_OUTSIDE, str(v2_root()), PROGRAM)
    yield "the first process of a pid namespace", int(told.get("bpfleet.process.is_init") is True), 1
    told = last(*IN_A_NAMESPACE)
    yield "the same of one that the workload made itself", int("bpfleet.process.is_init" in told), 0
    place = folder / "mounted"
    place.mkdir()
    told = last("unshare", "--mount", "sh", "-ec", ON_A_MOUNT, str(place), PROGRAM)
    yield "a path across a mount", int(told["process.executable.path"] == f"{place}/a/b/program"), 1
    told = last("sh", "-c", ONE, PROGRAM, *MANY)
    total = len(PROGRAM) + 1 + sum(len(each) + 1 for each in MANY)
    yield "bytes of arguments", int(str(told.get("bpfleet.process.arguments.size"))), total
    told = last("sh", "-c", ONE, PROGRAM)
    yield "the parent's name", int(told["bpfleet.process.parent.name"] == Path(_real("/proc/self/exe")).name), 1


def _real(path: str) -> str:
    return os.path.realpath(path)
