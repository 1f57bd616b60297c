import pytest
from tests.unit.told_flows import Peer, Who, container, told

from agent.topology_flows import Exchange, Flow, Node, read

WEB = Who("shop", "web", "Deployment", "web-1")
DB = Peer("pod", "shop", "db-0")
FLOW = Flow(Node("Deployment", "shop", "web"), "web-1", Node("pod", "shop", "db-0"), "tcp", 5432)


def test_each_figure_of_a_flow_is_read() -> None:
    figures = dict(sent=7, received=11, retransmitted=13, opened=17, failed=19, accepted=23)
    http = dict(asked=3, asked_errors=2, asked_seconds=0.5, served=5, served_errors=1, served_seconds=0.25)
    tale = read(told(WEB, DB, 5432, **figures, **http))
    both = http | {"asked": 5, "served": 6}  # an error is a request, too
    assert tale.ever == tale.now == {FLOW: Exchange(**figures, **both)}


def test_between_two_looks_is_what_grew() -> None:
    tale = read(told(WEB, DB, 5432, sent=100, opened=5), told(WEB, DB, 5432, sent=60, opened=5))
    assert tale.ever[FLOW] == Exchange(sent=100, opened=5)
    assert tale.now[FLOW] == Exchange(sent=40)


def test_a_counter_that_fell_has_begun_anew() -> None:
    assert read(told(WEB, DB, 5432, sent=7), told(WEB, DB, 5432, sent=60)).now[FLOW].sent == 7


def test_what_was_not_there_at_the_first_look_is_new() -> None:
    assert read(told(WEB, DB, 5432, sent=7), "").now[FLOW].sent == 7


def test_bytes_between_zones_are_known_where_both_are() -> None:
    page = told(WEB, DB, 5432, zones=("a", "b"), sent=5, received=7)
    page += told(WEB, DB, 5432, zones=("a", "a"), sent=100) + told(WEB, DB, 5432, zones=("a", ""), sent=1000)
    exchange = read(page).now[FLOW]
    assert (exchange.sent, exchange.across_zones) == (1105, 12)


def test_containers_of_a_pod_are_one_teller() -> None:
    page = told(WEB, DB, 5432, sent=5)
    assert read(page + page.replace('container=""', 'container="proxy"')).now == {FLOW: Exchange(sent=10)}


def test_a_page_tells_its_nodes_and_what_is_off() -> None:
    page = container(WEB, "node-1") + told(WEB, Peer("host", "", "box"), 53, "udp", sent=1)
    page += 'bpfleet_collector_up{collector="http"} 0\nbpfleet_collector_up{collector="tcp"} 1\n'
    tale = read(page)
    assert tale.nodes == {"node-1", "box"}
    assert tale.off == ["http"]


@pytest.mark.parametrize("transport", ["icmp", "other", ""])
def test_what_has_no_ports_is_no_flow(transport: str) -> None:
    assert read(told(WEB, DB, 0, transport, sent=5)).ever == {}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e308", "-1e308"])
def test_a_value_that_is_no_amount_counts_nothing(value: str) -> None:
    page = told(WEB, DB, 5432, sent=5)
    assert read(page.replace("} 5", f"}} {value}")).ever == {}
    assert read(page, page.replace("} 5", f"}} {value}")).now[FLOW].sent == 5


@pytest.mark.parametrize("port", ["", "x", "9" * 5000, "١"])
def test_a_port_that_is_none_is_0(port: str) -> None:
    page = told(WEB, DB, 5432, sent=5).replace('port="5432"', f'port="{port}"')
    assert [flow.port for flow in read(page).ever] == [0]


def test_a_page_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not a line of metrics"):
        read("bpfleet_flow_bytes_total{ 1\n")
