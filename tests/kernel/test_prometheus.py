"""Does a real Prometheus read the page as it is meant?

Witness: Debian's prometheus and promtool.
"""

import gzip
import os
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.agents import WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.pages import Page
from tests.support.prometheuses import Prometheus
from tests.support.relay import Relay
from tests.support.servers import Nginx

from agent.collectors import BUILT_IN
from bpfleet import catalogue

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4 = "198.51.100.2"
SCRAPED = WITHOUT_HTTP | {"BPFLEET_SCRAPE_INTERVAL_SECONDS": "1"}
"""As often as Prometheus does here: the shared agent's zeros are over before it comes."""

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@needs("promtool")
def test_promtool_accepts_the_page(agent: Agent, place: Place, pair: Pair) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    server.serve(V4, 5001)
    client.talk("connect", V4, 5001, count=7, size=23, shutdown=True, read=True)
    client.talk("connect", V4, 9, count=3)
    agent.settled()

    checked = subprocess.run(["promtool", "check", "metrics"], input=agent.text(), text=True, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@needs("nginx", "curl")
def test_every_metric_on_the_page_is_declared_and_every_declared_one_is_there(
    agent: Agent, place: Place, relay: Relay, stack: ExitStack, tmp_path: Path
) -> None:
    """After everything that is counted has happened at least once, and while a container lives."""
    stack.enter_context(Cgroup(f"docker-{os.urandom(32).hex()}.scope", exact_name=True))
    client, server = place("client", relay.a), place("server", relay.b)
    server.serve(V4, 5001)
    relay.use(ab={"drop": "@1", "match": ["tcp_data"]})
    client.talk("connect", V4, 5001, count=7, size=2323, shutdown=True, read=True)
    client.talk("connect", V4, 9, count=1)
    Nginx(server, tmp_path)
    client.run(["curl", "-sSf", "-o", "/dev/null", f"http://{V4}/"])
    agent.settled()
    types = [line.split()[2] for line in agent.text().splitlines() if line.startswith("# TYPE ")]
    announced = {name for name in types if name.startswith(("bpfleet_", "http_"))}
    off = {metric for kind in BUILT_IN if not kind.default for metric in kind.metrics}
    off |= {catalogue.HTTP_ROUTE_DURATION, catalogue.SECURITY_EVENTS}
    assert announced == {metric.family for metric in catalogue.ALL if metric not in off}


def test_openmetrics_and_gzip_say_the_same(agent: Agent, place: Place, pair: Pair) -> None:
    client = place("client", pair[0])
    client.talk("udp_burst", V4, 9, count=23, size=64, unconnected=True)
    agent.settled()
    status, body, headers = agent.get("/metrics", {"Accept": OPENMETRICS, "Accept-Encoding": "gzip"})
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(body).decode()
    assert text.endswith("# EOF\n")
    assert f'workload="{client.workload}"' in text


@needs("prometheus")
def test_honor_labels_keeps_the_agents_own_labels_off_the_hosts_series(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    client = place("client", pair[0])
    with Prometheus(tmp_path, agent.port) as prometheus:
        client.talk("udp_burst", V4, 9, count=23, size=64, unconnected=True)
        selector = (
            f'bpfleet_network_io_packets_total{{workload="{client.workload}",transport="udp",direction="transmit"}}'
        )
        (found,) = prometheus.until(f"{selector} > 0")
        assert found["value"][1] == "23"
        assert found["metric"]["namespace"] == "_host"
        assert found["metric"]["node"] == "node-1"
        assert "pod" not in found["metric"] and "container" not in found["metric"]
        assert prometheus.query('count({namespace="_host",pod!=""})') == []
        (up,) = prometheus.query('bpfleet_collector_up{collector="traffic"}')
        assert up["metric"]["pod"] == "agent-pod"


@needs("prometheus")
def test_the_first_event_of_a_new_series_is_an_increase(alone: House, place: Place, pair: Pair, tmp_path: Path) -> None:
    with Agent(environment=SCRAPED) as agent, Prometheus(tmp_path, agent.port) as prometheus:
        client = place("client", pair[0])
        client.talk("connect", V4, 9, count=1)
        client.talk("udp_burst", V4, 9, count=1, size=64, unconnected=True)
        for selector in (
            f'bpfleet_tcp_connections_failed_total{{workload="{client.workload}",reason="refused"}}',
            f'bpfleet_flow_tcp_connects_total{{workload="{client.workload}",result="refused",port="9"}}',
            f'bpfleet_network_io_packets_total{{workload="{client.workload}",direction="transmit",transport="udp"}}',
            f'bpfleet_tcp_resets_total{{workload="{client.workload}",direction="receive"}}',
        ):
            assert prometheus.until(f"increase({selector}[1m]) > 0"), selector


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/status", "/metrics"])
def test_each_page_answers(agent: Agent, path: str) -> None:
    assert agent.get(path)[0] == 200


def test_an_unknown_page_is_not_found(agent: Agent) -> None:
    assert agent.get("/secret")[0] == 404


def test_the_page_names_every_collector_and_what_it_hooks(agent: Agent) -> None:
    page = Page.parse(agent.text())
    up = {labels["collector"]: value for labels, value in page.where("bpfleet_collector_up")}
    assert {"traffic", "connections", "tcp"} <= set(up)
    assert set(up.values()) == {1}
    hooks = {(labels["collector"], labels["hook"]) for labels, _ in page.where("bpfleet_collector_info")}
    assert {("traffic", "cgroup_skb/ingress"), ("traffic", "cgroup_skb/egress")} <= hooks
    assert ("connections", "tp_btf/inet_sock_set_state") in hooks
