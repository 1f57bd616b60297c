"""Do the examples count and tell exactly what was done, beside plugins that are broken in every way?

Witnesses: the number of calls and of programs that a test makes, a web server of Python's own that receives events.
One agent for all: with a directory laid out as a ConfigMap is, and a package on sys.path.
"""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.support.agents import REPOSITORY, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.plugins import BROKEN, EXAMPLES, SPOILT, as_config_map, collector, examples, sink
from tests.support.terminals import BPFLEET

FSYNCS = "bpfleet_disk_fsyncs_total"
STARTED = "/bin/true"
CALL = "import os, sys; file = os.memfd_create('x'); [os.fsync(file) for _ in range(int(sys.argv[1]))]"
START = f"for i in $(seq $0); do {STARTED}; done"
PACKAGED = collector("packaged")
PAUSE_SECONDS = 0.1
TRIES = 100


class Receiver(HTTPServer):
    """Keeps what is posted to it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.events: list[dict[str, object]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def of(self, workload: str) -> list[dict[str, object]]:
        return [each for each in list(self.events) if each["bpfleet.workload.name"] == workload]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.events += json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of plugins: the examples, the broken ones, and one that anybody can write."""
    made = tmp_path_factory.mktemp("plugins")
    files = {"fsyncs.py": "", **examples()}
    for broken in BROKEN:
        files |= broken.files
    for spoilt in SPOILT:
        files |= spoilt
    as_config_map(made, files)
    open_to_all = made / "open.py"
    open_to_all.write_text(sink("open")["open.py"])
    open_to_all.chmod(0o666)
    return made


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` would leave of a package with a plugin, and of one that cannot be imported."""
    root = tmp_path_factory.mktemp("site")
    for name, text in PACKAGED.items():
        (root / name).write_text(text)
    info = root / "acme_plugins-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugins\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[bpfleet.collectors]\npackaged = packaged:Broken\ngone = acme_gone:Gone\n"
        "[bpfleet.sinks]\nlost = packaged:Broken\n"
    )
    return root


def given(receiver: Receiver) -> str:
    url = f"http://127.0.0.1:{receiver.server_port}/events"
    return json.dumps({"executions": {"paths": [STARTED]}, "webhook": {"url": url}})


@pytest.fixture(scope="module")
def agent(house: House, directory: Path, package: Path, receiver: Receiver) -> Iterator[Agent]:
    house.empty()
    flags = ("--plugins-dir", str(directory), "--collectors", "+executions", "--plugins-options", given(receiver))
    settings = {"PYTHONPATH": f"{REPOSITORY / 'src'}:{package}", "BPFLEET_SINKS_JSONL_PATH": ""}
    settings["BPFLEET_LIMITS_FLOWS"] = "4096"  # so that one which yields without end is found out sooner
    with Agent(*flags, environment=settings) as running:
        yield running


def test_a_system_call_is_counted_for_the_cgroup_that_made_it(agent: Agent) -> None:
    with Cgroup("writes") as one, Cgroup("too") as other, Cgroup("idle") as idle:
        before = {place.workload: agent.page().value(FSYNCS, workload=place.workload) for place in (one, other, idle)}
        one.run([sys.executable, "-c", CALL, "4999"])
        other.run([sys.executable, "-c", CALL, "101"])
        idle.run(["true"])
        page = agent.settled(one, other, idle)
    assert set(before.values()) == {0}
    counted = {place.path.name: page.value(FSYNCS, workload=place.workload) for place in (one, other, idle)}
    assert counted == {one.path.name: 4999, other.path.name: 101, idle.path.name: 0}
    page = agent.page()
    assert page.value("bpfleet_seen_total", channel="fsyncs") >= 5100
    assert page.value("bpfleet_lost_total", channel="fsyncs") == 0
    assert ({"collector": "fsyncs"}, 1) in list(page.where("bpfleet_collector_up"))


def test_each_program_that_starts_reaches_the_receiver_once(agent: Agent, receiver: Receiver) -> None:
    with Cgroup("starts") as place:
        started = place.start(["sh", "-c", START, "47"])
        process = started.pid
        assert started.wait(30) == 0
        for _ in range(TRIES):
            agent.drained()
            if len(receiver.of(place.workload)) >= 47:
                break
        told = receiver.of(place.workload)
    assert Counter(each["process.executable.path"] for each in told) == {STARTED: 47}
    assert len({each["process.pid"] for each in told}) == 47
    assert process not in {each["process.pid"] for each in told}, "the shell is none of the wanted paths"
    page = agent.page()
    assert page.value("bpfleet_sink_events_total", sink="webhook", outcome="delivered") >= 47
    assert page.value("bpfleet_lost_total", channel="sink_webhook") == 0


def test_what_is_broken_is_off_with_its_reason_and_everybody_else_runs(agent: Agent) -> None:
    agent.drained()
    status = agent.status()
    page = agent.page()
    for broken in BROKEN:
        kind = "sink" if broken.off in status["sinks"] else "collector"
        state = status[f"{kind}s"][broken.off]
        assert state["reason"].startswith(broken.reason), (broken.off, state["reason"])
        assert not state["up"]
        assert page.value(f"bpfleet_{kind}_up", **{kind: broken.off}) == 0
        ((labels, _),) = page.where(f"bpfleet_{kind}_info", **{kind: broken.off, "reason": state["reason"]}) or [
            ({}, 0)
        ]
        assert labels["reason"] == state["reason"]
    assert status["collectors"]["open"]["reason"].endswith("open.py can be written by others (mode 0666)")
    up = {name for name, state in status["collectors"].items() if state["up"]}
    assert {"cgroups", "traffic", "tcp", "connections", "http", "fsyncs", "executions", "packaged"} <= up
    assert not up & {broken.off for broken in BROKEN}
    assert status["sinks"]["webhook"] == {"up": True, "reason": ""}


def test_an_entry_point_is_a_plugin_too_and_one_that_cannot_be_imported_says_so(agent: Agent) -> None:
    collectors = agent.status()["collectors"]
    assert collectors["packaged"] == {"up": True, "hooks": ["raw_tracepoint/sys_enter"], "reason": ""}
    assert collectors["gone"]["reason"] == "acme_gone:Gone: ModuleNotFoundError: No module named 'acme_gone'"
    assert collectors["lost"]["reason"] == "packaged:Broken is no class of bpfleet.api.Sink"


def test_sinks_that_break_their_word_lose_their_own_events_only(agent: Agent, receiver: Receiver) -> None:
    with Cgroup("again") as place:
        place.run(["sh", "-c", START, "7"])
        agent.drained()
        agent.drained()
    page = agent.page()
    passed = page.value("bpfleet_events_total", outcome="passed")
    assert passed >= 7
    for name, reason in (("spoilt", "invalid"), ("deaf", "failed"), ("liar", "failed")):
        assert page.value("bpfleet_lost_total", channel=f"sink_{name}", reason=reason) == passed, name
    assert len(receiver.of(place.workload)) == 7


def test_one_that_never_ends_is_asked_once_and_no_more(agent: Agent) -> None:
    state = agent.status()["collectors"]["endless"]
    assert state["reason"].endswith("it is off until a restart")
    failures = agent.page().value("bpfleet_drain_failures_total", step="endless")
    agent.drained()
    assert agent.page().value("bpfleet_drain_failures_total", step="endless") == failures == 1


@pytest.mark.parametrize("file", ["01-minimal-collector/fsyncs.py", "02-ring-buffer-events/executions.py"])
def test_the_examples_stand_the_check(file: str) -> None:
    assert checked(str(EXAMPLES / file)) == (0, f"{Path(file).stem}: ok\n")


def test_a_check_names_the_place_of_what_the_compiler_and_the_verifier_refuse(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Nothing is named here.\n")
    for broken in (each for each in BROKEN if each.off in ("garbled", "wild")):
        for name, text in broken.files.items():
            (tmp_path / name).write_text(text)
        code, said = checked(str(tmp_path / f"{broken.off}.py"))
        lines = said.splitlines()
        assert code == 1
        assert f"{broken.off}.py:2: bpfleet_made_{broken.off}_total is not in README.md" in lines
        assert lines[-1].startswith(f"{broken.off}.bpf.c:{4 if broken.off == 'wild' else 6}: "), said


def test_the_tests_of_an_example_pass_where_a_user_runs_them() -> None:
    """From the example's own directory; both of them: the one with a kernel finds the agent by its entry point."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", "."],
        cwd=EXAMPLES / "01-minimal-collector",
        capture_output=True,
        text=True,
        timeout=60,
        env=environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def checked(file: str) -> tuple[int, str]:
    done = subprocess.run(
        [*BPFLEET, "collector", "check", file], capture_output=True, text=True, timeout=60, env=environment()
    )
    return done.returncode, done.stdout


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("BPFLEET_")}
    return inherited | {"PYTHONPATH": f"{REPOSITORY / 'src'}:{os.environ.get('PYTHONPATH', '')}"}
