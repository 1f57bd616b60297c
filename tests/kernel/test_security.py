"""From what a container does to what leaves the node: does the right rule fire at the very first event, is the image's
own start silent, and does nothing get lost when the policies change?

Witnesses: what the test itself started, strace and its clock, the shell's own count, the books.
"""

import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support import events
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup
from tests.support.events import Told
from tests.support.marks import needs

Place = Callable[..., Cgroup]

REPOSITORY = Path(__file__).parents[2]
NAMES = """\
- {cgroup: "/*-web-*", namespace: shop, pod: web-1, container: main, workload: web, workload_kind: Deployment}
- {cgroup: "/*-short-*", namespace: shop, pod: short-1, container: main, workload: short, workload_kind: Job}
- {cgroup: "/*-caller-*", namespace: shop, pod: caller-1, container: main, workload: caller, workload_kind: Deployment}
- {cgroup: "/*-tools-*", namespace: shop, pod: tools-1, container: main, workload: tools, workload_kind: Deployment}
- {cgroup: "/*-victim-*", namespace: shop, pod: victim-1, container: db, workload: victim, workload_kind: StatefulSet}
- {cgroup: "/*-load-*", namespace: shop, pod: load-1, container: main, workload: load, workload_kind: Job}
"""
ENTRY = "#!/bin/sh\n/bin/sh ./setup.sh\nexec {python} -S server.py\n"
SETUP = "#!/bin/sh\n/bin/true\n"
SERVER = """
import os, signal, subprocess
signal.sigwait({signal.SIGUSR1}) if signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}) is not None else 0
subprocess.run(["/bin/sh", "-c", "true"])
open("served", "w").close()
signal.pause()
"""
LOAD = 'i=0; while [ ! -e "$1" ]; do /bin/echo >/dev/null; i=$((i+1)); done; echo $i'

ECHO = """\
version: 1
name: load
rules:
  - {name: %s, event: exec, severity: info, match: {binary: %s}}
"""
ALLOWED = """\
version: 1
name: callers
scope: {workloads: [caller]}
rules:
  - {name: outside, event: egress, severity: warning, allow: [{address: [127.0.0.0/8, 198.51.100.0/25, "::1"]}]}
"""
CALL = """
import socket, sys
for address in sys.argv[1:]:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect((address, 5300))  # says where to, and sends nothing
        except OSError:
            pass
"""
LISTENS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    print("ready", flush=True)
    sys.stdin.read()
"""
CLOCKS_SECONDS = 2.0
"""strace writes the time at which it learns of a call's beginning; the kernel's is its end, which a busy machine puts
off. A clock that is not the wall's is wrong by hours."""

