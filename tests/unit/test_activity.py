from pathlib import Path

import pytest

from agent.activity import Activity, Quantile, Row, Workload, quantile

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
