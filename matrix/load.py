"""In a guest: the real agent, a known load, and whether every count is the kernel's own. One JSON object a line.

Usage: python3 -m matrix.load [capabilities]
"""

import contextlib
import http.client
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.support import http_load
from tests.support.agents import Agent
from tests.support.balances import BYTES, PACKETS
from tests.support.cgroups import Cgroup, tell
from tests.support.namespaces import ETHERNET_HEADER, Namespace, veth_pair
from tests.support.pages import Page
from tests.support.relay import Relay

from agent.collectors import BUILT_IN
from agent.kernel import facts
from matrix import egresses, execs, web

ALL = ("bpf", "perfmon", "net_admin", "sys_resource")
"""What the agent can have use for on some kernel; each is taken away in turn."""

MEMLOCK_BYTES = 64 * 1024
"""The kernel's own default up to 5.15: without SYS_RESOURCE the agent cannot raise it."""

ANY = "any"
"""In place of a collector, where a check is about all of them."""

NAMELESS = "_unknown"
"""Where the short-lived cgroup's counts are when nothing tells its name."""

READY_SECONDS = 1800.0
EXACT_SECONDS = 60.0
LOOK_SECONDS = 0.5
"""An emulated machine is twenty times slower than a real one, and may have to share that one: http alone has programs
whose verifier walks half a million instructions each."""

DRAIN_SECONDS = 0.2
SCRAPE_SECONDS = 60
"""The series of a cgroup that is gone stay for twice that: longer than a run needs. What is read is the live view,
which shows values at once."""

V4, V6 = "198.51.100.2", "2001:db8::2"
PORT, UDP_PORT, OLD_PORT, CLOSED_PORT = 5001, 5002, 5003, 5999
CONNECTIONS, REFUSED, HELD, DATAGRAMS = 101, 23, 7, 211
WEB_PORT, WEB_CONNECTIONS, WEB_REQUESTS, UNANSWERED = 8080, 4, 50, 19
MESSAGE_BYTES, BULK_BYTES, LOSSY_BYTES = 1009, 5_000_000, 300_000
SHORT_SECONDS = "0.1"
SYN_ACKS_OF_IPV6_ARE_SEEN = (6, 6)
"""Before, the egress hook was not run for them (223f5f79f2ce)."""

DROPS_HAVE_REASONS = (5, 17)

OLD_LOCAL_PORT = 6001
"""Neither this nor OLD_PORT is ephemeral: only who listens tells which side is the server."""


@dataclass(frozen=True)
class Check:
    """One number: what the agent counted, and what the witness says. beside: other collectors that this takes."""

    collector: str
    what: str
    counted: float
    witness: float
    beside: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        return self.counted == self.witness


