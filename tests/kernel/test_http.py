"""Are requests counted once, on both sides, as what they were, also on a bad link?

Witnesses: nginx's access log, what wrk, curl and the clients of the test have read.
"""

import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import http_load
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup, tell
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.relay import Relay
from tests.support.requests import lost_requests, requests
from tests.support.servers import Nginx, await_listener

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "[2001:db8::2]"
LOG = "log_format asked '$request_method $status'; access_log {folder}/asked.log asked;"


def web(server: Cgroup, folder: Path) -> Nginx:
    """nginx with a file of each size."""
    nginx = Nginx(server, folder, directives=f"keepalive_requests 1000000; {LOG.format(folder=folder)}")
    for size in http_load.SIZES:
        nginx.file(str(size), size)
    return nginx


def asked(folder: Path) -> dict[tuple[str, str], int]:
    """nginx's log of all servers: requests by method and status."""
    lines = (folder / "asked.log").read_text().splitlines()
    return dict(Counter((method, status) for method, status in map(str.split, lines)))


def load(client: Cgroup, host: str, timeout: float = 120, **options: int) -> dict[tuple[str, str], int]:
    """Answers that were read, by method and status."""
    words = [f"--{name}={value}" for name, value in options.items()]
    done = client.run([sys.executable, http_load.__file__, host, "80", *words], timeout=timeout)
    return {(name.split()[0], name.split()[1]): count for name, count in json.loads(done.stdout).items()}


def without_errors(rows: dict[tuple[str, str, str], int]) -> dict[tuple[str, str], int]:
    return {(method, status): count for (method, status, _), count in rows.items()}


@needs("nginx", "wrk")
@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize("headers", [[], ["-H", "Connection: close"]], ids=["keep-alive", "one connection a request"])
def test_requests_are_those_of_nginx(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str, headers: list[str]
) -> None:
    """wrk ends in the middle of its last requests: nginx may have answered what nobody read any more."""
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = Nginx(server, tmp_path)
    before = lost_requests(agent)
    client.run(["wrk", "-t2", "-c16", "-d3", *headers, f"http://{address}/"])
    page = agent.settled(client, server)
    served = len(nginx.served())
    assert served > 1000
    assert lost_requests(agent) == before
    assert requests(page, "server", server) == {("GET", "200", ""): served}
    found = requests(page, "client", client)
    assert found.pop(("GET", "200", "")) + sum(found.values()) == served
    assert set(found) <= {("GET", "", "closed"), ("GET", "", "reset")}
    assert sum(found.values()) <= 16


@needs("nginx", "curl")
@pytest.mark.parametrize("address", [V4, V6])
def test_methods_and_statuses_are_those_of_nginx(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    web(server, tmp_path)
    before = lost_requests(agent)
    codes: Counter[str] = Counter()
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PURGE"):
        for path in ("", "5", "absent", "60000"):
            body = ["-d", "x" * 2000] if method in ("POST", "PUT", "PATCH") else []
            words = ["-I"] if method == "HEAD" else ["-X", method, *body]
            done = client.run(
                ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *words, f"http://{address}/{path}"]
            )
            codes[done.stdout] += 1
    page = agent.settled(client, server)
    served = asked(tmp_path)
    known = Counter({(m if m != "PURGE" else "_OTHER", status): n for (m, status), n in served.items()})
    assert sum(codes.values()) == sum(known.values()) == 36
    assert set(codes) == {"200", "404", "405"}
    assert without_errors(requests(page, "server", server)) == known
    assert without_errors(requests(page, "client", client)) == known
    assert lost_requests(agent) == before


