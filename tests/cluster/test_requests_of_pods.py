"""Requests of pods, as an agent in a pod counts them, tells of them and draws them.

Witnesses: nginx's access log, and what an OpenTelemetry Collector on the node has written down.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import PARTNER
from tests.cluster.pods import Cluster, Pods, by_path, process_of
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace, veth_pair
from tests.support.pages import Page
from tests.support.receivers import Collector
from tests.support.servers import Nginx

from agent import topology

pytestmark = [
    # the whole client leaves its connections to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

LOG, QUERIES, PATHS = (f"bpfleet.io/request-log{end}" for end in ("", "-queries-until", "-paths-until"))
HOUR_SECONDS, SOON_SECONDS = 3600, 2

SOMEBODY = "203.0.113.3"
"""An address outside the cluster that nobody has a name for."""


def requests(page: Page, role: str, **labels: str) -> Counter[tuple[str, str]]:
    """By method and status."""
    counted: Counter[tuple[str, str]] = Counter()
    for found, value in page.where(f"http_{role}_request_duration_seconds_count", **labels):
        counted[found["http_request_method"], found["http_response_status_code"]] += int(value)
    return counted


def served(pods: Pods, server: str, *clients: str) -> Counter[tuple[str, str]]:
    """By method and status, of these addresses; as nginx tells."""
    return Counter((each.method, str(each.status)) for each in pods.served(server) if each.client in clients)


def owned(shop: Pods, pod: str, container: str, workload: str, kind: str) -> dict[str, str]:
    return {
        "namespace": shop.namespace,
        "pod": shop.pod(pod).metadata.name,
        "container": container,
        "workload": workload,
        "workload_kind": kind,
    }


def test_requests_through_a_service_have_both_pods_names(cluster: Cluster, shop: Pods) -> None:
    url = f"http://{shop.service('web')}"
    shop.ask("caller", f"{url}/[1-23]", f"{url}/absent?[1-5]", f"{url}/broken?[1-3]")
    shop.ask("caller", "-X", "POST", "--data", "x=1", f"{url}/[1-7]")
    page = cluster.settled()
    mine = served(shop, "web", shop.pod("caller").status.pod_ip)
    assert mine == {("GET", "200"): 23, ("GET", "404"): 5, ("GET", "500"): 3, ("POST", "200"): 7}
    assert requests(page, "client", **owned(shop, "caller", "curl", "caller", "Pod")) == mine
    assert requests(page, "server", **owned(shop, "web", "nginx", "web", "Deployment")) == mine
    assert not requests(page, "server", namespace=shop.namespace, workload="caller")
    assert not requests(page, "client", namespace=shop.namespace, workload="web")


def test_requests_of_pods_in_the_nodes_network_are_theirs(
    cluster: Cluster, shop: Pods, node_address: str, host_port: int
) -> None:
    """Addresses and network namespace are those of every process of the machine: only the cgroup tells whose it is."""
    for address, count in ((node_address, 29), ("127.0.0.1", 13)):
        shop.ask("patrol", f"http://{address}:{host_port}/[1-{count}]")
    shop.ask("caller", f"http://{node_address}:{host_port}/absent?[1-11]")  # from the pod network
    shop.ask("patrol", f"http://{shop.service('web')}/[1-5]")  # into the pod network
    page = cluster.settled()
    everybody = {each.client for each in shop.served("edge")}
    assert len(shop.served("edge")) == 29 + 13 + 11
    assert requests(page, "server", **owned(shop, "edge", "nginx", "edge", "Deployment")) == served(
        shop, "edge", *everybody
    )
    client = requests(page, "client", **owned(shop, "patrol", "curl", "patrol", "Pod"))
    assert client == {("GET", "200"): 29 + 13 + 5}
    assert sum(served(shop, "edge", node_address, "127.0.0.1").values()) == 29 + 13


@contextmanager
def logged(cluster: Cluster, shop: Pods) -> Iterator[None]:
    """The Namespace wants all of its requests told, and at the end none any more; the agent has heard it."""
    with cluster.saying(f"namespace {shop.namespace}: the request log is all"):
        annotate(shop, {LOG: "all"})
    cluster.settled()
    try:
        yield
        cluster.settled()
    finally:
        with cluster.saying(f"namespace {shop.namespace}: the request log is off, as everywhere"):
            annotate(shop, {LOG: None, QUERIES: None, PATHS: None})
    cluster.settled()


def annotate(shop: Pods, annotations: dict[str, str | None]) -> None:
    shop.core.patch_namespace(shop.namespace, {"metadata": {"annotations": annotations}})


def until(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def asked(shop: Pods, word: str) -> Counter[tuple[str, int]]:
    """What nginx was asked for below that word, without queries, by path and status."""
    rows = shop.served("web")
    return Counter((each.target.partition("?")[0], each.status) for each in rows if each.target.startswith(f"/{word}"))


def told(cluster: Cluster, shop: Pods, word: str, role: str) -> Counter[tuple[str, int]]:
    return by_path([each for each in cluster.events(shop.namespace) if each["url.path"].startswith(f"/{word}")], role)


def test_a_namespace_has_its_requests_told_as_long_as_it_wants_and_no_other_one(cluster: Cluster, shop: Pods) -> None:
    web, echo = f"http://{shop.service('web')}", f"http://{cluster.service('echo')}"
    shop.ask("caller", f"{web}/before?[1-5]")
    cluster.settled()
    assert cluster.events(shop.namespace) == []
    with logged(cluster, shop):
        shop.ask("caller", f"{web}/during/of/all?key=[1-17]", f"{web}/during/absent?[1-3]")
        cluster.ask("client", f"{web}/during/a/stranger?[1-7]", f"{echo}/hostname?[1-4]")
    shop.ask("caller", f"{web}/after?[1-5]")
    cluster.settled()

    own = {("/during/of/all", 200): 17, ("/during/absent", 200): 3}
    both = {**own, ("/during/a/stranger", 200): 7}
    assert asked(shop, "during") == told(cluster, shop, "during", "server") == both
    assert told(cluster, shop, "during", "client") == own
    assert asked(shop, "before") == {("/before", 200): 5} and asked(shop, "after") == {("/after", 200): 5}
    assert not told(cluster, shop, "before", "server") + told(cluster, shop, "after", "server")
    assert {each["url.path"].split("/")[1] for each in cluster.events(shop.namespace)} == {"during"}
    assert not [each for each in cluster.events(shop.namespace) if "url.query" in each]
    assert cluster.events(cluster.namespace) == []


def test_queries_and_paths_are_told_until_the_moment_that_the_namespace_names(cluster: Cluster, shop: Pods) -> None:
    web = f"http://{shop.service('web')}"
    opened = f"namespace {shop.namespace}: raw paths of requests are"
    with logged(cluster, shop):
        with cluster.saying(f"{opened} recorded until"):
            annotate(shop, dict.fromkeys((QUERIES, PATHS), until(HOUR_SECONDS)))
        shop.ask("caller", f"{web}/opened/104[1-6]?page=7&token=squeamish")
        cluster.settled()
        with cluster.saying(f"{opened} not recorded any more"):
            annotate(shop, dict.fromkeys((QUERIES, PATHS), until(SOON_SECONDS)))
        shop.ask("caller", f"{web}/opened/104[1-6]?page=7&token=squeamish")
    assert asked(shop, "opened") == {(f"/opened/104{number}", 200): 2 for number in range(1, 7)}
    once = {(f"/opened/104{number}", 200): 1 for number in range(1, 7)}
    for role in ("client", "server"):
        assert told(cluster, shop, "opened", role) == {**once, ("/opened/{id}", 200): 6}
    rows = [each for each in cluster.events(shop.namespace) if each["url.path"].startswith("/opened")]
    queries = Counter((each["url.path"] == "/opened/{id}", each.get("url.query")) for each in rows)
    assert queries == {(False, "page=7&token=REDACTED"): 12, (True, None): 12}


def test_a_collector_on_the_node_receives_each_request_that_was_made(
    cluster: Cluster, shop: Pods, receiver: Collector | str
) -> None:
    if isinstance(receiver, str):
        pytest.skip(receiver)
    with logged(cluster, shop):
        shop.ask("caller", f"http://{shop.service('web')}/shipped?[1-101]")
    assert asked(shop, "shipped") == {("/shipped", 200): 101}
    for workload, role in (("web", "server"), ("caller", "client")):
        lines = [each for each in cluster.events(shop.namespace) if each["bpfleet.workload.name"] == workload]
        rows = receiver.rows(workload, len(lines))
        assert {row.resource["k8s.namespace.name"] for row in rows} == {shop.namespace}
        shipped = [row for row in rows if row.attributes["url.path"] == "/shipped"]
        assert len(shipped) == len({row.time_ns for row in shipped}) == 101
        assert {row.attributes["bpfleet.http.role"] for row in shipped} == {role}
        assert len(rows) == len(lines)
    page = cluster.page()
    sent = page.value("bpfleet_sink_events_total", sink="otlp", outcome="delivered")
    assert sent == page.value("bpfleet_delivered_total", channel="events")
    assert page.value("bpfleet_lost_total", channel="sink_otlp") == 0


def edges(cluster: Cluster, namespace: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """All since the agent's start, of which one end is there."""
    words = ["--agent", cluster.url, "--seconds", "0", "--format", "json", "--namespace", namespace]
    assert topology.main(words) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["edges"]
    return found