class Load:
    """Workloads on two sides of a veth pair and of a lossy link, and what must have been counted of them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._near, self._far = stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b"))
        stack.enter_context(veth_pair(self._near, self._far))
        self._relay = stack.enter_context(Relay())
        self._client, self._server = self._place("client", self._near), self._place("server", self._far)
        self._lossy_client = self._place("lossy-client", self._relay.a)
        self._lossy_server = self._place("lossy-server", self._relay.b)
        self._short = ""
        self._asking, self._answering = self._webs()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._server.serve(V4, OLD_PORT, mode="echo")
        # It ends with a reset: after a FIN the other side's may come when there is no socket any more.
        options = {"size": MESSAGE_BYTES, "local": OLD_LOCAL_PORT, "abort": True}
        self._old = self._client.begin("hold", V4, OLD_PORT, count=1, **options)
        self._before = self._counts()

    def _webs(self) -> tuple[Cgroup, Cgroup]:
        """A web's client and server, in namespaces of their own: what they send is in no other check."""
        near, far = self._stack.enter_context(Namespace("c")), self._stack.enter_context(Namespace("d"))
        self._stack.enter_context(veth_pair(near, far))
        return self._place("web-client", near), self._place("web-server", far)

    def _place(self, name: str, namespace: Namespace) -> Cgroup:
        return self._stack.enter_context(Cgroup(name, namespace))

    def _counts(self) -> dict[str, dict[str, int]]:
        found = {}
        for side in (self._near, self._far, self._relay.a, self._relay.b):
            device = "tun0" if side in (self._relay.a, self._relay.b) else "veth0"
            found[str(id(side))] = side.counters() | asdict(side.interface(device))
        return found

    def run(self) -> None:
        """While the agent counts."""
        tell(self._old, "send", "sent")
        for address in (V4, V6):
            self._server.serve(address, PORT)
            options = {"size": MESSAGE_BYTES, "shutdown": True, "read": True}
            self._client.talk("connect", address, PORT, count=CONNECTIONS, **options)
            self._client.talk("connect", address, PORT, **(options | {"size": BULK_BYTES}))
            self._client.talk("connect", address, CLOSED_PORT, count=REFUSED)
            self._server.begin("udp_sink", address, UDP_PORT)
            self._client.talk("udp_burst", address, UDP_PORT, count=DATAGRAMS, size=64)
        self._held = self._client.begin("hold", V4, OLD_PORT, count=HELD)
        self._lossy_server.serve(V4, PORT)
        self._relay.use({"drop": "0.05", "match": ["tcp_data"]})
        self._lossy_client.talk("connect", V4, PORT, size=LOSSY_BYTES, shutdown=True, read=True)
        for address in (V4, V6):
            self._answering.start([sys.executable, web.__file__, address, str(WEB_PORT)], ready="ready")
            options = [f"--connections={WEB_CONNECTIONS}", f"--requests={WEB_REQUESTS}"]
            done = self._asking.run([sys.executable, http_load.__file__, address, str(WEB_PORT), *options])
            for name, count in json.loads(done.stdout).items():
                method, status = name.split()
                self._answers[method, status] += count
            self._asking.run([sys.executable, web.__file__, address, str(WEB_PORT), str(UNANSWERED)])
        with Cgroup("short", self._near) as short:
            self._short = short.workload
            short.talk("udp_burst", V4, UDP_PORT, count=1, size=64)
            short.run(["sleep", SHORT_SECONDS])

    def end(self) -> None:
        """Half of what is open closes."""
        tell(self._old, "close", "closed")

    def checks(self, page: Page) -> Iterator[Check]:
        after = self._counts()

        def grown(side: Namespace, name: str) -> int:
            return after[str(id(side))][name] - self._before[str(id(side))][name]

        yield from self._traffic(page, grown)
        yield from self._tcp(page, grown)
        yield from self._connections(page, grown)
        yield from self._http(page)
        named = page.value(PACKETS, workload=self._short, direction="transmit", transport="udp")
        yield Check("cgroups", "datagrams of a cgroup that lived 0.1 s, under its name", named, 1, ("traffic",))
        if facts.version(platform.release()) >= DROPS_HAVE_REASONS:
            counted = page.value("bpfleet_packet_drops_total", workload=self._server.workload, reason="no_socket")
            yield Check("drops", "SYNs to a closed port = TcpOutRsts", counted, grown(self._far, "TcpOutRsts"))

    def told(self, events: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
        """Each connection that was asked for began with the same change of state."""
        of_client = [event for event in events if event["bpfleet.workload.name"] == self._client.workload]
        begun = sum(event["network.connection.state"] == "syn_sent" for event in of_client)
        asked = self._near.counters()["TcpActiveOpens"] - self._before[str(id(self._near))]["TcpActiveOpens"]
        yield Check("tcp_states", "client: changes to syn_sent = TcpActiveOpens", begun, asked)

    def _traffic(self, page: Page, grown: Any) -> Iterator[Check]:
        """The interface's, less what has no socket at the server: the SYN to a closed port and its reset."""
        places = (
            ("client", self._near, [self._client.workload, self._short], {"receive": 0, "transmit": 0}),
            ("server", self._far, [self._server.workload], {"receive": 2 * REFUSED, "transmit": unseen_by_server()}),
        )
        for name, side, workloads, unseen in places:
            for direction, prefix in (("receive", "rx"), ("transmit", "tx")):
                packets, size = (
                    sum(page.value(metric, direction=direction, workload=one) for one in workloads)
                    + page.value(metric, direction=direction, namespace=NAMELESS) * (name == "client")
                    for metric in (PACKETS, BYTES)
                )
                carried, carried_bytes = grown(side, f"{prefix}_packets"), grown(side, f"{prefix}_bytes")
                yield Check("traffic", f"{name}: packets, {direction}", packets, carried - unseen[direction])
                if not unseen[direction]:
                    expected = carried_bytes - carried * ETHERNET_HEADER
                    yield Check("traffic", f"{name}: bytes, {direction}", size, expected)
        for family in ("ipv4", "ipv6"):
            labels = {"direction": "transmit", "transport": "udp", "family": family}
            counted = page.value(PACKETS, workload=self._client.workload, **labels)
            yield Check("traffic", f"client: datagrams, {family}", counted, DATAGRAMS)
        for name, place in (("client", self._client), ("server", self._server)):
            flows = page.where("bpfleet_flow_packets_total", workload=place.workload, transport="tcp")
            strange = {labels["port"] for labels, _ in flows} - {str(PORT), str(OLD_PORT), str(CLOSED_PORT)}
            yield Check("traffic", f"{name}: TCP flows under another port than the server's", len(strange), 0)

    def _tcp(self, page: Page, grown: Any) -> Iterator[Check]:
        segments, again = "bpfleet_tcp_segments_total", "bpfleet_tcp_retransmissions_total"
        sides = (
            ("client", self._near, self._client, 0),
            ("server", self._far, self._server, unseen_by_server()),
        )
        for name, side, place, unseen in sides:
            counted = page.value(segments, workload=place.workload, direction="transmit")
            yield Check("tcp", f"{name}: segments sent = TcpOutSegs", counted, grown(side, "TcpOutSegs") - unseen)
        for name, side, place in (
            ("client", self._relay.a, self._lossy_client),
            ("server", self._relay.b, self._lossy_server),
        ):
            counted = page.value(segments, workload=place.workload, direction="transmit")
            yield Check("tcp", f"{name} with 5 % loss: segments sent", counted, grown(side, "TcpOutSegs"))
            counted, witness = page.value(again, workload=place.workload), grown(side, "TcpRetransSegs")
            yield Check("tcp", f"{name} with 5 % loss: segments sent again = TcpRetransSegs", counted, witness)
        samples = page.value("bpfleet_tcp_rtt_seconds_count", workload=self._client.workload)
        yield Check("tcp", "client: connections without a round-trip time", max(0, 2 * CONNECTIONS - samples), 0)

    def _connections(self, page: Page, grown: Any) -> Iterator[Check]:
        def of(place: Cgroup, name: str, **labels: str) -> float:
            return page.value(f"bpfleet_tcp_connections_{name}", workload=place.workload, **labels)

        client, server = self._client, self._server
        opened, refused = of(client, "opened_total"), of(client, "failed_total", reason="refused")
        yield Check("connections", "refused", refused, 2 * REFUSED)
        yield Check(
            "connections", "opened + refused = TcpActiveOpens", opened + refused, grown(self._near, "TcpActiveOpens")
        )
        # Not TcpPassiveOpens: where two packets complete a handshake at once, the kernel counts both.
        accepted, connected = of(server, "accepted_total"), 2 * (CONNECTIONS + 1) + HELD
        yield Check("connections", "accepted = connections of the clients", accepted, connected)
        closed = 2 * (CONNECTIONS + 1) + 1  # the old one too
        for name, place in (("client", client), ("server", server)):
            yield Check("connections", f"{name}: closed", of(place, "closed_total"), closed)
            established = len(self._near.sockets("state", "established"))
            yield Check("connections", f"{name}: active = ss", of(place, "active"), established)
            lives = page.value("bpfleet_tcp_connection_lifetime_seconds_count", workload=place.workload)
            yield Check("connections", f"{name}: life times", lives, closed - 1)
        took = page.value("bpfleet_tcp_connect_duration_seconds_count", workload=client.workload)
        yield Check("connections", "connect durations", took, opened)

    def _http(self, page: Page) -> Iterator[Check]:
        for name, place in (("server", self._answering), ("client", self._asking)):
            metric = f"http_{name}_request_duration_seconds_count"
            for (method, status), answers in sorted(self._answers.items()):
                labels = {"http_request_method": method, "http_response_status_code": status}
                counted = page.value(metric, workload=place.workload, **labels)
                yield Check("http", f"{name}: {method} {status} = answers that the client read", counted, answers)
            counted = page.value(metric, workload=place.workload, error_type="closed")
            yield Check("http", f"{name}: requests whose connection ends without an answer", counted, 2 * UNANSWERED)


def unseen_by_server() -> int:
    """Packets that it sends and no program is run for: resets of a closed port, and the SYN-ACKs of old kernels."""
    seen = facts.version(platform.release()) >= SYN_ACKS_OF_IPV6_ARE_SEEN
    return 2 * REFUSED + (0 if seen else CONNECTIONS + 1)


def main(arguments: Sequence[str]) -> None:
    say(
        release=platform.release(),
        python=platform.python_version(),
        bcc=bcc_version(),
        lockdown=lockdown(),
        cpus=os.cpu_count(),
    )
    if "capabilities" not in arguments:
        measure("all", [])
    else:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (MEMLOCK_BYTES, MEMLOCK_BYTES))
        for lacking in ("", *ALL):
            kept = [one for one in ALL if one != lacking]
            measure(f"without {lacking.upper()}" if lacking else "the four", with_only(kept))


