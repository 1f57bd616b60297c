"""The door on the real kernel, with programs of these tests' own: they are attached to a cgroup that the test makes."""

import json
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.cgroups import Cgroup
from tests.support.made_collectors import made_collector

from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.kernel.isolation import Outcome
from agent.kernel.lock import Lock
from bpfleet.api import AnyOf, Collector, Histogram, Packet, RawTracepoint, SocketIterator, TracingTracepoint
from bpfleet.errors import HeadersError, HostError

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = REPOSITORY / "tests/support/programs"
PACKETS = ("cgroup_skb/ingress", "cgroup_skb/egress")
WAIT = Histogram("wait", "How long.", unit="s", bounds="wait_seconds")
BOUNDS = {"wait_seconds": (0.0001, 0.00012)}
HEADERS_SIZE = 20 + 8
GONE_SECONDS = 1.0
"""Within which nothing of a killed agent may be left."""

UDP = """
import socket, sys
count, size = int(sys.argv[1]), int(sys.argv[2])
sink, source = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
sink.bind(("127.0.0.1", 0))
for _ in range(count):
    source.sendto(bytes(size), sink.getsockname())
    sink.recv(size)
"""
TCP = """
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
for _ in range(int(sys.argv[1])):
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    client.sendall(b"x"); accepted.recv(1)
    client.close(); assert accepted.recv(1) == b""; accepted.close()
"""


def sizes() -> Collector:
    return made_collector(PROGRAMS, "sizes", defines={"MAX_SIZES": "64"}, metrics=(WAIT,))


def ends() -> Collector:
    state = TracingTracepoint("on_end", tracepoint="inet_sock_set_state")
    return made_collector(PROGRAMS, "ends", Packet("on_packet_ends"), state)


def records() -> Collector:
    return made_collector(PROGRAMS, "records")


def calls() -> Collector:
    return made_collector(PROGRAMS, "calls", RawTracepoint("on_exec", tracepoint="sched_process_exec"), base=None)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Opened:
    """Loads collectors onto a cgroup for the time of a test."""

    def __init__(self, cgroup: Cgroup, stack: ExitStack) -> None:
        self.cgroup = cgroup
        self.clock = Clock()
        self._stack = stack

    def load(self, *collectors: Collector, **settings: Any) -> Loaded:
        chosen = KernelSettings(cgroup_root=str(self.cgroup.path), bounds=BOUNDS, **settings)
        loaded = KernelDoor(self.clock).load(collectors, chosen)
        self._stack.callback(loaded.close)
        return loaded

    def send(self, count: int, size: int = 100) -> None:
        """Datagrams from one socket of the cgroup to another: each is two packets."""
        self.cgroup.run([sys.executable, "-I", "-c", UDP, str(count), str(size)])

    @property
    def key(self) -> bytes:
        return struct.pack("=Q", self.cgroup.path.stat().st_ino)


@pytest.fixture
def opened(place: Callable[..., Cgroup], stack: ExitStack) -> Iterator[Opened]:
    cgroup = place("door")
    with ExitStack() as inner:
        yield Opened(cgroup, inner)


def grown(loaded: Loaded, collector: str, name: str) -> dict[bytes, tuple[int, ...]]:
    loaded.begin_drain()
    return dict(loaded.maps(collector).growth(name))


def test_two_fragments_of_one_program_count_every_packet_into_exact_buckets(opened: Opened) -> None:
    loaded = opened.load(sizes(), records())
    assert loaded.outcomes == {"sizes": Outcome(True, PACKETS), "records": Outcome(True, PACKETS)}
    opened.send(23, size=100 - HEADERS_SIZE)  # on the first bound: still in its bucket
    opened.send(7, size=101 - HEADERS_SIZE)
    opened.send(5, size=121 - HEADERS_SIZE)
    expected = (2 * 35, 2 * (23 * 100 + 7 * 101 + 5 * 121), 2 * 23, 2 * 5)
    assert grown(loaded, "sizes", "sizes") == {opened.key: expected}
    assert loaded.runs() == {"on_ingress": (35, 0, 0)}
    assert loaded.books()["records"][0] == 70
    opened.send(1)
    assert grown(loaded, "sizes", "sizes") == {opened.key: (2, 2 * 128, 0, 2)}


