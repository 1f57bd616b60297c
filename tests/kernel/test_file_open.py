"""Is every open of a file that somebody asks for told once, by its true path, with what became of it, and no other?

Witnesses: /proc/self/fd and the results of the program that opens, strace.
"""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.applications import PROGRAMS
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.watching import ALL, Watching, watching

from agent.collectors.file_open import FileOpen
from agent.security.orders import Watch

Place = Callable[..., Cgroup]

NOBODY = 65534
NO_SYMLINKS, BENEATH, IN_ROOT = 4, 8, 16
"""uapi/linux/openat2.h: RESOLVE_*"""

ORDINARY = 10_000
FLOOD, BURST = 1_009, 10
MORE_THAN_FIT = 60_013
"""The ring has room for half of that."""

NAMES = (b"shadow", b"token")

MANY = "import os\nfor _ in range({}): os.close(os.open({!r}, os.O_RDONLY))"

TOKEN = """
mount -t tmpfs none {folder} && mkdir {folder}/..2026_11_22 && cd {folder} && echo secret > ..2026_11_22/token &&
ln -s ..2026_11_22 ..data && ln -s ..data/token token && exec cat {folder}/token
"""
"""As the kubelet lays out a service account's secret."""

WRITTEN_OVER = """
import ctypes, os, struct, sys, threading, time
OPENAT2, AT_FDCWD = 437, -100
how = ctypes.create_string_buffer(struct.pack("=QQQ", os.O_WRONLY, 0, 0), 24)
path, libc = os.fsencode(sys.argv[1]), ctypes.CDLL(None)
opens = threading.Thread(target=lambda: libc.syscall(OPENAT2, AT_FDCWD, path, how, 24))
opens.start()
while not open(f"/proc/self/task/{opens.native_id}/syscall").read().startswith(f"{OPENAT2} "):
    time.sleep(0.001)  # until it waits
how.raw = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
os.open(path, os.O_RDONLY)
opens.join()
"""
"""The first open is to write."""

SERVES = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    print("ready", flush=True)
    while True:
        peer, _ = server.accept()
        with peer:
            peer.sendall(peer.recv(100))
"""

CONNECTS_ELSEWHERE = """
import socket
with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
    server.bind("\\0token")  # which has no file
    server.listen()
    client.connect("\\0token")
with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
    pass
with socket.socket(socket.AF_UNIX) as client:
    assert client.connect_ex("missing") != 0
"""

REUSED = """
mount -t proc proc /proc
for program in cat head; do
    echo {before} > /proc/sys/kernel/ns_last_pid
    $program {file} > /dev/null &
    wait
done
"""


@pytest.fixture(scope="module")
def watched() -> Iterator[Watching]:
    with watching(FileOpen()) as running:
        yield running


@pytest.fixture
def workload(place: Place, watched: Watching) -> Cgroup:
    cgroup = place("opens")
    watched.watch("file_open", cgroup, names=NAMES)
    return cgroup


@pytest.fixture
def shadow(tmp_path: Path) -> Path:
    file = tmp_path / "shadow"
    file.write_text("root:*:\n")
    return file


def opened(workload: Cgroup, *asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the program says of each: call, given, path, error."""
    done = workload.run([sys.executable, "-I", str(PROGRAMS / "opens.py"), json.dumps(asked)])
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def as_said(event: Mapping[str, Any]) -> dict[str, str]:
    failed = "error.type" in event
    given = event.get("bpfleet.file.given", event["file.path"])
    path = "" if failed else event["file.path"]
    return {"call": event["bpfleet.syscall.name"], "given": given, "path": path, "error": event.get("error.type", "")}


def test_who_reads_the_shadow_file_is_told_once(watched: Watching, workload: Cgroup) -> None:
    process = workload.start(["cat", "/etc/shadow"])
    process.communicate()
    (event,) = watched.events("file_open")
    assert event.cgroup_id == workload.path.stat().st_ino
    told = dict(event.attributes)
    assert told.pop("process.pid") == process.pid
    assert told.pop("process.parent_pid") == os.getpid()
    assert told.pop("process.executable.path") in ("/usr/bin/cat", "/bin/cat")
    assert told["process.executable.name"] == "cat"
    assert told["process.user.id"] == 0
    assert told["file.path"] == "/etc/shadow"
    assert told["bpfleet.file.flags"] == "O_RDONLY"
    assert told["bpfleet.file.is_write"] is False
    assert "error.type" not in told
    assert "bpfleet.file.given" not in told