def measure(name: str, prefix: Sequence[str]) -> None:
    """One line: what ran, and every check."""
    begun = time.monotonic()
    extra = [f"+{each.name}" for each in BUILT_IN if not each.default]
    try:
        with contextlib.ExitStack() as stack:
            load = Load(stack)
            events = Path(stack.enter_context(tempfile.TemporaryDirectory()), "events.jsonl")
            flags = ["--sinks-jsonl-path", str(events), "--collectors", ",".join(extra)]
            slow = {
                "BPFLEET_SCRAPE_INTERVAL_SECONDS": str(SCRAPE_SECONDS),
                "BPFLEET_DRAIN_INTERVAL_SECONDS": str(DRAIN_SECONDS),
            }
            agent = Agent(*flags, environment=slow, prefix=prefix).start()
            stack.callback(stop, agent)
            states = loaded(agent)
            if isinstance(states, str):
                return say(run=name, refused=states)
            ready = time.monotonic() - begun
            agent.drained()
            before = agent.lost()  # what was under way when it started: this script's own question, for example
            load.run()
            load.end()
            up = {collector for collector, state in states.items() if state["up"]}
            checks = settled(agent, load, up, events, before)
            if name == "all" and "exec" in up:
                checks += [Check("exec", *found) for found in execs.checks()]
            if name == "all" and {"egress", "dns_names"} <= up:
                checks += [Check("egress", *found) for found in egresses.checks()]
            say(
                run=name,
                collectors=states,
                checks=[asdict(check) for check in checks],
                left_out=left_out(agent) if name == "all" else 0,
                map_bytes=page(agent).value("bpfleet_map_bytes"),
                ready_seconds=round(ready, 1),
                seconds=round(time.monotonic() - begun, 1),
            )
    except Exception as error:  # the next run may still tell something
        say(run=name, failed=f"{type(error).__name__}: {error}")