def test_a_service_is_the_peer_of_its_clients_with_the_backend_behind_it(
    cluster: Cluster, shop: Pods, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.ask("caller", f"http://{shop.service('web')}/[1-31]", f"http://{shop.service('web')}/broken?[1-2]")
    cluster.settled()
    (edge,) = (each for each in edges(cluster, shop.namespace, capsys) if each["client"]["name"] == "caller"
               and each["server"]["kind"] == "service")  # fmt: skip
    assert edge["client"] == {"kind": "Pod", "namespace": shop.namespace, "name": "caller"}
    assert edge["server"] == {"kind": "service", "namespace": shop.namespace, "name": "web"}
    assert edge["backends"] == [{"kind": "Deployment", "namespace": shop.namespace, "name": "web"}]
    assert (edge["protocol"], edge["port"], edge["direction"]) == ("http", 80, "client to server")
    log = served(shop, "web", shop.pod("caller").status.pod_ip)
    assert {side: tally["requests"] for side, tally in edge["told_by"].items()} == dict.fromkeys(
        ("client", "server"), sum(log.values())
    )
    failed = {status: sum(count for (_, each), count in log.items() if each >= status) for status in ("400", "500")}
    assert failed["500"] >= 2
    assert (edge["told_by"]["client"]["errors"], edge["told_by"]["server"]["errors"]) == (failed["400"], failed["500"])


def test_a_pod_in_the_nodes_network_is_the_peer_at_its_port(
    cluster: Cluster, shop: Pods, node_address: str, host_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the node's address, and of loopback, only the port tells whose it is. Of callers on the node the server knows
    no more than that: the kubelet, whose probe asks for nothing, is another one."""
    for pod, address in (("patrol", node_address), ("patrol", "127.0.0.1"), ("caller", node_address)):
        shop.ask(pod, f"http://{address}:{host_port}/[1-7]")
    cluster.settled()
    found = {
        each["client"]["name"]: each
        for each in edges(cluster, shop.namespace, capsys)
        if each["port"] == host_port and each["requests"]
    }
    log = shop.served("edge")
    local = sum(each.client in (node_address, "127.0.0.1") for each in log)
    assert {name: each["requests"] for name, each in found.items()} == {"patrol": local, "caller": len(log) - local}
    assert local >= 14 and len(log) - local >= 7
    for edge in found.values():
        assert edge["server"] == {"kind": "Deployment", "namespace": shop.namespace, "name": "edge"}
        assert (edge["protocol"], edge["direction"]) == ("http", "client to server")
    assert found["caller"]["told_by"]["server"]["requests"] == found["caller"]["requests"]


def test_what_is_outside_the_cluster_is_external_under_its_name_if_it_has_one(
    cluster: Cluster, shop: Pods, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second way out of the client's pod, to a network namespace that Kubernetes knows nothing of."""
    with ExitStack() as stack:
        pod = stack.enter_context(Namespace("pod", made_by=process_of(shop.pod("caller"))))
        outside = stack.enter_context(Namespace("outside"))
        stack.enter_context(veth_pair(pod, outside, devices=("out0", "veth0"), subnet=1))
        outside.ip(f"address add {SOMEBODY}/24 dev veth0")
        nginx = Nginx(stack.enter_context(Cgroup("outside", outside)), tmp_path)
        shop.ask("caller", f"http://{PARTNER}/?[1-19]", f"http://{SOMEBODY}/?[1-5]")
        cluster.settled()
        log = Counter(address for address, *_ in nginx.served())
    assert log == {PARTNER: 19, SOMEBODY: 5}
    found = {
        each["server"]["name"]: each
        for each in edges(cluster, shop.namespace, capsys)
        if each["client"]["name"] == "caller" and each["server"]["kind"] == "external"
    }
    assert {name: (each["requests"], each["protocol"], each["port"]) for name, each in found.items()} == {
        "partner": (19, "http", 80),
        "": (5, "http", 80),
    }