def test_a_service_accounts_token_is_told_once_by_its_true_path(
    watched: Watching, workload: Cgroup, tmp_path: Path
) -> None:
    workload.run(["unshare", "-m", "sh", "-c", TOKEN.format(folder=tmp_path)])
    written, read = watched.told("file_open")
    assert (written["file.path"], written["bpfleet.file.is_write"]) == (f"{tmp_path}/..2026_11_22/token", True)
    assert written["bpfleet.file.given"] == "..2026_11_22/token"
    assert written["bpfleet.file.flags"] == "O_WRONLY|O_CREAT|O_TRUNC"
    assert (read["file.path"], read["bpfleet.file.is_write"]) == (f"{tmp_path}/..2026_11_22/token", False)
    assert read["bpfleet.file.given"] == f"{tmp_path}/token"
    assert read["process.executable.name"] == "cat"


def test_ten_thousand_ordinary_opens_are_not_told_and_take_no_token(
    watched: Watching, workload: Cgroup, tmp_path: Path
) -> None:
    before = watched.books("file_open").seen
    workload.run([sys.executable, "-I", "-c", MANY.format(ORDINARY, "/etc/hostname")])
    missing = "import os\nfor n in range({}):\n try: os.open(f'/nowhere/{{n}}', 0)\n except OSError: pass"
    workload.run([sys.executable, "-I", "-c", missing.format(ORDINARY)])
    assert watched.told("file_open") == []
    assert watched.books("file_open").seen == before


def test_every_way_to_a_file_is_told_as_what_was_opened(
    watched: Watching, workload: Cgroup, tmp_path: Path, shadow: Path
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "link").symlink_to("shadow")
    (tmp_path / "other").mkdir()
    os.link(shadow, inner / "shadow")
    (tmp_path / "long" / ("d" * 200) / ("e" * 200)).mkdir(parents=True)
    deep = tmp_path / "long" / ("d" * 200) / ("e" * 200) / "shadow"
    deep.write_text("x")
    said = opened(
        workload,
        {"call": "open", "path": str(shadow)},
        {"call": "creat", "path": str(tmp_path / "other" / "shadow")},
        {"call": "openat", "path": str(tmp_path / "link")},
        {"call": "openat", "path": "shadow", "directory": str(tmp_path)},
        {"call": "openat", "path": "../shadow", "directory": str(inner)},
        {"call": "openat", "path": "inner/../inner/./shadow", "cwd": str(tmp_path)},
        {"call": "open", "path": "shadow", "cwd": str(inner)},
        {"call": "openat2", "path": "shadow", "directory": str(tmp_path), "resolve": BENEATH},
        {"call": "openat2", "path": "/shadow", "directory": str(tmp_path), "resolve": IN_ROOT},
        {"call": "openat2", "path": str(shadow), "flags": os.O_RDWR | os.O_APPEND, "resolve": NO_SYMLINKS},
        {"call": "openat", "path": f"/proc/self/root{shadow}"},
        {"call": "openat", "path": str(deep)},
    )
    assert {each["error"] for each in said} == {""}
    told = watched.told("file_open")
    assert list(map(as_said, told)) == said
    flags = [event["bpfleet.file.flags"] for event in told]
    assert (flags[1], flags[9]) == ("O_WRONLY|O_CREAT|O_TRUNC", "O_RDWR|O_APPEND")
    writes = [event["bpfleet.file.is_write"] for event in told]
    assert [number for number, is_write in enumerate(writes) if is_write] == [1, 9]


def test_opens_that_fail_are_told_by_what_was_asked_for(
    watched: Watching, workload: Cgroup, tmp_path: Path, shadow: Path
) -> None:
    shadow.chmod(0o600)
    (tmp_path / "link").symlink_to("shadow")
    said = opened(
        workload,
        {"call": "openat", "path": "/etc/shadow", "as": NOBODY},
        {"call": "open", "path": "/nowhere/shadow"},
        {"call": "openat", "path": "token", "cwd": "/tmp"},
        {"call": "openat", "path": "shadow/nothing", "directory": str(tmp_path)},
        {
            "call": "openat2",
            "path": "shadow",
            "directory": str(tmp_path),
            "flags": os.O_CREAT | os.O_EXCL | os.O_WRONLY,
        },
        {"call": "openat2", "path": f"{tmp_path}/link/token", "resolve": NO_SYMLINKS},
        {"call": "creat", "path": "/proc/shadow"},
    )
    assert [each["error"] for each in said] == ["EACCES", "ENOENT", "ENOENT", "ENOTDIR", "EEXIST", "ELOOP", "ENOENT"]
    told = watched.told("file_open")
    assert list(map(as_said, told)) == said
    paths = ["/etc/shadow", "/nowhere/shadow", "/tmp/token", f"{tmp_path}/shadow/nothing", f"{tmp_path}/shadow"]
    assert [event["file.path"] for event in told] == [*paths, f"{tmp_path}/link/token", "/proc/shadow"]
    assert [event["process.user.id"] for event in told][:2] == [NOBODY, 0]
    assert told[4]["bpfleet.file.flags"] == "O_WRONLY|O_CREAT|O_EXCL"


