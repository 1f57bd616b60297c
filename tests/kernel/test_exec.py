"""Is every program that a watched workload starts told once, as what it was, and is the rest counted?

Witnesses: strace, the programs themselves (exec_witness.c), /proc, the shell's own count, the books.
"""

import os
import re
import shlex
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support import exec_witness, fast_starts
from tests.support.cgroups import Cgroup
from tests.support.exec_witness import Said
from tests.support.marks import needs

from agent.collectors.exec import Exec
from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.security.orders import OFF, OTHERS, Orders, Watch
from agent.settings import Settings
from bpfleet.api import Event
from bpfleet.events import Attribute

Place = Callable[..., Cgroup]
Told = dict[str, Attribute]

ALL = Watch(per_second=100_000, burst=100_000)
LOOP, TRACED = 1_009, 101
FLOOD, CALM = 10_000, 100
SHELL = 'i=0; while [ $i -lt "$1" ]; do /bin/echo "turn $i" >/dev/null; i=$((i+1)); done; echo $i'

STARTED = re.compile(r'^(\d+) +execve\("([^"]+)", \[(.*)\], 0x\w+ /\* \d+ vars \*/\) += 0$')
QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')

RENAMED = """
import ctypes, subprocess, sys
ctypes.CDLL(None).prctl(15, b"kworker/0:1", 0, 0, 0)  # PR_SET_NAME
sys.argv[0] = "kworker"
print(open("/proc/self/comm").read().strip(), flush=True)
subprocess.run(sys.argv[1:], check=True)
"""
FROM_A_THREAD = """
import os, sys, threading
threading.Thread(target=os.execv, args=(sys.argv[1], ["from", "a thread"])).start()
threading.Event().wait()
"""
IN_MEMORY = """
import os, sys
file = os.memfd_create("payload")
os.write(file, open(sys.argv[1], "rb").read())
os.execve(f"/proc/self/fd/{file}", ["in", "memory"], {})
"""
DELETED = """
import os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
os.unlink(sys.argv[1])
os.execve(file, ["has", "no name"], {})
"""
MANY_ARGUMENTS = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
os.execve(sys.argv[1], ["many"] + [c * 110_000 for c in "abcdefghijklmnopqrst"], {})
"""
OVERLAY = """
mkdir lower upper work merged; cp "$1" lower/witness; chmod 755 lower/witness
mount -t tmpfs none upper; mkdir upper/upper upper/work
mount -t overlay none -o lowerdir=lower,upperdir=upper/upper,workdir=upper/work merged
exec merged/witness overlay
"""


class ExecBooks(NamedTuple):
    seen: int
    delivered: int
    rate_limit: int
    ring_full: int


class Execs:
    """The collector without an agent: what is watched is what a test watches."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded, self._collector = loaded, Exec()
        self._maps = loaded.maps("exec")
        self._watches: dict[int, Watch] = {}
        self.began = ExecBooks(0, 0, 0, 0)
        self.suppressed: Counter[int] = Counter()

    def begin(self) -> None:
        """Of a test: what was before does not count."""
        self._watches.clear()
        self._collector.steer(self._maps, Orders())
        self.read()
        self.suppressed.clear()
        self.began = ExecBooks(0, 0, 0, 0)
        self.began = self.books()

    def watch(self, cgroup: Cgroup, watch: Watch = ALL) -> Cgroup:
        self.order(number(cgroup), watch)
        return cgroup

    def order(self, cgroup_id: int, watch: Watch) -> None:
        self._watches[cgroup_id] = watch
        assert self._collector.steer(self._maps, Orders({"exec": self._watches})) == 0

    def read(self) -> list[Event]:
        self._loaded.begin_drain()
        for sample in self._collector.collect(self._maps):
            assert isinstance(sample.value, int) and isinstance(sample.cgroup_id, int)
            assert sample.labels == ("exec",)
            self.suppressed[sample.cgroup_id] += sample.value
        return list(self._collector.events(self._maps))

    def of(self, said: Said) -> Told:
        """What was told of the last program with this process id: the one that says something."""
        return dict([each for each in self.read() if each.attributes["process.pid"] == said.pid][-1].attributes)

    def books(self) -> ExecBooks:
        """Since the test began."""
        seen, rate_limit, ring_full = self._loaded.books()["exec"]
        now = ExecBooks(seen, self._loaded.delivered().get("exec", 0), rate_limit, ring_full)
        return ExecBooks(*(mine - before for mine, before in zip(now, self.began, strict=True)))