def test_a_sockets_storage_is_read_at_its_end(opened: Opened) -> None:
    loaded = opened.load(ends())
    assert loaded.outcomes["ends"].hooks == (*PACKETS, "tp_btf/inet_sock_set_state")
    opened.cgroup.run([sys.executable, "-I", "-c", TCP, "23"])
    ((key, (sockets, packets)),) = grown(loaded, "ends", "ends").items()
    assert key == opened.key
    assert sockets == 2 * 23
    # Three for opening, one byte and its ACK, one FIN with its ACK in each direction: all seen at both ends, but
    # for what the listener and the TIME_WAIT socket get instead of these two.
    assert packets > 2 * 23 * 5


def test_a_raw_tracepoint_counts_the_programs_that_a_cgroup_starts(opened: Opened) -> None:
    loaded = opened.load(calls())
    assert loaded.outcomes["calls"].hooks == ("raw_tracepoint/sched_process_exec",)
    for _ in range(7):
        opened.cgroup.run(["true"])
    assert grown(loaded, "calls", "calls")[opened.key] == (7,)


def test_sockets_that_were_open_before_are_walked_once(opened: Opened) -> None:
    with ExitStack() as sockets:
        first = sockets.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))
        port = first.getsockname()[1]
        for _ in range(4):
            sockets.enter_context(socket.create_server(("127.0.0.1", port), reuse_port=True))
        walk = SocketIterator("on_open_socket")
        collector = made_collector(PROGRAMS, "walked", walk, base=None, defines={"WALKED_PORT": str(port)})
        loaded = opened.load(collector)
    assert loaded.outcomes["walked"] == Outcome(True, ("iter/task_file",))
    assert grown(loaded, "walked", "walked") == {struct.pack("=Q", port): (5,)}


def test_the_books_of_a_ring_balance_with_a_reader_and_with_one_that_stopped(opened: Opened) -> None:
    loaded = opened.load(records())
    maps = loaded.maps("records")
    opened.send(50)
    read = [struct.unpack("=QQ", record) for record in maps.records("records")]
    assert len(read) == 100
    assert {length for _, length in read} == {100 + HEADERS_SIZE}
    assert loaded.books() == {"records": (100, 0)}

    opened.send(997)  # nobody reads: 4,096 bytes hold 170 records of 24
    seen, lost = loaded.books()["records"]
    assert seen == 100 + 2 * 997
    late = list(maps.records("records"))
    assert len(late) == 4096 // 24
    assert seen == len(read) + len(late) + lost

    opened.send(11)
    assert len(list(maps.records("records"))) == 22
    assert loaded.books()["records"] == (seen + 22, lost)


def test_idle_rows_are_removed_and_still_counted(opened: Opened) -> None:
    loaded = opened.load(sizes())

    def entries() -> int:
        return {table.name: table.entries for table in loaded.tables()}["sizes"]

    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46
    for _ in range(3):
        opened.clock.now += 30.0
        assert grown(loaded, "sizes", "sizes") == {}
    assert entries() == 0
    opened.send(5)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 10
    assert entries() == 1


def test_a_compile_error_has_file_and_line_and_the_rest_counts(opened: Opened, tmp_path: Path) -> None:
    text = "/* one\n * two\n */\nstatic inline void on_packet_wrong(struct __sk_buff *skb, struct packet *p)\n{\n"
    wrong = made_collector(tmp_path, "wrong", text=f"{text}\tp->lenght = 0;\n}}\n")
    loaded = opened.load(wrong, sizes())
    assert loaded.outcomes["wrong"] == Outcome(
        False, reason="wrong.bpf.c:6: no member named 'lenght' in 'struct packet'; did you mean 'length'?"
    )
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def test_a_fragment_that_the_verifier_refuses_is_left_out_and_the_rest_counts(opened: Opened, tmp_path: Path) -> None:
    text = """BPF_HASH(blind_rows, u64, u64, 8);
    static inline void on_packet_blind(struct __sk_buff *skb, struct packet *p)
    {
        u64 *row = blind_rows.lookup(&p->cgroup_id);
        __sync_fetch_and_add(row, 1);
    }
    """
    loaded = opened.load(records(), made_collector(tmp_path, "blind", text=text), sizes())
    assert not loaded.outcomes["blind"].up
    assert "invalid mem access 'map_value_or_null'" in loaded.outcomes["blind"].reason
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46
    assert loaded.books() == {"records": (46, 0)}


