"""Is each call one edge, whoever told of it?"""

from tests.unit.metrics.fakes import Bench, FakePeer, owner
from tests.unit.told_flows import Peer, Who, backend, container, told

from agent.topology_edges import Edge, edges
from agent.topology_flows import Node, read
from bpfleet.catalogue import FLOW_HTTP_REQUESTS, FLOW_TCP_CONNECTS
from bpfleet.metrics import Flow, Sample

WEB = Who("shop", "web", "Deployment", "web-1")
DB = Who("shop", "db", "StatefulSet", "db-0")
WEB_NODE, DB_NODE = Node("Deployment", "shop", "web"), Node("StatefulSet", "shop", "db")
WEB_POD, DB_POD = Peer("pod", "shop", "web-1"), Peer("pod", "shop", "db-0")
OUTSIDE = Peer("external", "", "payments-api")


def found(*pages: str) -> list[Edge]:
    return edges([read(page) for page in pages])


def ends(found_edges: list[Edge]) -> list[tuple[Node, Node, int]]:
    return [(edge.key.client, edge.key.server, edge.key.port) for edge in found_edges]


def test_what_both_sides_told_is_one_edge_with_the_clients_figures() -> None:
    client = told(WEB, DB_POD, 5432, sent=100, received=900, opened=7, asked=23, asked_errors=2, retransmitted=3)
    server = told(DB, WEB_POD, 5432, sent=880, received=90, accepted=7, served=24, retransmitted=5)
    (edge,) = found(client, server)
    assert ends([edge]) == [(WEB_NODE, DB_NODE, 5432)]
    assert set(edge.told) == {"client", "server"}
    tally = edge.tally
    assert (tally.requests, tally.errors, tally.sent, tally.received, tally.connections) == (25, 2, 100, 900, 7)
    assert tally.retransmitted == 8  # each end has sent again what the other end did not
    assert (edge.told["server"].sent, edge.told["server"].received) == (90, 880)
    assert edge.protocol == "http"


def test_it_is_the_same_edge_when_one_agent_has_both_ends() -> None:
    client, server = told(WEB, DB_POD, 5432, sent=100, opened=7), told(DB, WEB_POD, 5432, received=90, accepted=7)
    assert ends(found(client + server)) == ends(found(client, server)) == [(WEB_NODE, DB_NODE, 5432)]


def test_pods_of_one_workload_are_one_end() -> None:
    second = WEB._replace(pod="web-2")
    page = told(WEB, DB_POD, 5432, sent=100, opened=7) + told(second, DB_POD, 5432, sent=50, opened=1)
    page += told(DB, WEB_POD, 5432, accepted=7) + told(DB, Peer("pod", "shop", "web-2"), 5432, accepted=1)
    (edge,) = found(page)
    assert (edge.told["client"].connections, edge.told["server"].connections, edge.tally.sent) == (8, 8, 150)


def test_one_side_is_enough() -> None:
    (edge,) = found(told(WEB, DB_POD, 5432, sent=100, opened=7))
    assert ends([edge]) == [(WEB_NODE, Node("pod", "shop", "db-0"), 5432)]
    assert set(edge.told) == {"client"}
    (edge,) = found(told(DB, WEB_POD, 5432, sent=900, received=100, accepted=7))
    assert ends([edge]) == [(Node("pod", "shop", "web-1"), DB_NODE, 5432)]
    assert (edge.tally.sent, edge.tally.received, set(edge.told)) == (100, 900, {"server"})


def test_the_servers_requests_stand_where_the_client_counts_none() -> None:
    client = told(WEB, DB_POD, 80, sent=100, opened=7)
    (edge,) = found(client, told(DB, WEB_POD, 80, accepted=7, served=5, served_errors=2, served_seconds=0.5))
    assert (edge.tally.requests, edge.tally.errors, edge.tally.request_seconds) == (7, 2, 0.5)


def test_services_and_what_is_outside_are_ends() -> None:
    page = told(WEB, Peer("service", "shop", "cart"), 80, opened=1) + told(WEB, OUTSIDE, 443, opened=1)
    assert ends(found(page)) == [
        (WEB_NODE, Node("external", "", "payments-api"), 443),
        (WEB_NODE, Node("service", "shop", "cart"), 80),
    ]


CART, CART_NODE = Peer("service", "shop", "cart"), Node("service", "shop", "cart")


