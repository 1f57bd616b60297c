"""The door on the real kernel: what is loaded counts exactly, through every kind of hook and map."""

import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.cgroups import Cgroup
from tests.support.doors import (
    HEADERS_SIZE,
    PACKETS,
    PROGRAMS,
    TCP,
    Opened,
    calls,
    ends,
    grown,
    in_another_process,
    records,
    sizes,
)
from tests.support.made_collectors import made_collector

from agent.kernel.isolation import Outcome
from agent.kernel.lock import Lock
from bpfleet.api import RawTracepoint, SocketIterator, Walk
from bpfleet.errors import HostError

WAITS = [sys.executable, "-I", "-c", "print('here', flush=True); input()"]


@pytest.fixture
def opened(place: Callable[..., Cgroup], stack: ExitStack) -> Iterator[Opened]:
    cgroup = place("door")
    with ExitStack() as inner:
        yield Opened(cgroup, inner)


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


def test_runs_that_the_kernel_leaves_out_are_told(opened: Opened) -> None:
    """A program that calls its own hook: each run of it is one, and the one inside it is left out."""
    probes = (
        RawTracepoint("on_print", tracepoint="bpf_trace_printk"),
        RawTracepoint("on_program", tracepoint="sched_process_exec"),
    )
    (cgroup_id,) = struct.unpack("=Q", opened.key)
    defines = {"NESTED_CGROUP": f"{cgroup_id}ULL"}
    loaded = opened.load(made_collector(PROGRAMS, "nested", *probes, base=None, defines=defines))
    assert loaded.left_out() == {"on_print": 0, "on_program": 0}
    for _ in range(7):
        opened.cgroup.run(["true"])
    runs = grown(loaded, "nested", "nested")[opened.key][0]
    assert runs >= 7
    assert loaded.left_out() == {"on_print": runs, "on_program": 0}


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


def test_a_walk_is_taken_as_often_as_it_is_asked_for(opened: Opened) -> None:
    """And shows what there is at that moment: the processes of a cgroup, by their number."""
    collector = made_collector(PROGRAMS, "processes", Walk("on_process", target="task"), base=None)
    loaded = opened.load(collector)
    assert loaded.outcomes["processes"] == Outcome(True, ("iter/task",))

    def processes() -> set[int]:
        rows = struct.iter_unpack("=Q8s", loaded.maps("processes").walk("on_process"))
        return {process for process, cgroup_id in rows if cgroup_id == opened.key}

    assert processes() == set()
    for _ in range(2):
        waiting = [opened.cgroup.start(WAITS, ready="here") for _ in range(7)]
        assert processes() == {each.pid for each in waiting}
        for each in waiting:
            each.communicate("\n")
        assert processes() == set()


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


def test_the_loading_process_stays_small_and_never_maps_the_compiler(opened: Opened) -> None:
    result = in_another_process(opened, "sizes(), ends(), records(), calls()")
    assert result["up"] == 4
    assert not [name for name in result["mapped"] if "libbcc" in name or "LLVM" in name or "clang" in name]
    assert result["grown_kib"] < 4 * 1024


def test_a_second_lock_on_a_cgroup_root_is_refused(opened: Opened) -> None:
    with Lock(str(opened.cgroup.path)):
        with pytest.raises(HostError, match="another bpfleet agent runs on this node"):
            Lock(str(opened.cgroup.path))