def test_bytes_of_any_kind_in_a_path_are_told_as_they_are(watched: Watching, workload: Cgroup, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/shadow/\xff\x1b[31m\n\xe2\x82\xac"
    os.makedirs(folder)
    for name in (b"a", b"missing"):
        path = os.path.join(folder, name)
        if name == b"a":
            Path(os.fsdecode(path)).touch()
        opened(workload, {"call": "openat", "path": os.fsdecode(path)})
        (event,) = watched.told("file_open")
        assert event["file.path"] == path.decode(errors="backslashreplace")
        assert "\\xff\x1b[31m\n€" in event["file.path"]


def test_a_long_name_is_looked_for_by_its_beginning(watched: Watching, workload: Cgroup, tmp_path: Path) -> None:
    name = "service-account-token-of-the-one-and-only"
    watched.watch("file_open", workload, names=[name.encode()])
    for each in (name, name[:-3], name[:20]):
        (tmp_path / each).touch()
    opened(workload, *({"call": "openat", "path": str(tmp_path / each)} for each in (name, name[:-3], name[:20])))
    assert [event["file.path"] for event in watched.told("file_open")] == [
        f"{tmp_path}/{each}" for each in (name, name[:-3])
    ]


@needs("strace")
def test_all_opens_of_a_program_are_straces(watched: Watching, workload: Cgroup, tmp_path: Path) -> None:
    log = tmp_path / "log"
    watched.watch("file_open", workload, names=[ALL])
    command = ["ls", "-l", "/etc", "/nowhere"]
    traced = ["strace", "-f", "-y", "-s", "4096", "-e", "trace=open,openat,openat2,creat", "-o", str(log), *command]
    workload.run(traced, check=False)
    shown = re.findall(r'(open\w*)\(.*?"([^"]*)".*?= (?:\d+<([^>]*)>|-1 (\w+))', log.read_text())
    told = [as_said(event) for event in watched.told("file_open") if event["process.executable.name"] == "ls"]
    assert len(shown) > 5
    assert [(each["call"], each["given"], each["path"], each["error"]) for each in told] == shown


def test_a_file_mounted_elsewhere_is_told_where_it_was_opened(
    watched: Watching, workload: Cgroup, tmp_path: Path, shadow: Path
) -> None:
    (tmp_path / "token").touch()
    inside = f"mount --bind {shadow} {tmp_path}/token && exec cat {tmp_path}/token"
    workload.run(["unshare", "-m", "sh", "-c", inside])
    assert [event["file.path"] for event in watched.told("file_open")] == [f"{tmp_path}/token"]


def test_32_bit_calls_are_told_as_well(watched: Watching, workload: Cgroup, tmp_path: Path, shadow: Path) -> None:
    program = tmp_path / "int80"
    subprocess.run(["cc", "-O1", "-o", str(program), str(PROGRAMS / "int80.c")], check=True)
    for path in (shadow, tmp_path / "no" / "shadow"):
        opens, _, _ = workload.run([str(program), str(path), "0600", "1"], check=False).stdout.split()
        (event,) = watched.told("file_open")
        assert event["file.path"] == str(path)
        assert event["bpfleet.syscall.name"] == "openat"
        assert event.get("error.type", "") == {"0": "", "-2": "ENOENT"}[opens]


def test_requests_of_io_uring_are_told_by_the_name_given(watched: Watching, workload: Cgroup, shadow: Path) -> None:
    done = workload.run([sys.executable, "-I", str(PROGRAMS / "uring.py"), str(shadow), "/etc/hostname"])
    assert json.loads(done.stdout) == [str(shadow), "/etc/hostname"]
    (event,) = watched.told("file_open")
    assert event["file.path"] == str(shadow)
    if "raw_tracepoint/sys_exit" in watched.outcome("file_open").hooks:
        assert event["bpfleet.syscall.name"] == "io_uring"


def test_another_thread_that_writes_over_the_flags_hides_nothing(
    watched: Watching, workload: Cgroup, tmp_path: Path
) -> None:
    """Opening a FIFO waits for its other end, which writes over the flags first."""
    fifo = tmp_path / "token"
    os.mkfifo(fifo)
    workload.run([sys.executable, "-I", "-c", WRITTEN_OVER, str(fifo)])
    told = watched.told("file_open")
    assert sorted(event["bpfleet.file.is_write"] for event in told) == [False, True]
    assert {event["bpfleet.file.flags"] for event in told} == {"O_RDONLY|O_CLOEXEC", "O_WRONLY"}


@needs("socat")
def test_a_socket_that_is_connected_to_is_told_by_the_path_that_its_server_has_bound(
    watched: Watching, workload: Cgroup, place: Place, tmp_path: Path
) -> None:
    socket, other = tmp_path / "token", tmp_path / "other"
    place("server").start([sys.executable, "-I", "-c", SERVES, str(socket)], ready="ready")
    (tmp_path / "link").symlink_to("token")
    other.touch()
    mounted = f"mount --bind {socket} {other} && echo hello | socat - UNIX-CONNECT:{other}"
    for command in (
        f"echo hello | socat - UNIX-CONNECT:{socket}",
        f"cd {tmp_path} && echo hello | socat - UNIX-CONNECT:link",
        f"unshare -m sh -c '{mounted}'",
    ):
        assert workload.run(["sh", "-c", command]).stdout == "hello\n"
        (event,) = [each for each in watched.told("file_open") if each.get("bpfleet.syscall.name") == "connect"]
        assert event["file.path"] == str(socket)
        assert event["process.executable.name"].startswith("socat")
        assert event["bpfleet.file.is_write"] is True
        assert "error.type" not in event
    before = watched.books("file_open").seen
    workload.run([sys.executable, "-I", "-c", CONNECTS_ELSEWHERE], cwd=tmp_path)
    assert watched.told("file_open") == []
    assert watched.books("file_open").seen == before


def test_who_is_not_watched_is_not_told(watched: Watching, workload: Cgroup, place: Place, shadow: Path) -> None:
    before = watched.books("file_open").seen
    place("neighbour").run(["cat", str(shadow)])
    subprocess.run(["cat", str(shadow)], check=True, capture_output=True)
    assert watched.told("file_open") == []
    assert watched.books("file_open").seen == before


def test_a_process_that_renames_itself_is_told_by_its_program(
    watched: Watching, workload: Cgroup, shadow: Path
) -> None:
    renamed = f"open('/proc/self/comm', 'w').write('nginx'); open({str(shadow)!r}).close()"
    workload.run([sys.executable, "-I", "-c", renamed])
    (event,) = watched.told("file_open")
    assert event["process.executable.path"] == os.path.realpath(sys.executable)


def test_who_has_the_process_id_of_another_is_told_as_itself(watched: Watching, workload: Cgroup, shadow: Path) -> None:
    script = REUSED.format(before=4_000, file=shadow)
    workload.run(["unshare", "--pid", "--mount", "--fork", "sh", "-c", script])
    told = watched.told("file_open")
    assert [(event["process.vpid"], event["process.executable.name"]) for event in told] == [
        (4_001, "cat"),
        (4_001, "head"),
    ]


def test_what_a_bucket_refuses_is_counted(watched: Watching, workload: Cgroup, shadow: Path) -> None:
    watched.watch("file_open", workload, names=NAMES, by=Watch(per_second=1, burst=BURST))
    watched.suppressed("file_open")
    before = watched.books("file_open")
    workload.run([sys.executable, "-I", "-c", MANY.format(FLOOD, str(shadow))])
    told = watched.told("file_open")
    after = watched.books("file_open")
    refused = after.lost["rate_limit"] - before.lost["rate_limit"]
    assert after.balanced
    assert after.seen - before.seen == FLOOD
    assert after.delivered - before.delivered == len(told)
    assert len(told) + refused == FLOOD
    assert BURST <= len(told) < 2 * BURST
    assert watched.suppressed("file_open") == {workload.path.stat().st_ino: refused}


def test_what_finds_no_room_in_the_ring_is_counted(watched: Watching, workload: Cgroup, shadow: Path) -> None:
    watched.watch("file_open", workload, names=NAMES, by=Watch(per_second=1_000_000, burst=1_000_000))
    before = watched.books("file_open")
    workload.run([sys.executable, "-I", "-c", MANY.format(MORE_THAN_FIT, str(shadow))])
    told = watched.told("file_open")
    after = watched.books("file_open")
    assert after.balanced
    assert after.seen - before.seen == MORE_THAN_FIT
    assert len(told) + after.lost["ring_full"] - before.lost["ring_full"] == MORE_THAN_FIT
    assert after.lost["ring_full"] > before.lost["ring_full"]
    assert after.lost["rate_limit"] == before.lost["rate_limit"]


def test_a_file_without_a_name_is_told(watched: Watching, workload: Cgroup, tmp_path: Path) -> None:
    watched.watch("file_open", workload, names=[tmp_path.name.encode()])
    opened(workload, {"call": "openat", "path": str(tmp_path), "flags": os.O_TMPFILE | os.O_RDWR})
    (event,) = watched.told("file_open")
    assert event["file.path"].startswith(f"{tmp_path}/#")
    assert event["bpfleet.file.flags"] == "O_RDWR|O_TMPFILE"
    assert stat.S_ISDIR(tmp_path.stat().st_mode)