def test_what_a_services_backends_tell_is_the_services_edge() -> None:
    client = told(WEB, CART, 80, opened=7, asked=20, sent=100)
    second = DB._replace(pod="db-1", workload="db-canary")
    first_node = told(DB, WEB_POD, 8080, accepted=4, served=12) + backend("shop", "cart", 80, "db-0", 8080)
    second_node = told(second, WEB_POD, 8080, accepted=3, served=8) + backend("shop", "cart", 80, "db-1", 8080)
    (edge,) = found(client, first_node, second_node)
    assert ends([edge]) == [(WEB_NODE, CART_NODE, 80)]
    assert edge.backends == {DB_NODE, Node("StatefulSet", "shop", "db-canary")}
    assert (edge.told["client"].requests, edge.told["server"].requests, edge.told["server"].connections) == (20, 20, 7)


def test_who_calls_a_backend_itself_has_an_edge_of_its_own() -> None:
    other = Who("shop", "job", "Job", "job-1")
    page = (
        told(WEB, CART, 80, opened=7) + backend("shop", "cart", 80, "db-0", 8080) + told(other, DB_POD, 8080, opened=1)
    )
    page += told(DB, WEB_POD, 8080, accepted=7) + told(DB, Peer("pod", "shop", "job-1"), 8080, accepted=1)
    assert ends(found(page)) == [
        (WEB_NODE, CART_NODE, 80),
        (Node("Job", "shop", "job"), DB_NODE, 8080),
    ]


def test_a_backend_of_two_services_that_a_client_calls_cannot_be_divided() -> None:
    page = told(WEB, CART, 80, opened=7) + told(WEB, Peer("service", "shop", "cart2"), 80, opened=5)
    page += backend("shop", "cart", 80, "db-0", 8080) + backend("shop", "cart2", 80, "db-0", 8080)
    first, second = found(page + told(DB, WEB_POD, 8080, accepted=12))
    assert [edge.tally.connections for edge in (first, second)] == [7, 5]
    assert [edge.told["server"].connections for edge in (first, second)] == [0, 0]
    assert first.backends == second.backends == {DB_NODE}


def test_a_backend_at_another_port_is_another_edge() -> None:
    page = told(WEB, CART, 80, opened=7) + backend("shop", "cart", 80, "db-0", 8080)
    assert len(found(page + told(DB, WEB_POD, 9090, accepted=7))) == 2


def test_on_one_machine_the_port_tells_who_is_called() -> None:
    a, b, proxy = (Who("_host", f"{name}.service", "SystemdUnit") for name in ("a", "b", "proxy"))
    host = Peer("host", "", "box")
    page = told(a, host, 8080, opened=3, sent=30) + told(proxy, host, 8080, accepted=3, received=30)
    page += told(proxy, host, 9000, opened=5, sent=50) + told(b, host, 9000, accepted=5, received=50)
    first, second = found(page)
    assert [edge.key.client.name for edge in (first, second)] == ["a.service", "proxy.service"]
    assert [edge.key.server.name for edge in (first, second)] == ["proxy.service", "b.service"]
    assert [edge.told["server"].connections for edge in (first, second)] == [3, 5]


def test_callers_that_a_machines_server_cannot_tell_apart_each_have_their_own_figures() -> None:
    a, b, server = (Who("_host", name, "Cgroup") for name in ("a", "b", "server"))
    host = Peer("host", "", "box")
    page = told(a, host, 80, opened=3, sent=30) + told(b, host, 80, opened=4, sent=40)
    first, second = found(page + told(server, host, 80, accepted=7, received=70))
    assert [edge.tally.connections for edge in (first, second)] == [3, 4]
    assert [set(edge.told) for edge in (first, second)] == [{"client", "server"}] * 2
    assert sum(edge.told["server"].connections for edge in (first, second)) == 0


def test_a_host_network_pod_of_another_node_is_found_by_its_port() -> None:
    exporter = Who("monitoring", "exporter", "DaemonSet", "exporter-7")
    client = told(WEB, Peer("node", "", "node-2"), 9100, opened=2)
    server = container(exporter, "node-2") + told(exporter, WEB_POD, 9100, accepted=2)
    (edge,) = found(client, server)
    assert ends([edge]) == [(WEB_NODE, Node("DaemonSet", "monitoring", "exporter"), 9100)]
    assert set(edge.told) == {"client", "server"}


def test_two_servers_at_one_port_of_a_machine_stay_the_machine() -> None:
    a, b, client = (Who("_host", name, "Cgroup") for name in ("a", "b", "client"))
    host = Peer("host", "", "box")
    page = told(client, host, 80, opened=3) + told(a, OUTSIDE, 80, accepted=1) + told(b, OUTSIDE, 80, accepted=1)
    called = {server for caller, server, _ in ends(found(page)) if caller.name == "client"}
    assert called == {Node("host", "", "box")}