def test_a_map_that_two_fragments_define_costs_one_of_them(opened: Opened, tmp_path: Path) -> None:
    text = "BPF_HASH(sizes, u64, u64, 8);\n"
    text += "static inline void on_packet_again(struct __sk_buff *skb, struct packet *p) {}\n"
    loaded = opened.load(sizes(), made_collector(tmp_path, "again", text=text))
    assert [name for name, outcome in loaded.outcomes.items() if outcome.up] == ["sizes"]
    assert loaded.outcomes["again"].reason.startswith("again.bpf.c:1: ")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (RawTracepoint("on_end", tracepoint="no_such"), "raw_tracepoint/no_such: cannot attach on_end: No such file"),
        (TracingTracepoint("on_end", tracepoint="no_such"), "tp_btf/no_such: on_end: this kernel has no tracepoint"),
        (RawTracepoint("on_nothing", tracepoint="sys_enter"), "there is no function on_nothing in the text"),
    ],
)
def test_a_hook_that_is_missing_costs_its_collector_only(
    opened: Opened, tmp_path: Path, probe: RawTracepoint | TracingTracepoint, reason: str
) -> None:
    (tmp_path / "missing.bpf.c").write_text("int on_end(u64 *ctx) { return 0; }\n")
    loaded = opened.load(made_collector(tmp_path, "missing", probe), sizes())
    assert reason in loaded.outcomes["missing"].reason
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def test_the_second_choice_is_used_where_the_first_is_missing(opened: Opened, tmp_path: Path) -> None:
    text = "int on_new(u64 *ctx) { return 0; }\nint on_old(u64 *ctx) { return 0; }\n"
    either = AnyOf((TracingTracepoint("on_new", tracepoint="no_such"), RawTracepoint("on_old", tracepoint="sys_exit")))
    outcome = opened.load(made_collector(tmp_path, "either", either, base=None, text=text)).outcomes["either"]
    assert outcome.hooks == ("raw_tracepoint/sys_exit",)
    assert "this kernel has no tracepoint no_such" in outcome.reason


def test_the_headers_are_proven_by_the_compiler_field_by_field(opened: Opened) -> None:
    loaded = opened.load(calls(), ends())
    assert loaded.headers == "btf"
    assert loaded.assertions > 1000


def test_a_header_tree_is_kept_between_starts(opened: Opened, tmp_path: Path) -> None:
    first = opened.load(sizes(), cache=str(tmp_path / "cache"))
    second = opened.load(sizes(), cache=str(tmp_path / "cache"))
    assert (first.headers, second.headers) == ("btf", "btf, cached")
    assert first.assertions == second.assertions > 0
    assert second.outcomes["sizes"].up


def test_real_headers_serve_where_they_are_installed(opened: Opened, tmp_path: Path) -> None:
    loaded = opened.load(sizes(), headers=str(installed_headers(tmp_path / "headers")))
    assert loaded.headers == str(tmp_path / "headers")
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def installed_headers(merged: Path) -> Path:
    """Debian splits a kernel's headers into two trees, which BCC takes as one only at their usual place."""
    for build in sorted(Path("/lib/modules").glob("*/build")):
        merged.mkdir()
        for tree in (build.with_name("source"), build):
            if tree.is_dir():
                subprocess.run(["cp", "-rsfT", str(tree.resolve()), str(merged)], check=True)
        return merged
    pytest.skip("needs kernel headers (apt install linux-headers-amd64)")