SECONDS = 20.0
CHANNELS = ("exec", "egress", "file_open", "chmod", "ptrace")
COLLECTORS = ",".join(("cgroups", *CHANNELS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the shipped policies, and the names of the test's cgroups."""
    found = tmp_path_factory.mktemp("security")
    (found / "names.yaml").write_text(NAMES)
    (found / "events.jsonl").touch()
    policies = found / "policies"
    policies.mkdir()
    for file in (REPOSITORY / "policies/security").glob("*.yaml"):
        (policies / file.name).symlink_to(file)
    (policies / "callers.yaml").write_text(ALLOWED)
    return found


@pytest.fixture(scope="module")
def agent(house: House, folder: Path) -> Iterator[Agent]:
    house.empty()
    made = Agent(
        *("--collectors", COLLECTORS, "--security-watch", "all", "--security-policies", str(folder / "policies")),
        *("--security-per-second", "1000000", "--security-burst", "100000", "--limits-events-per-second", "1000000"),
        *("--identity-static-file", str(folder / "names.yaml"), "--sinks-file-path", str(folder / "events.jsonl")),
        *("--sinks-jsonl-path", ""),
    )
    with made as agent:
        yield agent


def told(agent: Agent, folder: Path, workload: str, wanted: int = 0) -> list[Told]:
    """As soon as there are so many."""
    end = time.monotonic() + SECONDS
    while True:
        agent.drained()
        time.sleep(0.1)
        found = events.of(events.parsed((folder / "events.jsonl").read_text()), workload)
        if (wanted and len(found) >= wanted) or time.monotonic() > end or not wanted:
            return found


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + SECONDS
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def counted(agent: Agent, workload: str) -> dict[str, int]:
    """By rule. A new series shows 0 until it was scraped."""
    rows = agent.page().where("bpfleet_security_events_total", workload=workload)
    return {labels["rule"]: int(value) for labels, value in rows if value}


def container(place: Cgroup, folder: Path) -> int:
    """With a process namespace of its own. Returns the number of its first process."""
    (folder / "entry.sh").write_text(ENTRY.format(python=sys.executable))
    (folder / "setup.sh").write_text(SETUP)
    (folder / "server.py").write_text(SERVER)
    outer = place.contain(["/bin/sh", "./entry.sh"], cwd=folder)
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    first = int(until(lambda: children.read_text().split())[0])
    until(lambda: b"server.py" in Path(f"/proc/{first}/cmdline").read_bytes())
    return first


def test_a_shell_from_outside_and_from_a_server_is_told_and_the_images_own_are_not(
    agent: Agent, folder: Path, place: Place, tmp_path: Path
) -> None:
    web = place("web")
    first = container(web, tmp_path)
    assert told(agent, folder, "web") == [], "the image's own start is no event"

    web.run(["nsenter", "--target", str(first), "--pid", "/bin/sh", "-c", "mysql --password=hunter2 || true"])
    (entered,) = told(agent, folder, "web", 1)
    assert entered["security_rule.name"] == "shell-entered"
    assert entered["bpfleet.security.severity"] == "critical"
    assert entered["process.command_line"] == "/bin/sh -c REDACTED"
    assert entered["bpfleet.process.parent.name"] == "nsenter"
    identity = {"k8s.namespace.name": "shop", "k8s.pod.name": "web-1", "k8s.container.name": "main"}
    assert identity.items() <= entered.items()

    os.kill(first, signal.SIGUSR1)
    until((tmp_path / "served").exists)
    found = told(agent, folder, "web", 2)
    assert Counter(each["security_rule.name"] for each in found) == {"shell-entered": 1, "shell-from-server": 1}
    until(lambda: counted(agent, "web") == {"shell-entered": 1, "shell-from-server": 1})

    web.run(["unshare", "--pid", "--fork", "/bin/bash", "-c", "true"])  # another shell: the same again would be folded
    (_, _, hidden) = told(agent, folder, "web", 3)
    assert (hidden["security_rule.name"], hidden["process.vpid"]) == ("shell-from-server", 1)
    assert hidden["bpfleet.process.parent.name"] == "unshare"
    with suppress(ProcessLookupError):
        os.kill(first, signal.SIGKILL)


def test_a_container_that_dies_at_once_is_told(agent: Agent, folder: Path, place: Place, tmp_path: Path) -> None:
    """No drain has ever seen its cgroup when it starts, and none sees it alive."""
    program = Path("/tmp", f"short-{os.getpid()}")
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    try:
        with Cgroup("short") as short:
            short.run([str(program)])
        (one,) = told(agent, folder, "short", 1)
    finally:
        program.unlink()
    assert one["security_rule.name"] == "binary-from-writable-path"
    assert one["process.executable.path"] == str(program)


def test_only_destinations_outside_of_the_list_are_told(agent: Agent, folder: Path, place: Place) -> None:
    caller = place("caller")
    agent.drained()  # so that the kernel knows whose the cgroup is, and has the list
    agent.drained()
    before = agent.page().value("bpfleet_seen_total", channel="egress")
    inside, outside = ["127.0.0.9", "198.51.100.7", "::1"] * 23, ["198.51.100.129", "2001:db8::9", "169.254.169.254"]
    caller.run([sys.executable, "-I", "-c", CALL, *inside, *outside])
    found = told(agent, folder, "caller", len(outside))
    assert {each["network.peer.address"]: each["security_rule.name"] for each in found} == {
        "198.51.100.129": "outside",
        "2001:db8::9": "outside",
        "169.254.169.254": "metadata-address",
    }
    (metadata,) = (each for each in found if each["network.peer.address"] == "169.254.169.254")
    assert metadata["bpfleet.security.rules"] == "outside"
    assert {each["network.transport"] for each in found} == {"udp"}
    seen = agent.page().value("bpfleet_seen_total", channel="egress") - before
    assert len(outside) <= seen < len(inside), "what is on the list costs no record"


def complete(found: dict[str, Any], rules: Iterable[str]) -> dict[str, Any]:
    """Empty where one is missing."""
    return found if found.keys() >= set(rules) else {}


def delivered(agent: Agent, channel: str) -> bool:
    """All that was seen, and some was."""
    agent.drained()
    page = agent.page()
    seen = page.value("bpfleet_seen_total", channel=channel)
    return 0 < seen == page.value("bpfleet_delivered_total", channel=channel)


def when(record: Told) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


@needs("strace", "socat")
def test_a_system_call_is_a_record_and_a_count_by_its_rule(
    agent: Agent, folder: Path, place: Place, tmp_path: Path
) -> None:
    """Files, sockets, modes and tracing, each by a program that has no business with it."""
    tools, victim = place("tools"), place("victim")
    log, program, socket = tmp_path / "log", tmp_path / "program", tmp_path / "docker.sock"
    program.touch(0o755)
    (tmp_path / "link").symlink_to(socket)
    listener = victim.start([sys.executable, "-I", "-c", LISTENS, str(socket)], ready="ready")
    agent.drained()
    agent.drained()  # so that the kernel knows the cgroups, and whom to watch

    witnessed = []
    for argv in (
        ["cat", "/etc/shadow"],
        ["chmod", "u+s", str(program)],
        ["socat", "-", f"UNIX-CONNECT:{tmp_path}/link"],
    ):
        calls = "trace=openat,?chmod,fchmodat,?fchmodat2,connect"
        command, _ = tools.command(argv)
        strace = ["strace", "-f", "-y", "-ttt", "-e", calls, "-o", str(log), *command]
        subprocess.run(strace, check=True, input=b"", stdout=subprocess.DEVNULL)  # nobody's log shall have the hashes
        witnessed.append(log.read_text())
    looking = tools.start(["strace", "-p", str(listener.pid)], stderr=subprocess.PIPE)
    assert looking.stderr is not None and "attached" in looking.stderr.readline()
    tracer = re.search(r"^TracerPid:\s+(\d+)$", Path(f"/proc/{listener.pid}/status").read_text(), re.M)

    rules = ("shadow-file", "setuid-set", "container-runtime-socket", "ptrace-across-containers")
    found = until(lambda: complete({each["security_rule.name"]: each for each in told(agent, folder, "tools")}, rules))
    opened, changed, connected, traced = (found[rule] for rule in rules)
    until(lambda: complete(counted(agent, "tools"), rules))
    assert {rule: counted(agent, "tools")[rule] for rule in rules} == dict.fromkeys(rules, 1)
    identity = {"k8s.namespace.name": "shop", "k8s.pod.name": "tools-1", "k8s.container.name": "main"}
    for each, text, pattern in zip(
        (opened, changed, connected),
        witnessed,
        (r'openat\(.*"/etc/shadow", O_RDONLY\)', rf'chmod\w*\(.*"{program}", 04755', r"connect\(.*sun_path="),
        strict=True,
    ):
        ((number, clock),) = re.findall(rf"^(\d+) +(\d+\.\d+) .*{pattern}", text, re.M)
        assert each["process.pid"] == int(number)
        assert abs(when(each) - float(clock)) < CLOCKS_SECONDS
        assert each["bpfleet.security.severity"] == "critical"
        assert identity.items() <= each.items()
        assert "bpfleet.security.repeats" not in each
    assert (opened["event.name"], opened["file.path"]) == ("bpfleet.security.file_open", "/etc/shadow")
    assert (changed["event.name"], changed["file.path"]) == ("bpfleet.security.chmod", str(program))
    assert changed["file.mode"] == "4755" == f"{stat.S_IMODE(program.stat().st_mode):o}"
    assert (connected["file.path"], connected["bpfleet.syscall.name"]) == (str(socket), "connect")
    assert tracer and traced["process.pid"] == int(tracer[1])
    assert (traced["event.name"], traced["bpfleet.ptrace.request"]) == ("bpfleet.security.ptrace", "seize")
    assert traced["bpfleet.ptrace.target.pid"] == listener.pid
    assert traced["bpfleet.ptrace.target.pod"] == "victim-1"
    assert identity.items() <= traced.items()
    for channel in CHANNELS[2:]:
        until(lambda channel=channel: delivered(agent, channel))  # type: ignore[misc]


def books(agent: Agent) -> Counter[str]:
    """What became of what the programs of the test did, and of all else; outcomes of events, and the channels'."""
    page = agent.page()
    found: Counter[str] = Counter()
    for labels, value in page.where("bpfleet_events_total"):
        if labels["event"].startswith("bpfleet.security."):
            found[labels["outcome"]] += int(value)
    found["seen"] = sum(int(page.value("bpfleet_seen_total", channel=channel)) for channel in CHANNELS)
    found["lost"] = sum(int(v) for labels, v in page.where("bpfleet_lost_total") if labels["channel"] in CHANNELS)
    found["waiting"] = sum(int(page.value("bpfleet_events_waiting", stage=stage)) for stage in ("owner", "fold"))
    return found


def balanced(agent: Agent) -> Counter[str]:
    for _ in range(events.TRIES):
        agent.drained()
        found = books(agent)
        parts = ("passed", "unwatched", "unmatched", "folded", "suppressed", "rate_limit", "invalid", "lost", "waiting")
        if found["seen"] == sum(found[part] for part in parts):
            return found
    raise AssertionError(f"the books do not balance: {found}")


def swap(folder: Path, text: str) -> None:
    """As Kubernetes changes a ConfigMap: a link is replaced."""
    fresh = folder / "fresh.yaml"
    fresh.write_text(text)
    link = folder / "link"
    link.symlink_to(fresh)
    target = folder / f"{time.monotonic_ns()}.yaml"
    fresh.rename(target)
    link.unlink()
    link.symlink_to(target)
    link.rename(folder / "policies" / "zz-load.yaml")


def in_force(agent: Agent, policies: int, problem: str) -> None:
    until(lambda: _state(agent.status()["security"], policies, problem))


def _state(state: dict[str, Any], policies: int, problem: str) -> bool:
    return (
        len(state["policies"]) == policies and problem in state["problem"] and bool(problem) == bool(state["problem"])
    )


def test_policies_change_under_load_and_nothing_is_lost(agent: Agent, folder: Path, place: Place) -> None:
    load, shipped = place("load"), len(agent.status()["security"]["policies"])
    before = balanced(agent)
    swap(folder, ECHO % ("first", "echo"))
    in_force(agent, shipped + 1, "")
    running = load.start(["/bin/sh", "-c", LOAD, "load", str(folder / "enough")])
    for name, text, problem in (
        ("second", ECHO % ("second", "echo"), ""),
        ("second", "rules: [", "zz-load.yaml:"),
        ("third", ECHO % ("third", "echo"), ""),
    ):
        swap(folder, text)
        in_force(agent, shipped + 1, problem)
        assert agent.page().value("bpfleet_security_policies_last_reload_successful") == (not problem)
        until(lambda name=name: name in counted(agent, "load"))  # type: ignore[misc]
    (folder / "enough").touch()
    started = int(running.communicate(timeout=SECONDS)[0])
    assert started > 100
    after = balanced(agent)
    told_of = counted(agent, "load")
    assert told_of.pop("shell-from-server") == 1, "the loop's own shell, whose parent is this test"
    assert set(told_of) == {"first", "second", "third"} and sum(told_of.values()) == started
    assert after["invalid"] == before["invalid"] and after["lost"] == before["lost"]
    assert len(told(agent, folder, "load", 1)) < 20, "repeats are folded"