def test_a_connection_from_before_the_agent_finds_its_client_by_what_else_is_known() -> None:
    """db is a server to others at that port; web only has bytes with it, and so has db with web."""
    other = Peer("pod", "shop", "admin-1")
    page = told(DB, other, 5432, accepted=1) + told(DB, WEB_POD, 5432, received=100) + told(WEB, DB_POD, 5432, sent=100)
    assert (WEB_NODE, DB_NODE, 5432) in ends(found(page))
    assert len(found(page)) == 2


def test_of_datagrams_the_service_tells_who_is_the_server() -> None:
    dns = Who("kube-system", "coredns", "Deployment", "coredns-1")
    page = told(WEB, Peer("service", "kube-system", "kube-dns"), 53, "udp", sent=60, received=200)
    page += told(dns, WEB_POD, 53, "udp", sent=200, received=60)
    page += backend("kube-system", "kube-dns", 53, "coredns-1", 53).replace('"tcp"', '"udp"')
    (edge,) = found(page)
    assert edge.key.directed and ends([edge]) == [(WEB_NODE, Node("service", "kube-system", "kube-dns"), 53)]
    assert edge.backends == {Node("Deployment", "kube-system", "coredns")}
    assert (edge.told["server"].sent, edge.told["server"].received) == (60, 200)


def test_where_nobody_knows_the_client_the_edge_has_no_direction_and_is_there_once() -> None:
    page = told(WEB, DB_POD, 5432, sent=100, received=7) + told(DB, WEB_POD, 5432, sent=7, received=100)
    (edge,) = found(page)
    assert not edge.key.directed
    assert edge.tally.sent + edge.tally.received == 107


def test_two_that_call_each_other_at_one_port_are_two_edges() -> None:
    a, b = Who("shop", "a", "Deployment", "a-1"), Who("shop", "b", "Deployment", "b-1")
    page = told(a, Peer("pod", "shop", "b-1"), 7946, opened=3, accepted=5, sent=30, received=50)
    page += told(b, Peer("pod", "shop", "a-1"), 7946, opened=5, accepted=3, sent=50, received=30)
    first, second = found(page)
    assert [edge.tally.connections for edge in (first, second)] == [3, 5]


def test_who_calls_itself_is_one_edge() -> None:
    (edge,) = found(told(WEB, WEB_POD, 80, opened=3, accepted=3, asked=5, served=5))
    assert ends([edge]) == [(WEB_NODE, WEB_NODE, 80)]
    assert (edge.tally.requests, edge.tally.connections) == (5, 3)


def test_an_edge_over_which_nothing_went_between_the_looks_is_none() -> None:
    before = told(WEB, DB_POD, 5432, sent=100, opened=7) + told(WEB, OUTSIDE, 443, sent=10, opened=1)
    after = told(WEB, DB_POD, 5432, sent=100, opened=7) + told(WEB, OUTSIDE, 443, sent=11, opened=1)
    (edge,) = edges([read(after, before)])
    assert edge.key.server.name == "payments-api"
    assert (edge.tally.sent, edge.tally.connections, edge.key.directed) == (1, 0, True)


def test_an_edge_that_is_idle_for_long_is_not_on_the_page_any_more() -> None:
    """One look tells all since the agent's start, but for what its page has let go (`flow_idle_seconds`)."""
    bench = Bench(flow_idle_seconds=900)
    idle, busy = Flow(bytes(15) + b"\x07", 443, "tcp"), Flow(bytes(15) + b"\x09", 443, "tcp")
    bench.resolver.owners = {23: owner("web")}
    bench.resolver.peers = {idle.address: FakePeer(name="idle"), busy.address: FakePeer(name="busy")}

    def call(flow: Flow, times: int) -> None:
        bench.totals.add([Sample(FLOW_TCP_CONNECTS, times, 23, ("success",), flow)])
        bench.totals.add([Sample(FLOW_HTTP_REQUESTS, times, 23, ("client", "success"), flow)])
        bench.totals.tick()

    def shown() -> dict[str, float]:
        return {edge.key.server.name: edge.tally.requests for edge in found(bench.text(live=True))}

    call(idle, 7)
    call(busy, 11)
    assert shown() == {"idle": 7, "busy": 11}
    bench.clock.sleep(890)
    call(busy, 2)
    assert shown() == {"idle": 7, "busy": 13}
    bench.clock.sleep(20)
    bench.totals.tick()
    assert shown() == {"busy": 13}