def loaded(agent: Agent) -> Mapping[str, dict[str, Any]] | str:
    """By collector its state once everything that can be is loaded; or why the agent refuses to run."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if agent.process.poll() is not None:
            return agent.output().strip().splitlines()[-1]
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = agent.status()
            if status["ready"]:
                return dict(status["collectors"])
        time.sleep(LOOK_SECONDS)
    raise TimeoutError(f"not loaded: {agent.output()}")


def settled(agent: Agent, load: Load, up: set[str], events: Path, before: Mapping[str, float]) -> list[Check]:
    """Of collectors that run; as soon as all are exact, or after a while as they are. events: where the sink writes.
    before: what was lost before the load."""
    end = time.monotonic() + EXACT_SECONDS
    while True:
        told = [*load.checks(page(agent)), *load.told(whole_lines(events))]
        checks = [check for check in told if {check.collector, *check.beside} <= up]
        checks += [
            Check(asker(name), f"lost: {name}", count, before.get(name, 0)) for name, count in agent.lost().items()
        ]
        if all(check.exact for check in checks) or time.monotonic() > end:
            return checks
        time.sleep(LOOK_SECONDS)


def asker(loss: str) -> str:
    """Whose channel it is, of `channel/reason`."""
    channel = loss.partition("/")[0]
    return next((each.name for each in BUILT_IN for one in each.channels if one.name == channel), ANY)


def whole_lines(events: Path) -> list[dict[str, Any]]:
    """The sink may be about to write the last one."""
    text = events.read_text() if events.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def page(agent: Agent) -> Page:
    return Page.parse(agent.get("/metrics?view=live")[1].decode())


def left_out(agent: Agent) -> int:
    """Runs that the kernel has left out because the same program was running on that CPU already (since 6.1)."""
    found = 0
    for path in Path(f"/proc/{agent.process.pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of a connection, which is closed by now
            found += int(fields(path).get("recursion_misses", "0"))
    return found


def fields(path: Path) -> dict[str, str]:
    """Of a page of lines such as `prog_id:\t7`."""
    return dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)


def stop(agent: Agent) -> None:
    if agent.process.poll() is None:
        agent.stop()


def with_only(capabilities: Sequence[str]) -> list[str]:
    kept = ",".join(f"+{one}" for one in capabilities)
    return ["setpriv", f"--bounding-set=-all,{kept}", f"--inh-caps=-all,{kept}"]


def bcc_version() -> str:
    import importlib.metadata

    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("bcc")
    return "unknown"


def lockdown() -> str:
    with contextlib.suppress(OSError):
        return Path("/sys/kernel/security/lockdown").read_text().partition("[")[2].partition("]")[0]
    return "none"


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
