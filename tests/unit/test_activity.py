import random
from pathlib import Path

import pytest
from tests.support import promtool
from tests.support.marks import needs

from agent.activity import Activity, Quantile, Row, Workload, quantile
from bpfleet.bounds import REQUEST_SECONDS as REQUEST

PAGES = Path(__file__).parent / "fixtures" / "pages"
"""Recorded from an agent (the rows of two workloads): 7 connections held before; in between 23 more of 1,000 bytes each
that the client closes and the server does not, and 5 that were refused."""

NGINX = Workload("_host", "nginx.service", "SystemdUnit")
BOUNDS = ("0.001", "0.01", "0.1", "+Inf")


def labels(workload: Workload, pod: str = "") -> str:
    namespace, name, kind = workload
    return f'namespace="{namespace}",pod="{pod}",container="",workload="{name}",workload_kind="{kind}"'


def page(
    received: int = 0,
    transmitted: int = 0,
    active: int = 0,
    opened: int = 0,
    accepted: int = 0,
    failed: int = 0,
    retransmitted: int = 0,
    rtt: tuple[int, ...] = (0, 0, 0, 0),
    workload: Workload = NGINX,
    pod: str = "",
) -> str:
    who = labels(workload, pod)
    io = "bpfleet_network_io_bytes_total"
    lines = [
        f'{io}{{{who},direction="receive",transport="tcp",family="ipv4"}} {received}',
        f'{io}{{{who},direction="transmit",transport="tcp",family="ipv4"}} {transmitted}',
        f"bpfleet_tcp_connections_active{{{who}}} {active}",
        f"bpfleet_tcp_connections_opened_total{{{who}}} {opened}",
        f"bpfleet_tcp_connections_accepted_total{{{who}}} {accepted}",
        f'bpfleet_tcp_connections_failed_total{{{who},reason="refused"}} {failed}',
        f"bpfleet_tcp_retransmissions_total{{{who}}} {retransmitted}",
        *(f'bpfleet_tcp_rtt_seconds_bucket{{{who},le="{le}"}} {n}' for le, n in zip(BOUNDS, rtt, strict=True)),
    ]
    return "\n".join(lines) + "\n"


def rows(*polls: tuple[float, str]) -> list[Row]:
    activity = Activity()
    for now, text in polls:
        activity.add(text, now)
    return activity.rows()


def test_rates_are_growth_over_time() -> None:
    first = page(received=1000, transmitted=500, opened=3, accepted=4, failed=1, retransmitted=7)
    second = page(received=3000, transmitted=600, opened=5, accepted=8, failed=2, retransmitted=11, active=9)
    assert rows((100.0, first), (102.0, second)) == [
        Row(NGINX, received=1000.0, transmitted=50.0, active=9, new=3.0, failed=0.5, retransmitted=2.0)
    ]


def test_the_first_page_alone_tells_only_what_is_active() -> None:
    assert rows((0.0, page(received=10**9, active=5))) == [Row(NGINX, active=5)]


def test_a_workload_that_does_nothing_has_no_row() -> None:
    assert rows((0.0, page(received=5)), (2.0, page(received=5))) == []


def test_a_series_that_appears_began_at_0() -> None:
    assert rows((0.0, ""), (2.0, page(received=10))) == [Row(NGINX, received=5.0)]


def test_a_counter_that_fell_belongs_to_a_new_agent() -> None:
    assert rows((0.0, page(received=10**9)), (2.0, page(received=10)))[0].received == 5.0


def test_pods_of_a_workload_are_one_row() -> None:
    web = Workload("shop", "web", "Deployment")
    polls = [
        page(received=n, active=1, workload=web, pod="web-1") + page(received=n, active=2, workload=web, pod="web-2")
        for n in (0, 8)
    ]
    assert rows((0.0, polls[0]), (2.0, polls[1])) == [Row(web, received=8.0, active=3)]


def test_rates_cover_the_window_and_no_more() -> None:
    activity = Activity(window_seconds=10.0)
    for second in range(0, 40, 2):
        activity.add(page(received=second if second < 20 else 20), float(second))
    assert activity.rows() == []
    activity.add(page(received=120), 40.0)
    assert activity.rows()[0].received == 10.0


def test_round_trip_times_are_of_the_growth_alone() -> None:
    old, new = (100, 100, 100, 100), (100, 110, 110, 110)
    row = rows((0.0, page(rtt=old)), (2.0, page(rtt=new)))[0]
    assert row.p50 is not None and row.p50.seconds == pytest.approx(0.0055)
    assert row.p99 is not None and row.p99.seconds == pytest.approx(0.00991)


def test_a_quantile_above_the_last_bound_says_so() -> None:
    assert quantile([(0.1, 0.0), (float("inf"), 10.0)], 0.5) == Quantile(0.1, beyond=True)


def test_no_observations_have_no_quantile() -> None:
    assert quantile([], 0.5) is None
    assert quantile([(0.1, 0.0), (float("inf"), 0.0)], 0.5) is None


@pytest.mark.parametrize(("share", "seconds"), [(0.25, 0.5), (0.5, 1.0), (0.75, 1.5), (1.0, 2.0)])
def test_observations_are_spread_evenly_within_a_bucket(share: float, seconds: float) -> None:
    assert quantile([(1.0, 50.0), (2.0, 100.0), (float("inf"), 100.0)], share) == Quantile(seconds)


