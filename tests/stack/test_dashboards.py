"""Does every panel show something, where a real Prometheus scrapes a real agent of a host with traffic?

Witness: Prometheus, which is asked what Grafana would ask.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.kernel.conftest import obstacle
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.prometheuses import Prometheus
from tests.support.servers import Nginx

from bundle.dashboards.check import filled, may_be_empty, queries
from bundle.dashboards.cli import DIRECTORY

pytestmark = [pytest.mark.skipif(bool(obstacle()), reason=obstacle()), needs("prometheus", "nginx", "curl")]

REPOSITORY = Path(__file__).parents[2]
WINDOW = "6s"
"""Of Prometheus that scrapes each second."""

FILLED_SECONDS = 60.0
LOOK_SECONDS = 0.5

SERVER = """
server { listen 8080; location / { return 500 "broken\\n"; } }
"""
TRAFFIC = """
while :; do
    curl -s -o /dev/null http://127.0.0.1/ -o /dev/null http://127.0.0.1:8080/
    curl -s http://127.0.0.1:9
    sleep 0.1
done
"""
SEEN = "http_server_request_duration_seconds_count"

NOT_ON_A_HOST = (
    *("slo:", "ALERTS", "kube_", "gotk_", "workqueue_depth", "controller_runtime_", "bpfleet_container_info"),
    *("bpfleet_service_backend_info", 'zone!=""', 'peer_namespace="$namespace"'),
)
"""What no agent brings, or only in Kubernetes; where else a panel is marked, it is about what is not asked for here."""

NOT_ASKED_FOR = (
    *("bpfleet_packet_drops", "_window_", "_body_size_", "bpfleet_http_route_", "bpfleet_events", "bpfleet_sink"),
    *("bpfleet_drain_failures", "bpfleet_collector_info", "_active_requests", "bpfleet_security_", 'channel=~"exec'),
)
"""Collectors and sinks that are off by default, and what only happens when something fails or waits."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Mapping[str, str]]]:
    folder = tmp_path_factory.mktemp("dashboards")
    with ExitStack() as stack:
        space = stack.enter_context(Namespace("boards"))
        client, server = (stack.enter_context(Cgroup(name, space)) for name in ("client", "server"))
        agent = stack.enter_context(Agent(environment={"BPFLEET_SCRAPE_INTERVAL_SECONDS": "1"}))
        (folder / "nginx").mkdir()
        Nginx(server, folder / "nginx", directives=SERVER)
        client.start(["sh", "-c", TRAFFIC])
        first = f'sum(rate({SEEN}{{workload="{server.workload}",error_type="500"}}[{WINDOW}])) > 0'
        prometheus = stack.enter_context(Prometheus(folder, agent.port, first=first))
        prometheus.until(f"count_over_time(up[{WINDOW}]) >= 6")
        values = {
            "__rate_interval": WINDOW,
            "__range": WINDOW,
            "datasource": "prometheus",
            "namespace": "_host",
            "node": ".*",
            "server": server.workload,
            "client": client.workload,
        }
        yield prometheus, values


Empty = list[tuple[str, str, bool]]
"""Panels: title, query, whether they say why they may be empty."""


def unexplained(prometheus: Prometheus, values: Mapping[str, str], board: dict[str, Any]) -> Empty:
    """Without a row now: those that do not say why, or say so of what this host has."""
    expected = (*NOT_ON_A_HOST, *NOT_ASKED_FOR)
    empty: Empty = []
    for panel, expression in queries(board):
        is_explained = may_be_empty(panel) and any(word in expression for word in expected)
        found: list[Any] = []
        for side in ("server", "client"):
            found = found or prometheus.query(filled(expression, {**values, "workload": values[side]}))
        if not found and not is_explained:
            empty.append((panel["title"], expression, may_be_empty(panel)))
    return empty


@pytest.mark.parametrize("file", sorted((REPOSITORY / DIRECTORY).glob("*.json")), ids=lambda file: file.stem)
def test_every_panel_shows_something_or_says_why_not(shown: tuple[Prometheus, Mapping[str, str]], file: Path) -> None:
    """Asked again until each has rows: on a busy machine a window of 6 s may lack the scrapes, or the traffic, that a
    rate needs."""
    board, end = json.loads(file.read_text()), time.monotonic() + FILLED_SECONDS
    while (empty := unexplained(*shown, board)) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
    assert empty == []
