"""Do the numbers hold with the servers and clients that people run?

Witnesses: what each server logs of itself, what each client has read, wrk's own summary.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support import applications, http_ask
from tests.support.agents import Agent
from tests.support.applications import KINDS, PROGRAMS, Answers
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page
from tests.support.requests import active_requests, lost_requests, requests

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "2001:db8::2"
REQUESTS = 101
CLIENTS_AT_ONCE = 4


def ask(client: Cgroup, host: str, port: int, *words: str) -> Answers:
    """What the client has read, by method and status."""
    argv = [sys.executable, http_ask.__file__, host, str(port), f"--requests={REQUESTS}", *words]
    return {(name.split()[0], name.split()[1]): count for name, count in json.loads(client.run(argv).stdout).items()}


def wrk(client: Cgroup, script: str, url: str, *words: str) -> dict[str, float]:
    """The script's own summary."""
    before, _, after = " ".join(words).partition(" -- ")
    done = client.run(["wrk", *before.split(), "-s", str(PROGRAMS / script), url, "--", *after.split()])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def with_errors(answers: Answers, side: str) -> dict[tuple[str, str, str], int]:
    """With the error_type that OpenTelemetry's conventions ask for."""
    first = 500 if side == "server" else 400
    return {(method, status, status if int(status) >= first else ""): n for (method, status), n in answers.items()}


def expect(page: Page, side: str, cgroup: Cgroup, answers: Answers) -> None:
    """These requests on that side, none on the other, and none that still waits."""
    assert active_requests(page, cgroup) == {}
    assert requests(page, side, cgroup) == with_errors(answers, side)
    assert requests(page, "client" if side == "server" else "server", cgroup) == {}


@needs("nginx", "node")
def test_each_server_and_each_client_has_counted_what_we_have(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """Each kind of server by IPv4 and IPv6, one connection for all requests and one for each: twelve clients."""
    ports = dict(zip(KINDS, (80, 90, 100), strict=True))
    servers = {kind: place(kind, pair[1]) for kind in KINDS}
    answered = {kind: start(servers[kind], tmp_path, ports[kind]) for kind, start in KINDS.items()}
    ways = [(kind, host, words) for kind in KINDS for host in (V4, V6) for words in ((), ("--close",))]
    clients = [place(f"client{number}", pair[0]) for number in range(len(ways))]
    before = lost_requests(agent)
    with ThreadPoolExecutor(CLIENTS_AT_ONCE) as pool:
        jobs = [
            pool.submit(ask, client, host, ports[kind], *words)
            for client, (kind, host, words) in zip(clients, ways, strict=True)
        ]
        read = [job.result() for job in jobs]
    page = agent.settled(*servers.values(), *clients)
    assert all(sum(answers.values()) == REQUESTS for answers in read)
    for kind, server in servers.items():
        served = answered[kind]()
        assert len(served) == len(http_ask.METHODS) * len(http_ask.STATUSES)
        assert served == sum((Counter(one) for one, way in zip(read, ways, strict=True) if way[0] == kind), Counter())
        expect(page, "server", server, served)
    for client, answers in zip(clients, read, strict=True):
        expect(page, "client", client, answers)
    assert lost_requests(agent) == before


PROXY = "location / {{ proxy_pass http://127.0.0.1:{port}; {more} }}"
KEEP_ALIVE = 'proxy_http_version 1.1; proxy_set_header Connection "";'


@needs("nginx", "node")
def test_each_hop_of_a_proxy_chain_is_once_a_client_and_once_a_server(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """nginx asks nginx over HTTP/1.0, a connection a request, and that asks Node over one that it keeps."""
    client = place("client", pair[0])
    front, middle, back = (place(name, pair[1]) for name in ("front", "middle", "back"))
    folders = [tmp_path / name for name in ("front", "middle", "back")]
    for folder in folders:
        folder.mkdir()
    answered = [
        applications.node(back, folders[2], 3000),
        applications.nginx(
            middle,
            folders[1],
            82,
            directives="upstream node { server 127.0.0.1:3000; keepalive 4; }",
            locations="location / { proxy_pass http://node; " + KEEP_ALIVE + " }",
        ),
        applications.nginx(front, folders[0], 80, locations=PROXY.format(port=82, more="")),
    ]
    before = lost_requests(agent)
    read = ask(client, V4, 80)
    page = agent.settled(client, front, middle, back)
    assert sum(read.values()) == REQUESTS
    assert [one() for one in answered] == [read] * 3
    for cgroup in (front, middle, back):
        assert requests(page, "server", cgroup) == with_errors(read, "server")
    for cgroup in (client, front, middle):
        assert requests(page, "client", cgroup) == with_errors(read, "client")
    assert requests(page, "client", back) == requests(page, "server", client) == {}
    assert active_requests(page, client, front, middle, back) == {}
    assert lost_requests(agent) == before


@needs("nginx", "wrk")
def test_a_share_of_errors_is_exactly_what_wrk_has_counted(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """Two connections, each ended after its 1,000th answer: one request in twenty was answered with 500."""
    client, server = place("client", pair[0]), place("server", pair[1])
    answered = applications.nginx(server, tmp_path, 80)
    before = lost_requests(agent)
    told = wrk(client, "answers.lua", f"http://{V4}/", "-t2", "-c2", "-d1", "--", "1000")
    page = agent.settled(client, server)
    assert told == {"requests": 2000, "errors": 100}
    assert answered() == {("GET", "200"): 1900, ("GET", "500"): 100}
    expect(page, "server", server, answered())
    expect(page, "client", client, answered())
    assert lost_requests(agent) == before


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def bucket(bounds: list[float], seconds: float) -> int:
    return sum(seconds > bound for bound in bounds)


@pytest.mark.undisturbed
@needs("nginx", "node", "wrk")
def test_percentiles_are_within_a_bucket_of_nginxs_and_of_wrks(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    """Node pauses, nginx passes that on: both sides' histograms against $request_time and what wrk says."""
    client, server, back = place("client", pair[0]), place("server", pair[1]), place("back", pair[1])
    folder = tmp_path / "back"
    folder.mkdir()
    applications.node(back, folder, 3000)
    times = tmp_path / "times.log"
    applications.nginx(
        server,
        tmp_path,
        80,
        directives="log_format times '$request_time';",
        locations=f"access_log {times} times; " + PROXY.format(port=3000, more=""),
    )
    told = wrk(client, "pauses.lua", f"http://{V4}/", "-t1", "-c16", "-d1")
    page = agent.settled(client, server)
    taken = [float(line) for line in times.read_text().splitlines()]
    assert len(taken) > 100
    for side, cgroup in (("server", server), ("client", client)):
        family = f"http_{side}_request_duration_seconds"
        answered = Page({key: value for key, value in page.samples.items() if ("error_type", "") in key[1]})
        bounds = [bound for bound, _ in answered.buckets(family, workload=cgroup.workload)]
        for share in (0.5, 0.99):
            ours = bucket(bounds, answered.quantile(family, share, workload=cgroup.workload))
            print(side, share, ours, bucket(bounds, percentile(taken, share)), bucket(bounds, told[str(share)]))
            assert abs(ours - bucket(bounds, percentile(taken, share))) <= 1
            assert abs(ours - bucket(bounds, told[str(share)])) <= 1