@needs("nginx")
@pytest.mark.parametrize("address", [V4, V6.strip("[]")])
@pytest.mark.parametrize("depth", [1, 5, 16])
def test_bodies_of_every_size_and_pipelines_are_followed_exactly(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str, depth: int
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    web(server, tmp_path)
    before = lost_requests(agent)
    read = load(client, address, connections=10, requests=160, depth=depth)
    page = agent.settled(client, server)
    assert sum(read.values()) == 1600
    assert asked(tmp_path) == read
    assert without_errors(requests(page, "server", server)) == read
    assert without_errors(requests(page, "client", client)) == read
    assert lost_requests(agent) == before


@needs("nginx")
@pytest.mark.parametrize("address", [V4, V6.strip("[]")])
@pytest.mark.parametrize("depth", [1, 5])
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"drop": "0.1", "delay_ms": 1}, id="10 % dropped"),
        pytest.param({"duplicate": "0.1"}, id="10 % doubled"),
        pytest.param({"reorder": "0.1", "delay_ms": 1}, id="10 % reordered"),
        pytest.param({"drop": "0.05", "duplicate": "0.05", "reorder": "0.05", "delay_ms": 1}, id="all at once"),
    ],
)
def test_on_a_bad_link_counted_and_lost_are_what_was_served(
    agent: Agent, place: Place, relay: Relay, tmp_path: Path, address: str, depth: int, faults: dict[str, object]
) -> None:
    """Lost is not told by side; what either side lacks is what is lost."""
    client, server = place("client", relay.a), place("server", relay.b)
    web(server, tmp_path)
    relay.use(faults)
    before = lost_requests(agent)
    read = load(client, address, connections=8, requests=75, depth=depth)
    page = agent.settled(client, server)
    assert asked(tmp_path) == read
    sides = [without_errors(requests(page, side, cgroup)) for side, cgroup in (("server", server), ("client", client))]
    for side in sides:
        assert set(side) <= set(read)
        assert all(side[row] <= read[row] for row in side)
    lacking = sum(sum(read.values()) - sum(side.values()) for side in sides)
    lost = lost_requests(agent) - before
    print(f"served {sum(read.values())}, lost on both sides {lost}, {relay.settled()}")
    assert lacking == lost
    if depth == 1:
        assert lost <= 0.01 * sum(read.values())


HELD = """
import http.client, sys
held = [http.client.HTTPConnection(sys.argv[1], 80) for _ in range(7)]
def ask(method, path):
    for connection in held:
        connection.request(method, path)
    for connection in held:
        connection.getresponse().read()
ask("GET", "/60000")
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(11):
        ask("GET", "/5")
        ask("HEAD", "/60000")
    print("asked", flush=True)
"""


@needs("nginx")
def test_connections_that_are_older_than_the_agent_are_followed(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    web(server, tmp_path)
    held = client.start([sys.executable, "-c", HELD, V4], ready="ready")
    with Agent() as agent:
        before = lost_requests(agent)
        tell(held, "ask", "asked")
        page = agent.settled(client, server)
        rows = {("GET", "200", ""): 77, ("HEAD", "200", ""): 77}
        assert requests(page, "server", server) == rows
        assert requests(page, "client", client) == rows
        assert lost_requests(agent) == before


@needs("nginx", "wrk")
def test_what_was_under_way_when_the_agent_started_is_lost_by_number(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = Nginx(server, tmp_path)
    busy = client.start(["wrk", "-t1", "-c16", "-d100", f"http://{V4}/"])
    with Agent() as agent:
        began = len(nginx.served())
        while len(nginx.served()) < began + 1000:
            time.sleep(0.1)
        busy.send_signal(signal.SIGINT)
        busy.wait(10)
        page = agent.settled(client, server)
        counted = sum(requests(page, "server", server).values())
        assert lost_requests(agent) <= 32
        assert counted > len(nginx.served()) - began - 16
        assert set(requests(page, "server", server)) == {("GET", "200", "")}


@needs("redis-server")
def test_redis_is_no_http(agent: Agent, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.start(["redis-server", "--port", "6379", "--bind", V4, "--protected-mode", "no", "--save", ""],
                 ready="Ready to accept")  # fmt: skip
    before = lost_requests(agent)
    client.run(["redis-benchmark", "-h", V4, "-q", "-n", "2000", "-t", "set,get"])
    client.run(["redis-benchmark", "-h", V4, "-q", "-n", "2000", "GET", "HTTP/1.1"])
    page = agent.settled(client, server)
    assert page.value("bpfleet_network_io_packets_total", workload=server.workload) > 2000
    for cgroup in (client, server):
        assert requests(page, "server", cgroup) == requests(page, "client", cgroup) == {}
    assert lost_requests(agent) == before


def test_how_long_an_answer_took_is_exact_by_bucket(agent: Agent, place: Place, pair: Pair) -> None:
    """A server that thinks for 4.4 s, more than 32 bits of nanoseconds hold (4.29 s)."""
    slow = """
import http.server, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path[1:]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("198.51.100.2", 80), Slow).serve_forever()
"""
    client, server = place("client", pair[0]), place("server", pair[1])
    server.start([sys.executable, "-c", slow])
    await_listener(server, 80)
    client.run(["curl", "-s", "--parallel", *(f"http://{V4}/{pause}" for pause in ("0.15", "0.35", "4.4"))])
    page = agent.settled(client, server)
    for side, cgroup in (("server", server), ("client", client)):
        name = f"http_{side}_request_duration_seconds"
        assert [bound for bound, count in page.buckets(name, workload=cgroup.workload) if count] == [0.25, 0.5, 5.0]
        assert 4.9 < page.value(f"{name}_sum", workload=cgroup.workload) < 5.75
