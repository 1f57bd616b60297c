"""Is every change of a TCP connection's state told once, in order, with its time and both ends, whatever becomes of the
reader?

Witnesses: `ss`, nginx's log, TcpActiveOpens and TcpPassiveOpens of the namespaces, the number of connections made.
"""

import itertools
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from io import FileIO
from pathlib import Path

import pytest
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.clock_steps import SteppedClock
from tests.support.events import CHANNELS, Books, Told, at_rest, lost, of, parsed, stopped
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.servers import Nginx
from tests.support.terminals import BPFLEET

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]
Clogged = tuple[Agent, FileIO]

V4, V6 = "198.51.100.2", "2001:db8::2"
CLIENTS = {V4: "198.51.100.1", V6: "2001:db8::1"}
TYPES = {V4: "ipv4", V6: "ipv6"}
COLLECTORS = ("--collectors", "+tcp_states,-http", "--limits-events-per-second", "1000000")
OPENED = "bpfleet_tcp_connections_opened_total"
STATE, PREVIOUS = "network.connection.state", "bpfleet.network.connection.previous_state"
CLOSES_FIRST = ("closed", "syn_sent", "established", "fin_wait_1", "fin_wait_2", "closed")
CLOSES_LAST = ("listen", "syn_received", "established", "close_wait", "last_ack", "closed")

MANY = 4001
"""Connections whose 40,010 events are 17 MiB as text: twice what may be queued."""

MOST_GROWN_KIB = 10 * 1024
"""Of the agent's memory, while a sink's other end is away (GOALS R3)."""

PORTS = itertools.count(5001)
HOUR = 3600
DRAIN_NEVER = {"BPFLEET_DRAIN_INTERVAL_SECONDS": "300", "BPFLEET_SCRAPE_INTERVAL_SECONDS": "300",
               "BPFLEET_FLOW_IDLE_SECONDS": "1200"}  # fmt: skip
CAUGHT_UP = 512
"""Events in a queue that is being emptied, on a host whose own sockets go on."""

LOOK_SECONDS = 0.1
MOST_ENDING_SECONDS = 5.0
SMALL_DISK = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'


def steps(*states: str) -> list[tuple[str, str]]:
    return list(zip(states, states[1:], strict=False))


def changes(events: list[Told]) -> list[tuple[str, str]]:
    return [(event[PREVIOUS], event[STATE]) for event in events]


def connections(events: list[Told]) -> list[Told]:
    """Without the listeners' own."""
    return [
        event for event in events if (event[PREVIOUS], event[STATE]) not in (("closed", "listen"), ("listen", "closed"))
    ]


def moment(event: Told) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def exchange(place: Place, pair: Pair, count: int, address: str = V4) -> tuple[Cgroup, Cgroup]:
    """Connections of which each client closes first."""
    server, client, port = place("server", pair[1]), place("client", pair[0]), next(PORTS)
    server.serve(address, port, mode="banner")
    assert client.talk("connect", address, port, count=count) == f"done ok={count}"
    await_closed(pair[1])
    return client, server


def await_closed(namespace: Namespace) -> None:
    """The servers' side closes after the clients'."""
    end = time.monotonic() + RUN_SECONDS
    while namespace.sockets("state", "connected"):
        assert time.monotonic() < end


def await_queue(agent: Agent) -> None:
    """Until the sink has caught up."""
    end = time.monotonic() + RUN_SECONDS
    while Books(agent).queued > CAUGHT_UP:
        assert time.monotonic() < end
        agent.drained()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def agent(alone: House, file: Path) -> Iterator[Agent]:
    """One that writes to the file."""
    with Agent(*COLLECTORS, "--sinks-jsonl-path", str(file)) as running:
        yield running