def number(cgroup: Cgroup) -> int:
    return cgroup.path.stat().st_ino


class SmallExec(Exec):
    """With a ring that holds less than a thousand records."""

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {**super().defines(limits), "EXEC_RING_PAGES": "32"}


@contextmanager
def in_kernel(collector: Exec) -> Iterator[Execs]:
    settings = Settings()
    chosen = KernelSettings(
        limits=asdict(settings.limits), bounds=asdict(settings.histograms), cache=str(fast_starts.programs())
    )
    with closing(KernelDoor().load([collector], chosen)) as programs:
        assert programs.outcomes["exec"].up, programs.outcomes
        yield Execs(programs)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Execs]:
    with in_kernel(Exec()) as execs:
        yield execs


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `witness` and `nothing`."""
    return exec_witness.compiled(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def execs(loaded: Execs) -> Execs:
    loaded.begin()
    return loaded


@pytest.fixture
def watched(execs: Execs, place: Place) -> Cgroup:
    return execs.watch(place("watched"))


def said(output: str) -> Said:
    """By the witness, in the last line."""
    return exec_witness.read(output.splitlines()[-1])


def run(cgroup: Cgroup, *argv: str | bytes, **options: object) -> Said:
    return said(cgroup.run(argv, **options).stdout)  # type: ignore[arg-type]


@needs("strace")
def test_what_strace_sees_is_what_is_told(execs: Execs, watched: Cgroup, tmp_path: Path) -> None:
    log = tmp_path / "strace"
    script = SHELL.replace("/bin/echo", "/bin/true")
    strace = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=execve",
        "-e",
        "signal=none",
        "-s",
        "4096",
        "-o",
        str(log),
    ]
    done = watched.run([*strace, "sh", "-c", script, "loop", str(TRACED)])
    assert done.stdout.split() == [str(TRACED)]
    rows = [found for line in log.read_text().splitlines() if (found := STARTED.match(line))]
    seen = [(int(row[1]), tuple(QUOTED.findall(row[3]))) for row in rows]
    told = [
        (event.attributes["process.pid"], tuple(shlex.split(str(event.attributes["process.command_line"]))))
        for event in execs.read()
    ]
    assert len(seen) == TRACED + 1
    assert told[0][1][0] == "strace", "who traces is not traced"
    assert told[1:] == [(pid, tuple(each.replace('\\"', '"') for each in row)) for pid, row in seen]
    assert execs.books() == (TRACED + 2, TRACED + 2, 0, 0)


def test_each_of_a_thousand_is_told_once_and_in_its_order(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    watched.run([str(binaries / "witness"), str(binaries / "nothing")], env={"WITNESS": str(LOOP)})
    lines = [event.attributes["process.command_line"] for event in execs.read()]
    assert lines[1:] == [f"turn {turn}" for turn in range(LOOP)]
    assert execs.books() == (LOOP + 1, LOOP + 1, 0, 0)


def test_an_event_says_who_what_and_by_whom(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    before_ns = time_ns()
    process = watched.start([str(binaries / "witness"), "a b", "c"], env={"WITNESS": "wait"}, stdout=subprocess.PIPE)
    assert process.stdout
    witness = exec_witness.read(process.stdout.readline())
    above = ancestors(witness.pid)
    (event,) = [each for each in execs.read() if each.attributes["process.executable.name"] == "witness"]
    assert before_ns < event.time_ns < time_ns()
    assert event.cgroup_id == number(watched)
    assert witness.pid == process.pid
    assert dict(event.attributes) == {
        "process.pid": witness.pid,
        "process.vpid": witness.vpid,
        "process.parent_pid": os.getpid(),
        "process.user.id": 0,
        "process.executable.path": witness.file,
        "process.executable.name": "witness",
        "process.command_line": f"{binaries / 'witness'} 'a b' c",
        "bpfleet.process.parent.name": Path(os.readlink("/proc/self/exe")).name,
        "bpfleet.process.ancestors": " < ".join([*above[:5], *(["..."] if len(above) > 5 else [])]),
    }


def time_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def ancestors(pid: int) -> list[str]:
    """Names of their files, from the parent upwards; six at most."""
    found: list[str] = []
    while len(found) < 6 and (pid := parent(pid)) != 0:
        try:
            found.append(Path(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")).name)
        except PermissionError:  # of one with more capabilities, such as a container's first process
            found.append(Path(f"/proc/{pid}/comm").read_text().strip())
    return found


def parent(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("PPid:")]
    return int(line.split()[1])


def test_the_user_is_the_one_whose_rights_it_has(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    as_other = ["setpriv", "--reuid=1009", "--regid=1009", "--clear-groups"]
    witness = run(watched, *as_other, str(binaries / "witness"))
    assert witness.uid == 1009
    assert execs.of(witness)["process.user.id"] == 1009
    setuid = binaries / "setuid"
    setuid.write_bytes((binaries / "witness").read_bytes())
    setuid.chmod(0o4755)
    witness = run(watched, *as_other, str(setuid))
    assert witness.uid == 0
    assert execs.of(witness)["process.user.id"] == 0


def test_an_unwatched_workload_is_neither_told_nor_counted(execs: Execs, watched: Cgroup, place: Place) -> None:
    other = place("other")
    other.run(["sh", "-c", SHELL, "loop", "23"])
    assert execs.read() == []
    assert execs.books() == (0, 0, 0, 0)
    watched.run(["sh", "-c", SHELL, "loop", "23"])
    assert len(execs.read()) == 24
    execs.begin()
    watched.run(["sh", "-c", SHELL, "loop", "23"])
    assert execs.books() == (0, 0, 0, 0)


def test_cgroups_that_nobody_knows_yet_have_a_bucket_each(execs: Execs, place: Place, binaries: Path) -> None:
    off, first, second = execs.watch(place("off"), OFF), place("first"), place("second")
    execs.order(OTHERS, Watch(per_second=1, burst=100))
    for cgroup, count in ((off, 23), (first, LOOP), (second, 50)):
        cgroup.run([str(binaries / "witness"), str(binaries / "nothing")], env={"WITNESS": str(count)})
    told = Counter(event.cgroup_id for event in execs.read())
    assert told[number(off)] == 0
    assert told[number(second)] == 51
    assert 100 <= told[number(first)] == LOOP + 1 - execs.suppressed[number(first)] < LOOP


def test_a_workload_says_its_share_and_the_rest_is_counted(execs: Execs, place: Place, binaries: Path) -> None:
    cgroup = execs.watch(place("limited"), Watch(per_second=1, burst=23))
    before = time_ns()
    cgroup.run([str(binaries / "witness"), str(binaries / "nothing")], env={"WITNESS": str(LOOP)})
    seconds = (time_ns() - before) / 1e9
    told = execs.read()
    books = execs.books()
    assert books.seen == LOOP + 1
    assert 23 <= len(told) <= 23 + seconds + (os.cpu_count() or 1)
    assert books == (LOOP + 1, len(told), LOOP + 1 - len(told), 0)
    assert execs.suppressed == {number(cgroup): books.rate_limit}


def test_a_share_that_is_changed_is_another_one_at_once(execs: Execs, place: Place, binaries: Path) -> None:
    cgroup = execs.watch(place("changed"), Watch(per_second=1, burst=500))
    often = [str(binaries / "witness"), str(binaries / "nothing")]

    def told(count: int) -> int:
        cgroup.run(often, env={"WITNESS": str(count)})
        return len(execs.read())

    assert told(LOOP) >= 500
    execs.watch(cgroup, Watch(per_second=100_000, burst=1_000))
    assert told(LOOP) >= LOOP, "but for the first one"
    execs.watch(cgroup, OFF)
    assert told(23) == 0
    execs.watch(cgroup, ALL)
    assert told(23) == 24
    books = execs.books()
    assert books.seen == 2 * (LOOP + 1) + 24 == books.delivered + books.rate_limit


def test_what_finds_no_room_in_the_ring_is_counted(place: Place, binaries: Path) -> None:
    with in_kernel(SmallExec()) as execs:
        cgroup = execs.watch(place("watched"))
        cgroup.run([str(binaries / "witness"), str(binaries / "nothing")], env={"WITNESS": str(2 * LOOP)})
        told = execs.read()
        books = execs.books()
        assert 0 < len(told) < LOOP, "nobody read meanwhile"
        assert books == (2 * LOOP + 1, len(told), 0, 2 * LOOP + 1 - len(told))
        assert told[-1].attributes["process.command_line"] == f"turn {len(told) - 2}", "what came first is kept"


def test_a_flood_takes_no_other_workloads_share(execs: Execs, place: Place, binaries: Path) -> None:
    flood, calm = execs.watch(place("flood"), Watch(per_second=50, burst=50)), execs.watch(place("calm"))
    often = [str(binaries / "witness"), str(binaries / "nothing")]
    flooding = flood.start(often, env={"WITNESS": str(FLOOD)})
    calm.run(often, env={"WITNESS": str(CALM)})
    assert flooding.wait(60) == 0
    told = Counter(
        event.cgroup_id for event in execs.read() if event.attributes["process.executable.name"] == "nothing"
    )
    books = execs.books()
    assert told[number(calm)] == CALM
    assert books.seen == FLOOD + CALM + 2
    assert books.seen == books.delivered + books.rate_limit
    assert execs.suppressed == {number(flood): books.rate_limit}
    assert 50 <= told[number(flood)] + 1 == FLOOD + 1 - books.rate_limit


def test_scripts_are_told_with_their_interpreters(execs: Execs, watched: Cgroup, tmp_path: Path) -> None:
    def script(name: str, first: str) -> Path:
        path = tmp_path / name
        path.write_text(f"#!{first}\nread -r line </proc/self/cmdline; echo $$\n")
        path.chmod(0o755)
        return path

    shell = os.path.realpath("/bin/sh")
    env = os.path.realpath("/usr/bin/env")
    plain, by_env = script("plain.sh", "/bin/sh -u"), script("env.sh", "/usr/bin/env sh")
    nested = script("nested.sh", f"{plain} x")

    def told(*argv: str, cwd: Path | None = None) -> list[tuple[Attribute | None, ...]]:
        pid = int(watched.run(argv, cwd=cwd).stdout)
        names = ("process.executable.path", "bpfleet.process.script", "bpfleet.process.interpreter")
        rows = [each.attributes for each in execs.read() if each.attributes["process.pid"] == pid]
        return [(*map(row.get, names), row["process.command_line"]) for row in rows]

    assert told(str(plain), "a b") == [(shell, str(plain), "/bin/sh", f"/bin/sh -u {plain} 'a b'")]
    assert told(str(by_env)) == [
        (env, str(by_env), "/usr/bin/env", f"/usr/bin/env sh {by_env}"),
        (shell, None, None, f"sh {by_env}"),
    ]
    assert told(str(nested)) == [(shell, str(nested), "/bin/sh", f"/bin/sh -u {plain} x {nested}")]
    assert told("./plain.sh", cwd=tmp_path) == [(shell, str(plain), "/bin/sh", "/bin/sh -u ./plain.sh")]
    assert told("/bin/sh", str(plain)) == [(shell, None, None, f"/bin/sh {plain}")]


def test_binaries_without_a_name_are_told_as_such(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    witness = run(watched, sys.executable, "-c", IN_MEMORY, str(binaries / "witness"))
    told = execs.of(witness)
    assert witness.file == "/memfd:payload (deleted)"
    assert told["process.executable.path"] == "/memfd:payload"
    assert told["bpfleet.process.is_in_memory"] is True
    assert "bpfleet.process.is_deleted" not in told
    assert told["process.command_line"] == "in memory"

    short = binaries / "short-lived"
    short.write_bytes((binaries / "witness").read_bytes())
    short.chmod(0o755)
    witness = run(watched, sys.executable, "-c", DELETED, str(short))
    told = execs.of(witness)
    assert witness.file == f"{short} (deleted)"
    assert told["process.executable.path"] == str(short)
    assert (told["bpfleet.process.is_deleted"], told["bpfleet.process.is_in_memory"]) == (True, True)

    short.write_bytes((binaries / "witness").read_bytes())
    short.chmod(0o755)
    os.link(short, binaries / "other-name")
    told = execs.of(run(watched, sys.executable, "-c", DELETED, str(short)))
    assert told["bpfleet.process.is_deleted"] is True
    assert "bpfleet.process.is_in_memory" not in told, "it has another name"


def test_two_megabytes_of_arguments_are_told_by_their_beginning(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    witness = run(watched, sys.executable, "-c", MANY_ARGUMENTS, str(binaries / "witness"))
    told = execs.of(witness)
    assert witness.argument_bytes == 5 + 20 * 110_001
    assert told["bpfleet.process.arguments.size"] == witness.argument_bytes
    assert told["process.command_line"] == "many " + "a" * (1024 - 5)


@pytest.mark.parametrize("size", [1022, 1023, 1024, 1025, 1026])
def test_arguments_are_kept_up_to_a_size(execs: Execs, watched: Cgroup, binaries: Path, size: int) -> None:
    program = str(binaries / "witness")
    argument = "x" * (size - len(program) - 2)
    witness = run(watched, program, argument)
    told = execs.of(witness)
    assert witness.argument_bytes == size
    kept = argument[: 1024 - len(program) - 1]
    assert told["process.command_line"] == f"{program} {kept}"
    assert told.get("bpfleet.process.arguments.size") == (size if size > 1024 else None)


def test_any_byte_may_be_in_a_path_and_in_an_argument(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    place = os.fsencode(binaries) + b"/caf\xe9 \x1b[31m\n\"'"
    os.mkdir(place)
    program = place + b"/\xff\x01"
    os.link(binaries / "witness", program)
    witness = run(watched, program, b"\xe9\x1b]0;owned\x07", b"a\nb", b"", "日本".encode(), b"''")
    told = execs.of(witness)
    assert witness.file.encode(errors="surrogateescape") == program
    assert told["process.executable.path"] == program.decode(errors="backslashreplace")
    assert told["process.executable.name"] == "\\xff\x01"
    arguments = shlex.split(str(told["process.command_line"]))
    assert arguments[1:] == ["\\xe9\x1b]0;owned\x07", "a\nb", "", "日本", "''"]


def test_no_argument_at_all(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    """Since 5.18 the kernel gives such a program an empty one (dcd46d897adb, "exec: Force single empty string when argv
    is empty")."""
    code = f"import ctypes; ctypes.CDLL(None).execve({os.fsencode(binaries / 'witness')!r}, None, None)"
    told = execs.of(run(watched, sys.executable, "-c", code))
    assert told.get("process.command_line", "''") == "''"


def test_a_process_that_renames_itself_is_told_by_its_file(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    done = watched.run([sys.executable, "-c", RENAMED, str(binaries / "witness")])
    assert done.stdout.splitlines()[0] == "kworker/0:1"
    python = Path(os.path.realpath(sys.executable)).name
    assert execs.of(said(done.stdout))["bpfleet.process.parent.name"] == python


def test_a_thread_that_is_not_the_first_is_told_as_its_process(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    witness = run(watched, sys.executable, "-c", FROM_A_THREAD, str(binaries / "witness"))
    told = execs.of(witness)
    assert (told["process.pid"], told["process.command_line"]) == (witness.pid, "from 'a thread'")
    assert told["process.parent_pid"] == os.getpid()


def test_paths_lead_across_mounts_to_the_true_root(
    execs: Execs, watched: Cgroup, binaries: Path, tmp_path: Path, stack: ExitStack
) -> None:
    """The witness is /proc of somebody else, while the process lives."""

    def told(script: str) -> tuple[str, Attribute]:
        process = watched.start(
            ["unshare", "--mount", "sh", "-ec", script, "mounts", str(binaries / "witness")],
            cwd=tmp_path,
            env=os.environ | {"WITNESS": "wait"},
        )
        assert process.stdout
        process.stdout.readline()
        seen = os.readlink(f"/proc/{process.pid}/exe")
        rows = [each.attributes for each in execs.read() if each.attributes["process.pid"] == process.pid]
        assert process.stdin
        process.stdin.close()
        assert process.wait(10) == 0
        return seen, rows[-1]["process.executable.path"]

    mounted = "mkdir -p a/b; mount -t tmpfs none a; mkdir a/b; mount -t tmpfs none a/b; mkdir a/b/c; cp $1 a/b/c/deep;"
    seen, path = told(f"{mounted} exec a/b/c/deep")
    assert path == seen == f"{tmp_path}/a/b/c/deep"
    seen, path = told(f"mkdir -p bound; mount --bind {binaries} bound; exec bound/witness")
    assert path == seen == f"{tmp_path}/bound/witness"
    seen, path = told("touch file; mount --bind $1 file; exec ./file")
    assert path == seen == f"{tmp_path}/file"
    seen, path = told(OVERLAY)
    assert path == seen == f"{tmp_path}/merged/witness"
    seen, path = told("mkdir -p jail; cp $1 jail/witness; exec chroot jail /witness")
    assert path == seen == f"{tmp_path}/jail/witness"
    pivot = "mkdir -p new; mount -t tmpfs none new; mkdir new/old new/bin; cp $1 new/bin/; cd new; pivot_root . old"
    assert told(f"{pivot}; exec /bin/witness")[1] == "/bin/witness"


def test_a_long_path_is_told_by_both_ends(execs: Execs, watched: Cgroup, binaries: Path, tmp_path: Path) -> None:
    names = [f"{turn:03}" * 60 for turn in range(20)]  # 180 bytes each

    def told(names: list[str]) -> str:
        here = os.open(tmp_path, os.O_RDONLY)
        for name in names:
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.link(binaries / "witness", "witness", dst_dir_fd=here)
        witness = run(watched, "./witness", cwd=f"/proc/{os.getpid()}/fd/{here}")
        os.close(here)
        return str(execs.of(witness)["process.executable.path"])

    first = tmp_path.parts[1]
    assert told(names) == f"/{first}/.../{'/'.join(names[-3:])}/witness"
    assert told(["d"] * 300).startswith(".../")


def test_a_path_is_told_whole_up_to_a_length(execs: Execs, watched: Cgroup, binaries: Path, tmp_path: Path) -> None:
    """From its end on: names are kept until 512 bytes are full, and then the first directory."""
    forms = set()
    for length in range(460, 540, 5):
        folder = tmp_path / ("a" * 150) / ("b" * 150) / "c" / ("d" * (length - len(str(tmp_path)) - 311))
        folder.mkdir(parents=True)
        os.link(binaries / "witness", folder / "witness")
        witness = run(watched, str(folder / "witness"))
        first, *names = witness.file.split("/")[1:]
        kept = [name for place, name in enumerate(names) if len("/".join(names[place + 1 :])) <= 510]
        left_out = [] if kept == names else ["..."]
        forms.add(len(left_out))
        assert execs.of(witness)["process.executable.path"] == "/".join(["", first, *left_out, *kept])
    assert forms == {0, 1}


def test_pid_namespaces_tell_who_was_there_first_and_who_entered(execs: Execs, watched: Cgroup, binaries: Path) -> None:
    witness = str(binaries / "witness")
    contained = watched.contain([witness])
    init = said(contained.communicate(timeout=10)[0])
    told = execs.of(init)
    assert init.vpid == 1 and told["process.vpid"] == 1 and told["bpfleet.process.is_init"] is True
    assert "bpfleet.process.is_entered" not in told

    own = run(watched, "unshare", "--pid", "--fork", witness)
    told = execs.of(own)
    assert own.vpid == 1 and told["process.vpid"] == 1 and told["bpfleet.process.parent.name"] == "unshare"
    assert not {"bpfleet.process.is_init", "bpfleet.process.is_entered"} & set(told)

    unshare = ["unshare", "--pid", "--fork", "sh", "-c", f"{witness} child; WITNESS=wait {witness}; true"]
    process = watched.start(unshare)
    assert process.stdin and process.stdout
    child, waiting = (exec_witness.read(process.stdout.readline()) for _ in range(2))
    entered = run(watched, "nsenter", f"--pid=/proc/{waiting.pid}/ns/pid", witness, "entered")
    process.stdin.close()
    assert process.wait(10) == 0
    rows = {each.attributes["process.pid"]: each.attributes for each in execs.read()}
    for one in (child, waiting):
        assert one.vpid == rows[one.pid]["process.vpid"] > 1
        assert not {"bpfleet.process.is_init", "bpfleet.process.is_entered"} & set(rows[one.pid])
    assert entered.vpid == rows[entered.pid]["process.vpid"] > 1
    assert rows[entered.pid]["bpfleet.process.is_entered"] is True
    assert rows[waiting.pid]["process.parent_pid"] == waiting.parent


def test_a_cgroup_that_is_gone_at_once_has_told_everything(execs: Execs, binaries: Path) -> None:
    with Cgroup("short") as short:
        execs.watch(short)
        gone = number(short)
        witness = run(short, str(binaries / "witness"))
    assert not short.path.exists()
    assert [event.cgroup_id for event in execs.read() if event.attributes["process.pid"] == witness.pid] == [gone]


def test_an_exec_that_fails_is_none(execs: Execs, watched: Cgroup, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF, or so it says")
    broken.chmod(stat.S_IRWXU)
    assert watched.run(["sh", "-c", f"{broken}; ./nowhere; true"], check=False).returncode == 0
    assert [event.attributes["process.executable.name"] for event in execs.read()][:1] == [
        Path(os.path.realpath("/bin/sh")).name
    ]
    assert execs.books().seen == 1