@pytest.mark.parametrize(
    "line",
    [
        'http_server_request_duration_seconds_bucket{namespace="shop"} 5',
        'bpfleet_tcp_connections_active{namespace="shop"} +Inf',
        'bpfleet_tcp_connections_active{namespace="shop"} NaN',
        'http_server_request_duration_seconds_count{namespace="shop"} 1e308',
    ],
)
def test_a_line_that_no_agent_writes_counts_nothing(line: str) -> None:
    assert rows((0.0, ""), (1.0, line + "\n")) == []


def test_collectors_that_are_off_are_told_with_the_reason() -> None:
    activity = Activity()
    activity.add(
        'bpfleet_collector_up{collector="tcp"} 0\n'
        'bpfleet_collector_up{collector="traffic"} 1\n'
        'bpfleet_collector_info{collector="tcp",hook="",reason="needs PERFMON"} 1\n'
        'bpfleet_collector_info{collector="traffic",hook="cgroup_skb",reason=""} 1\n',
        0.0,
    )
    assert activity.off == {"tcp": "needs PERFMON"}


def test_recorded_pages_give_what_happened_between_them() -> None:
    activity = Activity()
    activity.add((PAGES / "before.txt").read_text(), 0.0)
    activity.add((PAGES / "after.txt").read_text(), 1.0)
    client, server = activity.rows()
    assert (client.workload.name, server.workload.name) == ("/client", "/server")
    assert (client.new, client.failed, client.active) == (23.0, 5.0, 7)
    assert (server.new, server.failed, server.active) == (23.0, 0.0, 30)
    assert client.transmitted - server.received == 5 * 60  # a SYN to a closed port belongs to no socket there
    assert client.received - server.transmitted == 5 * 40  # nor does the reset that answers it
    assert client.p50 is not None and client.p99 is not None and client.p50.seconds <= client.p99.seconds < 0.001
    assert activity.off == {}


SIDES = {"served": "http_server_request_duration_seconds", "called": "http_client_request_duration_seconds"}


def requests(side: str, buckets: tuple[int, ...], status: int = 200, workload: Workload = NGINX, pod: str = "") -> str:
    """buckets: observations at or below each bound."""
    error = status if status >= (500 if side == "served" else 400) else ""
    who = f'{labels(workload, pod)},http_request_method="GET",http_response_status_code="{status}",error_type="{error}"'
    bounds = ("0.001", "0.01", "0.1", "+Inf") if len(buckets) == len(BOUNDS) else (*map(str, REQUEST), "+Inf")
    rows = [f'{SIDES[side]}_bucket{{{who},le="{le}"}} {n}' for le, n in zip(bounds, buckets, strict=True)]
    return "\n".join([*rows, f"{SIDES[side]}_sum{{{who}}} 1.5", f"{SIDES[side]}_count{{{who}}} {buckets[-1]}"]) + "\n"


def test_requests_of_each_side_are_told_apart() -> None:
    before = requests("served", (7, 7, 7, 7)) + requests("called", (1, 1, 1, 1), 404)
    after = requests("served", (7, 27, 27, 27)) + requests("served", (0, 0, 5, 5), 500)
    (row,) = rows((0.0, before), (2.0, after + requests("called", (1, 1, 1, 5), 404)))
    assert row.served is not None and row.called is not None
    assert (row.served.per_second, row.served.errors) == (12.5, 0.2)
    assert (row.called.per_second, row.called.errors) == (2.0, 1.0)
    assert row.served.p50 == Quantile(pytest.approx(0.006625))
    assert row.called.p99 == Quantile(0.1, beyond=True)


def test_what_a_client_did_wrong_is_no_error_of_the_server() -> None:
    page = requests("served", (5, 5, 5, 5), 404) + requests("served", (20, 20, 20, 20), 200)
    (row,) = rows((0.0, ""), (1.0, page))
    assert row.served is not None and row.served.errors == 0.0


def test_a_workload_without_requests_in_the_window_has_none_rather_than_0() -> None:
    old = requests("served", (7, 7, 7, 7))
    (row,) = rows((0.0, old + page()), (2.0, old + page(received=10)))
    assert (row.served, row.called) == (None, None)


def test_buckets_of_an_agent_with_other_bounds_are_not_added_to_those_before() -> None:
    before = requests("served", (10, 20, 30, 40))
    after = requests("served", tuple(range(1, len(REQUEST) + 2)))
    (row,) = rows((0.0, ""), (2.0, before), (4.0, after))
    assert row.served is not None and row.served.per_second == (len(REQUEST) + 1) / 2.0


@needs("promtool")
def test_quantiles_and_shares_are_those_of_prometheus_to_the_last_bit(tmp_path: Path) -> None:
    """Of workloads with every kind of distribution: empty buckets, one bucket only, all beyond the last bound."""
    dice = random.Random(23)
    pages = ["", ""]
    for number in range(23):
        for pod in ("a", "b"):
            for side, status in (("served", 200), ("served", 503), ("called", 200), ("called", 404)):
                first = [dice.choice((0, 0, 0, 1, dice.randrange(1000))) for _ in range(len(REQUEST) + 1)]
                then = [dice.choice((0, 0, 0, 1, dice.randrange(1000))) for _ in first]
                workload = Workload("shop", f"web-{number}", "Deployment")
                before = tuple(sum(first[: at + 1]) for at in range(len(first)))
                after = tuple(old + sum(then[: at + 1]) for at, old in enumerate(before))
                pages[0] += requests(side, before, status, workload, pod)
                pages[1] += requests(side, after, status, workload, pod)
    found = rows((0.0, pages[0]), (2.0, pages[1]))
    assert len(found) == 23
    asked = promtool.answers(found)
    assert len(asked) == 8 and {len(samples) for samples in asked.values()} == {23}
    assert promtool.verdict(tmp_path, (pages[0], pages[1]), asked) == ""