def test_without_type_information_and_headers_both_are_named(opened: Opened) -> None:
    hide = 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$@"'
    result = in_another_process(opened, "sizes()", prefix=["unshare", "--mount", "sh", "-c", hide, "sh"])
    if result.get("headers", "").startswith("/lib/modules"):
        pytest.skip("the running kernel's headers are installed")
    assert (
        "neither the kernel's type information (/sys/kernel/btf/vmlinux: BTF is cut short) nor its headers"
        in (result["HeadersError"])
    )


def test_a_headers_path_that_is_none_is_refused(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(HeadersError, match="not a tree of kernel headers"):
        opened.load(sizes(), headers=str(tmp_path))


def test_the_loading_process_stays_small_and_never_maps_the_compiler(opened: Opened) -> None:
    result = in_another_process(opened, "sizes(), ends(), records(), calls()")
    assert result["up"] == 4
    assert not [name for name in result["mapped"] if "libbcc" in name or "LLVM" in name or "clang" in name]
    assert result["grown_kib"] < 4 * 1024


def test_a_second_lock_on_a_cgroup_root_is_refused(opened: Opened) -> None:
    with Lock(str(opened.cgroup.path)):
        with pytest.raises(HostError, match="another bpfleet agent runs on this node"):
            Lock(str(opened.cgroup.path))


LOAD = """
import json, sys
from contextlib import ExitStack
sys.path[:0] = [{source!r}, {repository!r}]
from tests.kernel.test_door import *
from bpfleet.errors import BpfleetError

def resident_kib():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

said, before_kib = {{}}, resident_kib()
try:
    settings = KernelSettings(cgroup_root={cgroup!r}, bounds=BOUNDS)
    loaded = KernelDoor().load([*({collectors},)], settings)
    said["up"] = sum(outcome.up for outcome in loaded.outcomes.values())
    said["headers"] = loaded.headers
except BpfleetError as error:
    said[type(error).__name__] = str(error)
said["mapped"] = sorted({{line.split()[-1] for line in open("/proc/self/maps")}})
said["grown_kib"] = resident_kib() - before_kib
print(json.dumps(said), flush=True)
sys.stdin.read()
"""


def loading(opened: Opened, collectors: str) -> list[str]:
    text = LOAD.format(
        source=str(REPOSITORY / "src"),
        repository=str(REPOSITORY),
        cgroup=str(opened.cgroup.path),
        collectors=collectors,
    )
    return [sys.executable, "-c", text]


def in_another_process(opened: Opened, collectors: str, prefix: list[str] | None = None) -> dict[str, Any]:
    command = [*(prefix or []), *loading(opened, collectors)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def attached(cgroup: Cgroup) -> int:
    """Programs on the cgroup, by the kernel's own list."""
    shown = subprocess.run(["bpftool", "-j", "cgroup", "show", str(cgroup.path)], capture_output=True, text=True)
    return len(json.loads(shown.stdout.strip() or "[]"))


def programs(*names: str) -> int:
    shown = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True)
    return sum(program.get("name", "") in names for program in json.loads(shown.stdout))


def runs(pid: str) -> bool:
    """A zombie has ended; whoever inherited it has not noticed yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(opened: Opened, *names: str, children: Sequence[str] = ()) -> bool:
    end = time.monotonic() + GONE_SECONDS
    while attached(opened.cgroup) or programs(*names) or any(map(runs, children)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_killed_process_leaves_no_program_and_no_link(opened: Opened) -> None:
    with subprocess.Popen(
        loading(opened, "ends(), calls()"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and json.loads(process.stdout.readline())["up"] == 2
        assert attached(opened.cgroup) == 2
        assert programs("on_end", "on_exec") == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(opened, "on_end", "on_exec")


@pytest.mark.parametrize("after_seconds", [0.1, 0.4, 0.7, 1.0])
def test_a_process_killed_while_it_loads_takes_the_compiler_along(opened: Opened, after_seconds: float) -> None:
    with subprocess.Popen(
        loading(opened, "ends(), calls()"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(after_seconds)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(opened, "on_end", "on_exec", children=children)
