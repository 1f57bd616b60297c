"""Settings read again while the agent counts: is every packet still counted exactly once, and does it say what it did?

Witnesses: how many datagrams and connections their makers made, and how many datagrams their receiver got.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.agents import COMPILES, SCRAPE_SECONDS, WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup, await_line
from tests.support.namespaces import Namespace
from tests.support.pages import Page

from agent.collectors import BUILT_IN
from agent.metrics.pending import HELD_SECONDS

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4 = "198.51.100.2"
DATAGRAMS, SIZE, HEADERS = 20_011, 64, 28
CONNECTIONS = 1_009
PAUSE_SECONDS = 0.0005
"""Between two datagrams: the whole takes some 15 s, longer than all reloads of a test."""

LOOK_SECONDS = 0.05
READ_SECONDS = 0.5
"""Two drains are over by then, on a starved machine too."""
PACKETS, BYTES = "bpfleet_network_io_packets_total", "bpfleet_network_io_bytes_total"
OPENED, ACCEPTED = "bpfleet_tcp_connections_opened_total", "bpfleet_tcp_connections_accepted_total"
DEFAULT = {kind.name for kind in BUILT_IN if kind.default} - {"http"}
SENT = {"direction": "transmit", "transport": "udp"}
RECEIVED = {"direction": "receive", "transport": "udp"}
GOOD = "bpfleet_config_last_reload_successful"


class Reloading:
    """An agent with a settings file, and what was scraped from it."""

    def __init__(self, folder: Path, environment: dict[str, str] = WITHOUT_HTTP) -> None:
        self.file = folder / "agent.yaml"
        self.file.write_text("")
        self.agent = Agent("--config", str(self.file), environment=environment)

    def reload(self, text: str) -> dict[str, Any]:
        self.file.write_text(text)
        return self.agent.reload()


@pytest.fixture
def reloading(alone: House, tmp_path: Path) -> Iterator[Reloading]:
    made = Reloading(tmp_path)
    with made.agent:
        yield made


@pytest.fixture
def compiling(alone: House, tmp_path: Path) -> Iterator[Reloading]:
    """With the compiler at work during each reload."""
    made = Reloading(tmp_path, WITHOUT_HTTP | COMPILES)
    with made.agent:
        yield made


class Watch:
    """Scrapes all the time. fallen: counters that went back from one page to the next (one that was gone in between
    begins anew, for Prometheus too); unready: answers of /readyz that were not 200."""

    def __init__(self, agent: Agent) -> None:
        self._agent, self._stop = agent, threading.Event()
        self.fallen: list[str] = []
        self.unready: list[int] = []
        self.pages = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        before: dict[Any, float] = {}
        while not self._stop.wait(LOOK_SECONDS):
            page = self._agent.page()
            for series, value in page.samples.items():
                if series[0].endswith(("_total", "_count", "_sum", "_bucket")) and value < before.get(series, 0.0):
                    self.fallen.append(f"{series}: {before[series]} -> {value}")
            before = dict(page.samples)
            status = self._agent.get("/readyz")[0]
            if status != 200:
                self.unready.append(status)
            self.pages += 1


class Traffic:
    """Datagrams and connections from one namespace to the other, for as long as a test reloads. Each is counted by who
    made it."""

    def __init__(self, place: Place, pair: Pair) -> None:
        self.pair = pair
        self.client, self.server = place("client", pair[0]), place("server", pair[1])
        self.opener = place("opener", pair[0])
        self.server.serve(V4, 5001, mode="sink")
        self.sink = self.server.start(
            [sys.executable, "-I", str(Path(__file__).parents[1] / "support/talk.py"), "udp_sink", V4, "5002"], "ready"
        )
        talk = Path(__file__).parents[1] / "support/talk.py"
        command = [sys.executable, "-I", str(talk)]
        burst = ["udp_burst", V4, "5002", "--count", str(DATAGRAMS), "--size", str(SIZE), "--pause", str(PAUSE_SECONDS)]
        self.sender = self.client.start([*command, *burst])
        connect = ["connect", V4, "5001", "--count", str(CONNECTIONS), "--size", "23", "--shutdown", "--read"]
        self.connector = self.opener.start([*command, *connect, "--pause", "0.01"])

    @property
    def goes_on(self) -> bool:
        return self.sender.poll() is None and self.connector.poll() is None

    def ended(self) -> None:
        await_line(self.sender.stdout, f"done {DATAGRAMS} refused 0")
        assert await_line(self.connector.stdout, "done") == f"done ok={CONNECTIONS}\n"
        self.client.talk("udp_burst", V4, 5002, count=1, size=1)
        assert await_line(self.sink.stdout, "received") == f"received {DATAGRAMS}\n"

    def check(self, agent: Agent) -> None:
        """All that was sent and received is on the page, once."""
        page = agent.settled(self.client, self.server, self.opener)
        sent, received = page.only(workload=self.client.workload), page.only(workload=self.server.workload)
        for part, labels in ((sent, SENT), (received, RECEIVED)):
            assert part.value(PACKETS, **labels) == DATAGRAMS + 1
            assert part.value(BYTES, **labels) == DATAGRAMS * (SIZE + HEADERS) + 1 + HEADERS
        assert page.only(workload=self.opener.workload).value(OPENED) == CONNECTIONS
        assert received.value(ACCEPTED) == CONNECTIONS
        assert agent.lost() == {}


@pytest.fixture
def traffic(reloading: Reloading, place: Place, pair: Pair) -> Traffic:
    return Traffic(place, pair)


def test_nothing_is_missed_or_counted_twice_over_many_reloads(reloading: Reloading, traffic: Traffic) -> None:
    """Good files and bad ones, a collector off and on, other budgets and paces: all while the counting goes on."""
    agent, reloads = reloading.agent, 0
    texts = [
        "collectors: [-cgroups]\n",
        "nonsense: 1\n",
        "log_level: debug\nlimits: {series: 50000, series_per_metric: 10000}\n",
        "collectors: [-cgroups]\ndrain_interval_seconds: 0.1\n",
        "collectors: [-cgroups, -tcp]\nlimits: {flows: 64}\n",
        "",
    ]
    with Watch(agent) as watch:
        while traffic.goes_on:
            told = reloading.reload(texts[reloads % len(texts)])
            assert told["successful"] is ("nonsense" not in texts[reloads % len(texts)]), told
            reloads += 1
        traffic.ended()
    assert reloads >= 2 * len(texts)
    traffic.check(agent)
    assert watch.fallen == [] and watch.unready == [] and watch.pages > reloads
    up = {labels["collector"] for labels, value in agent.page().where("bpfleet_collector_up") if value == 1}
    assert {"traffic", "tcp", "connections"} <= up


def test_a_storm_of_signals_is_a_few_reloads_and_costs_no_count(reloading: Reloading, traffic: Traffic) -> None:
    agent, signals = reloading.agent, 0
    with Watch(agent) as watch:
        while traffic.goes_on:
            os.kill(agent.process.pid, signal.SIGHUP)
            signals += 1
        traffic.ended()
    traffic.check(agent)
    assert watch.fallen == [] and watch.unready == []
    attempts = agent.status()["reload"]["attempts"]
    assert signals > 1000 and 1 <= attempts < signals
    before = agent.reload()["attempts"]
    time.sleep(READ_SECONDS)
    assert agent.status()["reload"]["attempts"] == before, "all that were asked for are done"


def test_a_bad_file_is_told_and_changes_nothing_until_a_good_one_comes(reloading: Reloading) -> None:
    agent = reloading.agent
    good = agent.page().value("bpfleet_config_last_reload_success_timestamp_seconds")
    assert agent.page().value(GOOD) == 1
    told = reloading.reload("log_level: info\nlimits:\n  series: many\n")
    assert told["error"] == (
        f"{reloading.file}:3: limits.series must be a whole number from 1000 to 10000000: 'many' is not a whole number"
    )
    assert (told["successful"], agent.page().value(GOOD)) == (False, 0)
    assert agent.page().value("bpfleet_config_last_reload_success_timestamp_seconds") == good
    assert f"{reloading.file}:3: limits.series" in agent.output()
    assert agent.get("/readyz")[0] == 200

    told = reloading.reload("limits:\n  series: 50000\n")
    assert (told["successful"], told["error"], told["applied"]) == (True, "", ["limits.series"])
    assert agent.page().value(GOOD) == 1
    assert agent.page().value("bpfleet_config_last_reload_success_timestamp_seconds") > good


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("identity: {{static_file: {folder}/broken.yaml}}", "broken.yaml:2: workload is missing"),
        ("server: {{token_file: {folder}/empty}}", "agent.yaml:2: server.token_file: {folder}/empty: the token is"),
        ("collectors: [+nonsense]", "agent.yaml:2: there is no collector 'nonsense'"),
        ("log_level: ]", "agent.yaml:2: not valid YAML"),
    ],
)
def test_what_cannot_be_used_is_refused_whole(reloading: Reloading, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "broken.yaml").write_text("# nobody\n- {cgroup: /x}\n")
    (tmp_path / "empty").write_text("")
    told = reloading.reload(f"drain_interval_seconds: 0.3\n{text.format(folder=tmp_path)}\n")
    assert why.format(folder=tmp_path) in told["error"]
    assert (told["successful"], told["applied"]) == (False, [])
    assert reloading.agent.page().value(GOOD) == 0


def test_what_waits_for_a_restart_is_named_and_the_rest_is_applied(reloading: Reloading) -> None:
    told = reloading.reload("limits: {flows: 64, series: 50000}\ncollectors: [-tcp, -cgroups]\nnode_name: other\n")
    agent = reloading.agent
    assert told["applied"] == ["collectors", "limits.series"]
    assert sorted(told["restart_required"]) == ["collectors", "limits.flows", "node_name"]
    assert told["restart_required"]["limits.flows"] == f"32768 is in force, 64 is wanted ({reloading.file}:1)"
    assert agent.page().value("bpfleet_config_restart_required") == 3
    assert "limits.flows waits for a restart" in agent.output()
    assert agent.page().value("bpfleet_map_capacity", map="flows") == 32768
    time.sleep(READ_SECONDS)
    assert {labels["collector"] for labels, _ in agent.page().where("bpfleet_collector_up")} == {
        "traffic",
        "tcp",
        "connections",
    }
    assert reloading.reload("")["restart_required"] == {}
    assert agent.page().value("bpfleet_config_restart_required") == 0


def test_a_collector_that_was_off_and_on_knows_what_is_made_from_then_on(
    reloading: Reloading, place: Place, pair: Pair
) -> None:
    """Its books go on from where they were."""
    agent = reloading.agent
    with contextlib.ExitStack() as stack:
        for _ in range(23):
            stack.enter_context(Cgroup("before"))
    time.sleep(READ_SECONDS)
    before = agent.page().value("bpfleet_seen_total", channel="cgroup_events")
    assert before >= 46
    reloading.reload("collectors: [-cgroups]\n")
    time.sleep(READ_SECONDS)
    assert list(agent.page().where("bpfleet_seen_total", channel="cgroup_events")) == []
    reloading.reload("")
    with contextlib.ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(Cgroup("after"))
    time.sleep(READ_SECONDS)
    page = agent.page()
    after = page.value("bpfleet_seen_total", channel="cgroup_events")
    assert after >= before + 14
    lost = sum(value for _, value in page.where("bpfleet_lost_total", channel="cgroup_events"))
    assert page.value("bpfleet_delivered_total", channel="cgroup_events") == after - lost


def test_an_opt_in_collector_is_switched_on_and_off_while_the_others_count(
    reloading: Reloading, traffic: Traffic, place: Place
) -> None:
    """Witness: the seven connections that are held. Each walk takes one sample of each."""
    agent, holder = reloading.agent, place("holder", traffic.pair[0])
    place("keeper", traffic.pair[1]).serve(V4, 5003, mode="hold")
    holder.begin("hold", V4, 5003, count=7)
    name, seen = "bpfleet_tcp_congestion_window_segments_count", 0.0
    for interval in (0.3, 0.5):
        reloading.reload(f"collectors: [+sockets]\nsockets: {{interval_seconds: {interval}}}\n")
        for _ in range(2):
            time.sleep(2.5)  # more than the zero that precedes a first event
            now = agent.page().value(name, workload=holder.workload)
            assert now > seen and now % 7 == 0
            seen = now
    reloading.reload("")
    last = agent.page().value(name, workload=holder.workload)
    assert last >= seen and last % 7 == 0
    end = time.monotonic() + HELD_SECONDS + (1.1 + 2.1) * SCRAPE_SECONDS + READ_SECONDS
    while list(agent.page().where(name)) and time.monotonic() < end:  # samples of a cgroup without a name come late
        time.sleep(READ_SECONDS)
    assert list(agent.page().where(name)) == []
    traffic.ended()
    traffic.check(agent)
    assert agent.page().value("bpfleet_drain_failures_total") == 0


def test_every_collector_with_programs_of_its_own_can_be_switched_at_any_time(
    reloading: Reloading, traffic: Traffic
) -> None:
    agent, rounds = reloading.agent, 0
    names = sorted(kind.name for kind in BUILT_IN if not kind.default and kind.base is None)
    parts = {"http_bodies", "http_log", "dns_names", "file_open", "chmod", "ptrace"}
    assert {kind.name for kind in BUILT_IN if not kind.default} - {*names} == parts, "of programs that they share"
    with Watch(agent) as watch:
        while traffic.goes_on:
            some = names[rounds % len(names) :] if rounds % 4 else names
            told = reloading.reload(f"collectors: [{', '.join(f'+{name}' for name in some)}]\n")
            assert told["successful"] and told["restart_required"] == {}
            time.sleep(READ_SECONDS)
            up = {labels["collector"]: value for labels, value in agent.page().where("bpfleet_collector_up")}
            assert set(up) == {*DEFAULT, *some} and set(up.values()) == {1}, agent.output()
            rounds += 1
        traffic.ended()
    assert rounds > len(names)
    traffic.check(agent)
    assert watch.fallen == [] and watch.unready == []
    assert agent.page().value("bpfleet_drain_failures_total") == 0, agent.output()


def test_a_workload_that_is_named_anew_is_counted_under_both_names_once(
    reloading: Reloading, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client, names = place("client", pair[0]), tmp_path / "identity.yaml"
    client.talk("udp_burst", V4, 9, count=23, size=SIZE, unconnected=True)
    time.sleep(READ_SECONDS)
    names.write_text(f"- {{cgroup: {client.workload}, workload: web, namespace: shop}}\n")
    assert reloading.reload(f"identity: {{static_file: {names}}}\n")["applied"] == ["identity.static_file"]
    page = Page.parse(reloading.agent.get("/metrics?view=live")[1].decode())
    assert page.value(PACKETS, workload=client.workload, **SENT) == 23, "until everybody has scraped it"
    client.talk("udp_burst", V4, 9, count=19, size=SIZE, unconnected=True)
    time.sleep((1.1 + 2.1) * SCRAPE_SECONDS + READ_SECONDS)
    page = reloading.agent.page()
    assert page.value(PACKETS, workload="web", namespace="shop", **SENT) == 19
    assert list(page.where(PACKETS, workload=client.workload)) == []
    names.write_text(f"- {{cgroup: {client.workload}, workload: shop, namespace: shop}}\n")
    assert reloading.agent.reload()["applied"] == ["identity.static_file"], "the file alone has changed"


def test_a_signal_during_the_start_is_a_reload_after_it(alone: House, tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("")
    agent = Agent("--config", str(file), environment=WITHOUT_HTTP | COMPILES).start()
    try:
        agent.answers_at_all()
        assert agent.get("/readyz")[0] == 503, "the programs are still being compiled"
        file.write_text("limits: {series: 50000}\n")
        for _ in range(7):
            os.kill(agent.process.pid, signal.SIGHUP)
        agent.ready()
        told = agent.told_of_reloads(1)
        assert (told["attempts"], told["applied"]) == (1, ["limits.series"])
    finally:
        agent.stop()


def lives(pid: str) -> bool:
    """Not so who has ended and is only not buried yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_an_agent_that_is_stopped_while_it_loads_ends_at_once_and_leaves_nothing(compiling: Reloading) -> None:
    agent = compiling.agent
    compiling.reload("collectors: [-cgroups]\n")
    compiling.file.write_text("")
    os.kill(agent.process.pid, signal.SIGHUP)
    children = Path(f"/proc/{agent.process.pid}/task")
    end = time.monotonic() + READ_SECONDS * 10
    loaders: list[str] = []
    while not loaders and time.monotonic() < end:
        loaders = [pid for task in children.iterdir() for pid in (task / "children").read_text().split()]
    assert loaders, "the loader is at work"
    asked = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - asked < 5
    while any(map(lives, loaders)) and time.monotonic() < asked + 5:
        time.sleep(LOOK_SECONDS)
    assert not any(map(lives, loaders))


def test_signals_during_the_end_do_not_change_how_it_ends(reloading: Reloading) -> None:
    process = reloading.agent.process
    process.terminate()
    while process.poll() is None:
        process.send_signal(signal.SIGHUP)
    assert reloading.agent.ended()[0] == 0


def test_a_page_that_is_scraped_during_a_reload_is_whole(compiling: Reloading) -> None:
    """Also while a collector is being compiled."""
    compiling.file.write_text("collectors: [-cgroups]\n")
    for _ in range(3):
        os.kill(compiling.agent.process.pid, signal.SIGHUP)
        for _ in range(10):
            assert Page.parse(compiling.agent.text()).value("bpfleet_collector_up", collector="traffic") == 1