@pytest.fixture
def clogged(alone: House) -> Iterator[Clogged]:
    """One that writes to a pipe which nobody reads yet, and the pipe's other end."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as pipe:
        with Agent(*COLLECTORS, stdout=writing) as running:
            os.close(writing)
            yield running, pipe


@needs("nginx", "curl", "ss")
@pytest.mark.parametrize("address", [V4, V6])
def test_one_request_of_curl_is_told_state_by_state_on_both_sides(
    agent: Agent, file: Path, place: Place, pair: Pair, tmp_path: Path, address: str
) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    Nginx(server, tmp_path)
    began = time.time_ns()
    client.run(["curl", "-sSf", f"http://[{address}]/" if ":" in address else f"http://{address}/"])
    left = pair[0].sockets("state", "time-wait")
    await_closed(pair[1])
    ended = time.time_ns()
    assert stopped(agent).lost == {}

    events = parsed(file.read_text())
    of_client, of_server = of(events, client.workload), connections(of(events, server.workload))
    assert changes(of_client) == steps(*CLOSES_FIRST)
    assert changes(of_server) == steps(*CLOSES_LAST)

    port = of_client[-1]["network.local.port"]
    assert len(left) == 1 and f":{port} " in left[0], "ss has the client's side in TIME_WAIT, which no event tells of"
    assert pair[0].counters()["TcpActiveOpens"] == pair[1].counters()["TcpPassiveOpens"] == 1
    for side, local, remote in ((of_client, CLIENTS[address], address), (of_server, address, CLIENTS[address])):
        ports = (port, 80) if side is of_client else (80, port)
        assert {each["network.type"] for each in side} == {TYPES[address]}
        for each in side[1:]:  # the first one comes before the kernel knows all of it
            assert (each["network.local.address"], each["network.peer.address"]) == (local, remote)
            assert (each["network.local.port"], each["network.peer.port"]) == ports
        times = [each["time"] for each in side]
        assert times == sorted(times)
        assert began / 1e9 <= moment(side[0]) <= moment(side[-1]) <= ended / 1e9
        namespace = pair[0] if side is of_client else pair[1]
        assert {each["bpfleet.network.namespace"] for each in side} == {os.fstat(namespace.fd).st_ino}
    assert {each["event.name"] for each in events} == {"bpfleet.tcp.state_change"}
    assert {each["k8s.namespace.name"] for each in of_client} == {"_host"}


@pytest.mark.parametrize("address", [V4, V6])
def test_499_connections_are_499_of_each_change(
    agent: Agent, file: Path, place: Place, pair: Pair, address: str
) -> None:
    client, server = exchange(place, pair, 499, address)
    last, events = stopped(agent), parsed(file.read_text())
    assert Counter(changes(of(events, client.workload))) == dict.fromkeys(steps(*CLOSES_FIRST), 499)
    of_server = connections(of(events, server.workload))
    assert Counter(changes(of_server)) == dict.fromkeys(steps(*CLOSES_LAST), 499)
    assert pair[0].counters()["TcpActiveOpens"] == pair[1].counters()["TcpPassiveOpens"] == 499
    assert (len(events), {}) == last


def test_the_books_balance_from_the_kernel_to_the_sink(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    client, server = exchange(place, pair, 499)
    books = at_rest(agent)
    assert books.seen >= 2 * 5 * 499
    assert books.lost == 0, lost(agent, *CHANNELS)
    page = agent.page()
    assert page.value("bpfleet_events_total", outcome="passed") >= 2 * 5 * 499
    assert page.value("bpfleet_sink_events_total", sink="jsonl", outcome="delivered") >= 2 * 5 * 499


def test_a_listener_is_told_too(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    server = place("server", pair[1])
    server.serve(V4, 5001)
    server.stop()
    stopped(agent)
    told = of(parsed(file.read_text()), server.workload)
    assert changes(told) == [("closed", "listen"), ("listen", "closed")]
    assert [(each["network.local.address"], each["network.local.port"]) for each in told] == [(V4, 5001)] * 2
    assert not [each for each in told if "network.peer.address" in each]


def test_a_connection_that_is_refused_goes_back_from_syn_sent(
    agent: Agent, file: Path, place: Place, pair: Pair
) -> None:
    client = place("client", pair[0])
    assert client.talk("connect", V4, 9, count=23) == "done ECONNREFUSED=23"
    stopped(agent)
    told = Counter(changes(of(parsed(file.read_text()), client.workload)))
    assert told == {("closed", "syn_sent"): 23, ("syn_sent", "closed"): 23}


def test_a_hostile_name_is_inert_and_comes_back_as_it_was(agent: Agent, file: Path, place: Place, pair: Pair) -> None:
    client = place('\x1b]0;owned\x07\x9b2J"},{\\\u202e\x7f', pair[0])
    client.talk("connect", V4, 9, count=7)
    stopped(agent)
    assert len(of(parsed(file.read_text()), client.workload)) == 2 * 7


def test_a_reader_that_stands_still_costs_events_but_no_count_and_exactly_that_is_said(
    clogged: Clogged, place: Place, pair: Pair
) -> None:
    agent, pipe = clogged
    agent.settled()
    before_kib = resident_kib(agent)
    client, server = exchange(place, pair, MANY)
    page = agent.settled(client, server)
    assert page.value(OPENED, workload=client.workload) == MANY
    books = Books(agent)
    assert lost(agent, "sink_jsonl")["queue_full"] > MANY
    assert books.queued > MANY
    assert resident_kib(agent) - before_kib < MOST_GROWN_KIB

    with Reader(pipe) as reader:
        await_queue(agent)
        last = stopped(agent)
        reader.await_end()
    assert reader.lines == last.delivered >= books.delivered + books.queued
    assert set(last.lost) == {"queue_full"}


def test_a_slow_reader_gets_whole_lines_and_the_rest_is_counted(clogged: Clogged, place: Place, pair: Pair) -> None:
    agent, pipe = clogged
    with Reader(pipe, pause_seconds=0.05) as reader:
        client, server = exchange(place, pair, MANY)
        page = agent.settled(client, server)
        assert page.value(OPENED, workload=client.workload) == MANY
        reader.pause_seconds = 0.0
        await_queue(agent)
        last = stopped(agent)
        reader.await_end()
    assert reader.lines == last.delivered
    assert set(last.lost) <= {"queue_full"}


def test_a_reader_that_goes_away_is_counted(clogged: Clogged, place: Place, pair: Pair) -> None:
    agent, pipe = clogged
    exchange(place, pair, 23)
    agent.drained()
    pipe.close()
    client, server = exchange(place, pair, 211)
    page = agent.settled(client, server)
    assert page.value(OPENED, workload=client.workload) == 211
    last = stopped(agent)
    assert set(last.lost) == {"closed"}
    assert last.lost["closed"] >= 211 * 10


@pytest.mark.parametrize("how", ["path", "standard output"])
def test_a_full_disk_is_counted(alone: House, place: Place, pair: Pair, stack: ExitStack, how: str) -> None:
    flags = ("--sinks-jsonl-path", "/dev/full") if how == "path" else ()
    stdout = os.open("/dev/full", os.O_WRONLY)
    stack.callback(os.close, stdout)
    with Agent(*COLLECTORS, *flags, stdout=stdout) as agent:
        client, server = exchange(place, pair, 499)
        page = agent.settled(client, server)
        assert page.value(OPENED, workload=client.workload) == 499
        assert Books(agent).delivered == 0
        await_queue(agent)
        assert lost(agent, "sink_jsonl")["disk_full"] >= 499 * 10
        assert agent.get("/readyz")[0] == 200
        assert agent.output().count("No space left on device") == 1
        last = stopped(agent)
        assert (last.delivered, set(last.lost)) == (0, {"disk_full"})


@needs("unshare")
def test_a_disk_that_fills_up_keeps_whole_lines_and_goes_on_when_there_is_room(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    prefix = ["unshare", "--mount", "sh", "-c", SMALL_DISK, str(tmp_path)]
    with ExitStack() as opened, Agent(*COLLECTORS, "--sinks-jsonl-path", f"{tmp_path}/e", prefix=prefix) as agent:
        exchange(place, pair, 499)
        agent.drained()
        await_queue(agent)
        file = opened.enter_context(open(f"/proc/{agent.process.pid}/root{tmp_path}/e", "r+"))
        assert lost(agent, "sink_jsonl")["disk_full"] > 499
        whole = len(parsed(file.read()))
        assert 0 < whole <= Books(agent).delivered

        file.truncate(0)
        client, _ = exchange(place, pair, 7)
        last = stopped(agent)
        file.seek(0)
        events = parsed(file.read())
        assert Counter(changes(of(events, client.workload))) == dict.fromkeys(steps(*CLOSES_FIRST), 7)
        assert last.delivered == whole + len(events)
        assert set(last.lost) == {"disk_full"}


def test_a_directory_that_is_not_there_costs_events_only(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    path = tmp_path / "later" / "events.jsonl"
    with Agent(*COLLECTORS, "--sinks-jsonl-path", str(path)) as agent:
        exchange(place, pair, 23)
        agent.drained()
        await_queue(agent)
        assert lost(agent, "sink_jsonl")["failed"] >= 23 * 10
        path.parent.mkdir()
        client, _ = exchange(place, pair, 7)
        last, events = stopped(agent), parsed(path.read_text())
        assert len(of(events, client.workload)) == 7 * 5
        assert (last.delivered, set(last.lost)) == (len(events), {"failed"})


def test_what_was_told_last_is_written_when_the_agent_ends(alone: House, place: Place, pair: Pair, file: Path) -> None:
    with Agent(*COLLECTORS, "--sinks-jsonl-path", str(file), environment=DRAIN_NEVER) as agent:
        client, server = exchange(place, pair, 499)
        last, events = stopped(agent), parsed(file.read_text())
    assert len(of(events, client.workload)) == len(connections(of(events, server.workload))) == 499 * 5
    assert last == (len(events), {})


def test_a_reader_that_stands_still_does_not_keep_the_agent_from_ending(
    clogged: Clogged, place: Place, pair: Pair
) -> None:
    agent, pipe = clogged
    exchange(place, pair, 499)
    agent.drained()
    began = time.monotonic()
    last = stopped(agent)
    assert time.monotonic() - began < MOST_ENDING_SECONDS
    with Reader(pipe) as reader:
        reader.await_end()
    assert reader.lines == last.delivered > 0
    assert last.lost["ending"] >= 499 * 10 - last.delivered


def test_a_flood_is_limited_and_what_is_beyond_is_counted(alone: House, place: Place, pair: Pair, file: Path) -> None:
    flags = ("--sinks-jsonl-path", str(file), "--limits-events-per-second", "100")
    with Agent(*COLLECTORS, *flags) as agent:
        began = time.monotonic()
        client, server = exchange(place, pair, 499)
        page = agent.settled(client, server)
        took = time.monotonic() - began
        assert page.value(OPENED, workload=client.workload) == 499
        agent.drained()
        limited = lost(agent, "events")["rate_limit"]
        last, events = stopped(agent), parsed(file.read_text())
    assert last == (len(events), {})
    mine = len(of(events, client.workload)) + len(of(events, server.workload))
    assert mine <= 100 + 100 * took
    assert limited >= 499 * 10 - mine


@needs("cc")
def test_a_step_of_the_clock_shows_in_the_next_events(
    alone: House, place: Place, pair: Pair, file: Path, tmp_path: Path
) -> None:
    clock = SteppedClock(tmp_path)
    with Agent(*COLLECTORS, "--sinks-jsonl-path", str(file), environment=clock.environment):
        moments = []
        for hours in (0, 1, -2):
            clock.step(hours * HOUR)
            client, _ = exchange(place, pair, 1)
            moments.append(moment(await_written(file, client)))
    first, second, third = moments
    assert second - first == pytest.approx(HOUR, abs=30)
    assert third - second == pytest.approx(-2 * HOUR, abs=30)


def test_the_live_table_is_not_disturbed_by_events(alone: House, place: Place, pair: Pair) -> None:
    command = [*BPFLEET, "top", "--once", "--interval", "1", "--identity-kubernetes", "off", *COLLECTORS]
    told = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=True)
    assert "bpfleet.tcp.state_change" not in told.stdout + told.stderr
    assert told.stdout.split()[:2] == ["NAMESPACE", "WORKLOAD"]


def await_written(file: Path, place: Cgroup) -> Told:
    """The first event of a workload. Raises AssertionError."""
    end = time.monotonic() + RUN_SECONDS
    while True:
        text = file.read_text() if file.exists() else ""
        if told := of(parsed(text[: text.rfind("\n") + 1]), place.workload):
            return told[0]
        assert time.monotonic() < end
        time.sleep(LOOK_SECONDS)


def resident_kib(agent: Agent) -> int:
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


class Reader:
    """Reads a pipe to its end on a thread of its own, and holds every line to be whole. lines: so many came."""

    def __init__(self, pipe: FileIO, pause_seconds: float = 0.0) -> None:
        self._pipe = pipe
        self.pause_seconds = pause_seconds
        self.lines = 0
        self._strange: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Reader":
        os.set_blocking(self._pipe.fileno(), False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert not self._strange

    def _read(self) -> None:
        rest = b""
        while not self._stop.is_set():
            data = self._pipe.read(1 << 16)
            if data is None:
                self._stop.wait(0.01)
                continue
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            self.lines += len(whole)
            self._strange += [line for line in whole if line[:1] + line[-1:] != b"{}"]
            self._stop.wait(self.pause_seconds)

    def await_end(self) -> None:
        self._thread.join(RUN_SECONDS)
        assert not self._thread.is_alive()
