"""The agent as a user starts it, with something broken or missing: does it say so, and does the rest count exactly?

Witnesses: the namespaces' own counters, and a known number of connections.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from tests.support.agents import COMPILES, REPOSITORY, WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.clock_steps import SteppedClock
from tests.support.kernel_headers import installed_headers
from tests.support.kubernetes_api import KubernetesApi
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4 = "198.51.100.2"
HOUR = 3600
HIDDEN_BTF = 'mount --bind "$0" /sys/kernel/btf/vmlinux && exec "$@"'
HIDDEN_BTF_AND_HEADERS = f"mount -t tmpfs none /lib/modules && {HIDDEN_BTF}"
NO_CGROUP2 = 'umount --lazy --all --types cgroup2 && exec "$@"'
NOBODY = [
    *("setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"),
    *("--bounding-set=-all", "--inh-caps=-all"),
]
PACKETS, OPENED = "bpfleet_network_io_packets_total", "bpfleet_tcp_connections_opened_total"
SENT = {"direction": "transmit", "transport": "udp"}

UIDS = ("7a3f5c1e-0000-4000-8000-000000000001", "7a3f5c1e-0000-4000-8000-000000000002")
CONTAINERS = ("a1" * 32, "b2" * 32)
PODS = ("web-7d9f8b6c5d-aaaaa", "web-7d9f8b6c5d-bbbbb")

LOOK_SECONDS = 0.05
TREE_SECONDS = 10.0
FOUND_SECONDS = 20.0
"""A watch that failed a few times is tried again after at most half of this."""

SECOND = {"BPFLEET_SCRAPE_INTERVAL_SECONDS": "1"}
LEAST_SECONDS, MOST_SECONDS = 0.5, 6.0
"""A new series shows 0 for 1.1 scrape intervals, one that ended stays for 2.1 (agent.metrics.hold); an interval is that
second, a part of it is over by the time that the test looks, and drains take their turn."""


REFUSED_SECONDS = 1.0
MOST_REQUESTS = 3
"""Of each kind in that time, and while an agent starts: at once, after half a second to one, after one to two more."""


def in_a_mount_namespace(script: str, *arguments: str) -> list[str]:
    """A prefix. arguments: $0 of the script; the command comes after it."""
    return ["unshare", "--mount", "sh", "-c", script, *(arguments or ("sh",))]


def states(agent: Agent) -> dict[str, str]:
    """By collector: empty if it counts, else the reason. What /status says must be what /metrics says."""
    page, told = agent.page(), agent.status()["collectors"]
    up = {labels["collector"]: value == 1 for labels, value in page.where("bpfleet_collector_up")}
    reasons = {labels["collector"]: labels["reason"] for labels, _ in page.where("bpfleet_collector_info")}
    assert {name: (state["up"], state["reason"]) for name, state in told.items()} == {
        name: (up[name], reason) for name, reason in reasons.items()
    }
    return {name: "" if up[name] else reasons[name] or "no reason" for name in up}


def exchange(place: Place, pair: Pair, connections: int = 23) -> tuple[Cgroup, Cgroup]:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, 5001)
    done = client.talk("connect", V4, 5001, count=connections, size=2323, shutdown=True, read=True)
    assert done == f"done ok={connections}"
    return client, server


def refused(agent: Agent, *words: str) -> None:
    status, said = agent.start().ended()
    assert status == 1, said
    assert "Traceback" not in said
    assert len(said.strip().splitlines()) == 1, said
    for word in words:
        assert word in said


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A tree of our own to break."""
    for name in ("src", "bpf"):
        shutil.copytree(REPOSITORY / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def of_copy(copy: Path) -> Agent:
    return Agent(environment=WITHOUT_HTTP | {"PYTHONPATH": str(copy / "src")})


def test_a_collector_that_does_not_compile_is_named_by_line_and_the_rest_counts(
    alone: House, place: Place, pair: Pair, copy: Path
) -> None:
    source = copy / "bpf/traffic.bpf.c"
    text = source.read_text()
    source.write_text(text + "static inline u64 broken(struct packet *p)\n{\n\treturn p->lenght;\n}\n")
    line = len(text.splitlines()) + 3
    with of_copy(copy) as agent:
        found = states(agent)
        assert found.pop("traffic").startswith(f"traffic.bpf.c:{line}: no member named 'lenght' in 'struct packet'")
        assert set(found.values()) == {""}
        client, server = exchange(place, pair)
        page = agent.settled()
        assert page.value(OPENED, workload=client.workload) == 23
        assert page.value("bpfleet_tcp_connections_accepted_total", workload=server.workload) == 23
        segments = page.value("bpfleet_tcp_segments_total", workload=client.workload, direction="transmit")
        assert segments == pair[0].counters()["TcpOutSegs"]
        assert not list(page.where(PACKETS, workload=client.workload))


def test_a_collector_that_the_verifier_refuses_is_named_and_the_rest_counts(
    alone: House, place: Place, pair: Pair, copy: Path
) -> None:
    source = copy / "bpf/tcp.bpf.c"
    head, probe, rest = source.read_text().partition("static inline void on_packet_tcp(")
    signature, brace, body = rest.partition("{\n")
    blind = "\tstruct packet_flow *blind = flows.lookup(&p->key);\n\n\tblind->sent_bytes++;\n"
    source.write_text(head + probe + signature + brace + blind + body)
    with of_copy(copy) as agent:
        found = states(agent)
        reason = found.pop("tcp")
        assert "on_ingress" in reason and "invalid mem access 'map_value_or_null'" in reason
        assert set(found.values()) == {""}
        before = pair[0].interface("veth0")
        client, _ = exchange(place, pair)
        passed = pair[0].interface("veth0") - before
        page = agent.settled(client)
        assert page.value(OPENED) == 23
        assert page.value(PACKETS, direction="transmit", transport="tcp") == passed.tx_packets
        assert page.value(PACKETS, direction="receive", transport="tcp") == passed.rx_packets
        assert not list(page.where("bpfleet_tcp_segments_total"))


@needs("unshare")
def test_without_type_information_and_headers_it_says_what_is_missing(alone: House, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    refused(
        Agent(prefix=in_a_mount_namespace(HIDDEN_BTF_AND_HEADERS, str(empty))),
        "neither the kernel's type information (/sys/kernel/btf/vmlinux: ",
        f"nor its headers (/lib/modules/{os.uname().release}/build)",
    )


@needs("unshare")
def test_with_headers_of_another_kernel_what_does_not_depend_on_them_counts(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """Connections would be counted as none: the socket's members lie elsewhere."""
    headers, empty = installed_headers(tmp_path / "headers"), tmp_path / "empty"
    empty.touch()
    prefix = in_a_mount_namespace(HIDDEN_BTF, str(empty))
    with Agent(
        "--kernel-headers", str(headers), "--collectors=-cgroups", environment=WITHOUT_HTTP, prefix=prefix
    ) as agent:
        found = states(agent)
        assert found.pop("traffic") == ""
        assert set(found) == {"tcp", "connections"}
        for reason in found.values():
            assert f", this kernel is {os.uname().release}: what it keeps may lie elsewhere" in reason
        assert agent.status()["headers"] == str(headers)
        before = pair[0].interface("veth0")
        client, _ = exchange(place, pair)
        passed = pair[0].interface("veth0") - before
        page = agent.settled(client)
        assert page.value(PACKETS, direction="transmit", transport="tcp") == passed.tx_packets


@needs("unshare")
def test_without_cgroup_v2_it_says_so(alone: House) -> None:
    refused(Agent(prefix=in_a_mount_namespace(NO_CGROUP2)), "cgroup v2 is not mounted")


@needs("unshare")
def test_without_cgroup_v2_the_doctor_says_so_of_every_collector() -> None:
    status, said = doctor(in_a_mount_namespace(NO_CGROUP2))
    assert status == 1
    facts = dict(line.split("  ", 1) for line in said.splitlines())
    assert facts["cgroup v2"].strip() == "not mounted"
    for collector in ("cgroups", "traffic", "tcp", "connections"):
        assert facts[collector].strip().startswith("off: this machine lacks cgroup v2")


def doctor(prefix: list[str]) -> tuple[int, str]:
    start = "from bpfleet.cli import main; raise SystemExit(main())"
    command = [*prefix, sys.executable, "-c", start, "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=plain_environment())
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def plain_environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BPFLEET_")}
    return kept | {"PYTHONPATH": str(REPOSITORY / "src")}


@pytest.fixture
def nobody() -> list[str]:
    """A prefix: a normal user without any right, who can read what is here."""
    if not shutil.which("setpriv"):
        pytest.skip("not installed: setpriv")
    reads = subprocess.run(
        [*NOBODY, sys.executable, "-c", "import agent"], env=plain_environment(), capture_output=True
    )
    if reads.returncode:
        pytest.skip("the user nobody may not read this tree or its Python")
    return NOBODY


def test_a_normal_user_is_told_which_rights_it_takes(alone: House, nobody: list[str]) -> None:
    refused(Agent(prefix=nobody), "root", "BPF, PERFMON, NET_ADMIN")


def test_the_doctor_tells_a_normal_user_which_rights_are_missing(nobody: list[str]) -> None:
    status, said = doctor(nobody)
    assert status == 1
    facts = dict(line.split("  ", 1) for line in said.splitlines() if line.strip())
    assert facts["traffic"].strip().startswith("off: this machine lacks the capability BPF")
    assert "  missing               BPF, PERFMON, NET_ADMIN" in said.splitlines()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Which everybody may enter; pytest's own is root's."""
    with tempfile.TemporaryDirectory(prefix="bpfleet-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def programs_without(folder: Path, left_out: str) -> str:
    """A PATH that has everything but one program."""
    folder.mkdir()
    for directory in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(directory).glob("*"):
            (folder / program.name).unlink(missing_ok=True)
            (folder / program.name).symlink_to(program.resolve())
    (folder / left_out).unlink(missing_ok=True)
    return str(folder)


def tree(folder: Path) -> dict[Path, tuple[float, int]]:
    return {path: (path.stat().st_mtime, path.stat().st_mode) for path in [folder, *folder.rglob("*")]}


def test_setup_without_root_names_what_is_missing_and_changes_nothing(open_folder: Path) -> None:
    copy = open_folder / "copy"
    for name in ("scripts", "requirements"):
        shutil.copytree(REPOSITORY / name, copy / name)
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    subprocess.run(["chown", "-R", "nobody", str(copy)], check=True)
    path = programs_without(open_folder / "bin", "wrk")
    before = tree(copy)
    command = [*NOBODY, str(copy / "scripts/setup"), "test"]
    done = subprocess.run(command, env={"PATH": path, "LANG": "C"}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    missing = [line.strip() for line in done.stderr.splitlines() if line.startswith("    ")]
    assert "wrk" in missing
    assert "nothing was changed" in done.stderr
    assert "apt-get install --no-install-recommends" in done.stderr
    assert tree(copy) == before


@needs("cc")
def test_steps_of_the_clock_change_no_count_and_no_deadline(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    clock = SteppedClock(tmp_path)
    with Agent(environment=WITHOUT_HTTP | clock.environment) as agent:
        client, server = exchange(place, pair)
        flows = series_of(agent.settled(client), "bpfleet_flow_bytes_total")
        assert flows
        for hours, connections in ((1, 46), (-2, 69)):
            began = wall_clock(agent)
            clock.step(hours * HOUR)
            assert wall_clock(agent) - began == pytest.approx(hours * HOUR, abs=30)

            client.talk("connect", V4, 5001, count=23, size=2323, shutdown=True, read=True)
            page = agent.settled(client, server)
            assert page.value(OPENED, workload=client.workload) == connections
            assert page.value("bpfleet_tcp_connections_accepted_total") == connections
            assert page.value("bpfleet_tcp_connections_active") == 0
            assert page.value("bpfleet_tcp_connection_lifetime_seconds_count", workload=client.workload) == connections
            assert page.value("bpfleet_tcp_connection_lifetime_seconds_sum") < 60
            assert flows <= series_of(page, "bpfleet_flow_bytes_total")  # none has expired


@needs("cc")
@pytest.mark.parametrize("hours", [1, -1])
def test_a_step_of_the_clock_neither_shortens_nor_lengthens_the_zero_and_the_stay_of_a_series(
    alone: House, pair: Pair, tmp_path: Path, hours: int
) -> None:
    clock = SteppedClock(tmp_path)
    with Agent(environment=WITHOUT_HTTP | SECOND | clock.environment) as agent:
        with Cgroup("late", pair[0]) as late:
            late.talk("udp_burst", V4, 9, count=23, size=64, unconnected=True)
            while_it_shows(agent, late, None)
            clock.step(hours * HOUR)
            assert LEAST_SECONDS < while_it_shows(agent, late, 0.0) < MOST_SECONDS
            assert value_of(agent, late) == 23
        clock.step(hours * HOUR)
        assert LEAST_SECONDS < while_it_shows(agent, late, 23.0) < MOST_SECONDS
        assert value_of(agent, late) is None


def while_it_shows(agent: Agent, place: Cgroup, value: float | None) -> float:
    """Seconds until a series changes. Raises AssertionError if it takes too long."""
    began = time.monotonic()
    while value_of(agent, place) == value:
        assert time.monotonic() - began < MOST_SECONDS, f"{place.workload} stays at {value}"
        time.sleep(LOOK_SECONDS)
    return time.monotonic() - began


def value_of(agent: Agent, place: Cgroup) -> float | None:
    found = [value for _, value in agent.page().where(PACKETS, workload=place.workload, **SENT)]
    return sum(found) if found else None


def series_of(page: Page, name: str) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(labels.items()) for labels, _ in page.where(name)}


def wall_clock(agent: Agent) -> float:
    """Of the agent's process, by what its server says."""
    return parsedate_to_datetime(agent.get("/healthz")[2]["Date"]).timestamp()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubernetesApi]:
    served = KubernetesApi(tmp_path)
    yield served
    served.stop()


@pytest.fixture
def containers(stack: ExitStack, pair: Pair) -> tuple[Cgroup, Cgroup]:
    """Cgroups as the kubelet names those of two pods."""
    parent = stack.enter_context(Cgroup("kubepods"))
    made = []
    for uid, container_id in zip(UIDS, CONTAINERS, strict=True):
        pod = stack.enter_context(Cgroup(f"{parent.workload[1:]}/pod{uid}", exact_name=True))
        made.append(stack.enter_context(Cgroup(f"{pod.workload[1:]}/{container_id}", pair[0], exact_name=True)))
    return made[0], made[1]


def until_counted(agent: Agent, pod: str, count: float) -> None:
    """Wait until a pod has sent that many packets, by its own name. Raises AssertionError."""
    end = time.monotonic() + FOUND_SECONDS
    while (found := agent.page().value(PACKETS, namespace="shop", workload="web", pod=pod, **SENT)) != count:
        assert time.monotonic() < end, f"{pod}: {found} of {count}\n{agent.output()}"
        assert found <= count
        time.sleep(LOOK_SECONDS)


def packets(container: Cgroup, count: int) -> None:
    container.talk("udp_burst", V4, 9, count=count, size=64, unconnected=True)


def nameless(agent: Agent) -> float:
    """Packets of our pods that are on the page by another name than theirs."""
    page = agent.page()
    mine = [value for labels, value in page.where(PACKETS, **SENT) if labels["pod"] in UIDS]
    return sum(mine) + page.value(PACKETS, namespace="_unknown", **SENT)


def test_an_api_that_is_absent_at_the_start_costs_no_count(
    alone: House, pair: Pair, api: KubernetesApi, containers: tuple[Cgroup, Cgroup]
) -> None:
    api.add_pod(PODS[0], UIDS[0], CONTAINERS[0])
    with Agent(environment=WITHOUT_HTTP | api.environment()) as agent:
        packets(containers[0], 23)
        for watch in agent.status()["identity"]["kubernetes"].values():
            assert not watch["synced"]
            assert 1 <= watch["failures"] <= MOST_REQUESTS + (time.monotonic() - agent.started)
            assert "refused" in watch["error"]
        assert "bpfleet_collector_up" in agent.page().names()
        api.start()
        until_counted(agent, PODS[0], 23)
        assert nameless(agent) == 0
        packets(containers[0], 23)
        until_counted(agent, PODS[0], 46)
        counts = api.counts()
        assert {request.status for request in counts} == {200}
        assert set(counts.values()) == {1}  # one list and one watch of each kind
        assert "the Kubernetes API answers again" in agent.output()


def test_a_token_that_expires_during_a_watch_costs_no_identity_and_no_list(
    alone: House, pair: Pair, api: KubernetesApi, containers: tuple[Cgroup, Cgroup]
) -> None:
    api.start()
    api.add_pod(PODS[0], UIDS[0], CONTAINERS[0])
    with Agent(environment=WITHOUT_HTTP | api.environment()) as agent:
        packets(containers[0], 23)
        until_counted(agent, PODS[0], 23)

        api.token = "second"
        api.end_watches()
        packets(containers[0], 23)
        until_counted(agent, PODS[0], 46)
        time.sleep(REFUSED_SECONDS)
        asked = api.counts()
        refusals = {request: count for request, count in asked.items() if request.status == 401}
        assert {request.resource for request in refusals} == {"pods", "nodes", "services", "endpointslices"}
        assert {request.verb for request in refusals} == {"watch"}
        assert max(refusals.values()) <= MOST_REQUESTS

        api.add_pod(PODS[1], UIDS[1], CONTAINERS[1])
        api.token_file.write_text("second")
        packets(containers[1], 23)
        until_counted(agent, PODS[1], 23)
        assert {count for request, count in api.counts().items() if request.verb == "list"} == {1}
        assert nameless(agent) == 0


@pytest.mark.parametrize("group", [False, True])
def test_an_agent_that_is_ended_while_it_starts_leaves_no_header_tree(
    alone: House, stack: ExitStack, tmp_path: Path, group: bool
) -> None:
    """By a signal to itself, or to all of its processes as systemd and terminals send it."""
    agent = Agent(environment=WITHOUT_HTTP | COMPILES | {"TMPDIR": str(tmp_path)}, prefix=["setsid"]).start()
    stack.callback(agent.__exit__)
    until_tree(agent, tmp_path)
    (os.killpg if group else os.kill)(agent.process.pid, signal.SIGTERM)
    assert agent.ended()[0] == 0
    assert list(tmp_path.iterdir()) == []


def test_an_agent_that_ends_leaves_no_header_tree(alone: House, stack: ExitStack, tmp_path: Path) -> None:
    agent = Agent(environment=WITHOUT_HTTP | COMPILES | {"TMPDIR": str(tmp_path)}).start()
    stack.callback(agent.__exit__)
    until_tree(agent, tmp_path)
    agent.ready()
    assert list(tmp_path.iterdir()) == []
    assert agent.stop() == 0
    assert list(tmp_path.iterdir()) == []


def until_tree(agent: Agent, folder: Path) -> None:
    """Wait until the loader has begun its tree of headers. Raises AssertionError."""
    end = time.monotonic() + TREE_SECONDS
    while not list(folder.glob("bpfleet-headers-*")):
        assert time.monotonic() < end and agent.process.poll() is None, agent.output()
        time.sleep(LOOK_SECONDS)
