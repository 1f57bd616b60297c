from collections.abc import Iterator
from itertools import product

import pytest
from tests.unit.metrics.fakes import EVER_AFTER, INTERVAL, Bench, FakeOwner, FakePeer, owner

from agent.metrics.accumulate import BATCH
from agent.metrics.pending import HELD_SECONDS, MAX_HELD
from bpfleet import catalogue
from bpfleet.metrics import Counter, Distribution, Flow, Gauge, NetworkNamespace, Sample, Summed

OPENED = "bpfleet_tcp_connections_opened_total"
FLOW_BYTES = "bpfleet_flow_bytes_total"


def opened(count: int = 1, cgroup_id: int | NetworkNamespace = 1) -> Sample:
    return Sample(catalogue.CONNECTIONS_OPENED, count, cgroup_id)


def flow(number: int, port: int = 443) -> Flow:
    return Flow(number.to_bytes(16, "big"), port, "tcp")


def flow_bytes(number: int, count: int = 1, cgroup_id: int = 1) -> Sample:
    return Sample(catalogue.FLOW_BYTES, count, cgroup_id, ("receive",), flow(number))


def of_workload(found: dict[tuple[tuple[str, str], ...], float], name: str) -> list[float]:
    return [value for labels, value in found.items() if ("workload", name) in labels]


def test_growth_adds_up_over_drains() -> None:
    bench = Bench()
    for _ in range(3):
        bench.totals.add([opened(23), opened(19, cgroup_id=2)])
        bench.totals.tick()
    found = bench.values(OPENED, live=True)
    assert of_workload(found, "web") == [69]
    assert of_workload(found, "db") == [57]


def test_counters_pass_four_gibibytes_and_stay_exact() -> None:
    bench = Bench()
    for _ in range(4):
        bench.totals.add([Sample(catalogue.NETWORK_IO, 2**53, 1, ("receive", "tcp", "ipv4"))])
    assert f"}} {2**55}\n" in bench.text(live=True)


def test_a_gauge_may_fall_and_is_never_withheld() -> None:
    bench = Bench()
    bench.totals.add([Sample(catalogue.CONNECTIONS_ACTIVE, 5, 1), Sample(catalogue.CONNECTIONS_ACTIVE, -3, 1)])
    assert list(bench.values("bpfleet_tcp_connections_active").values()) == [2]


def test_distributions_and_sums_add_up() -> None:
    bench = Bench()
    for _ in range(2):
        bench.totals.add(
            [
                Sample(catalogue.TCP_RTT, Distribution((1, 2, 0, 4), 2.5), 1),
                Sample(catalogue.FLOW_TCP_RTT, Summed(0.25, 3), 1, (), flow(1)),
            ]
        )
    buckets = bench.values("bpfleet_tcp_rtt_seconds_bucket", live=True)
    assert sorted(buckets.values()) == [2, 6, 6, 14]
    assert list(bench.values("bpfleet_tcp_rtt_seconds_sum", live=True).values()) == [5.0]
    assert list(bench.values("bpfleet_tcp_rtt_seconds_count", live=True).values()) == [14]
    assert list(bench.values("bpfleet_flow_tcp_rtt_seconds_sum", live=True).values()) == [0.5]
    assert list(bench.values("bpfleet_flow_tcp_rtt_seconds_count", live=True).values()) == [6]


def test_addresses_of_one_peer_are_one_series() -> None:
    bench = Bench()
    cache = FakePeer("service", "shop", "cache", "zone-b")
    bench.resolver.peers = {flow(number).address: cache for number in range(23)}
    bench.totals.add([flow_bytes(number, 100) for number in range(23)])
    (labels,), (value,) = bench.values(FLOW_BYTES, live=True).keys(), bench.values(FLOW_BYTES, live=True).values()
    assert value == 2300
    assert dict(labels) == {
        "namespace": "shop",
        "pod": "web-7d9f8b6c5d-x2x4z",
        "container": "main",
        "workload": "web",
        "workload_kind": "Deployment",
        "direction": "receive",
        "transport": "tcp",
        "port": "443",
        "peer_kind": "service",
        "peer_namespace": "shop",
        "peer_name": "cache",
        "zone": "zone-a",
        "peer_zone": "zone-b",
    }


def test_an_address_that_changes_its_pod_is_asked_again_at_the_next_drain() -> None:
    bench = Bench()
    for name in ("old", "new"):
        bench.resolver.peers = {flow(1).address: FakePeer("pod", "shop", name)}
        bench.totals.add([flow_bytes(1)])
        bench.totals.tick()
    assert {dict(labels)["peer_name"] for labels in bench.values(FLOW_BYTES)} == {"old", "new"}


@pytest.mark.parametrize("address", [bytes(16), bytes(10) + b"\xff\xff" + bytes(4)])
def test_peers_that_the_kernel_folded_are_named_so(address: bytes) -> None:
    bench = Bench()
    bench.totals.add([Sample(catalogue.FLOW_BYTES, 7, 1, ("receive",), Flow(address, 0, "udp"))])
    (labels,) = bench.values(FLOW_BYTES)
    assert {"peer_kind": "unknown", "peer_name": "_other", "port": "", "transport": "udp"}.items() <= dict(
        labels
    ).items()


def test_containers_with_the_same_labels_are_one_series() -> None:
    """A container that restarts has a new id and the same name."""
    bench = Bench()
    bench.resolver.owners = {1: owner("web", "first"), 2: owner("web", "second")}
    bench.totals.add([opened(2, cgroup_id=1), opened(3, cgroup_id=2)])
    assert list(bench.values(OPENED, live=True).values()) == [5]


# The budget


def test_what_exceeds_the_budget_of_a_metric_goes_to_its_other_series_and_sums_stay_exact() -> None:
    bench = Bench(series_per_metric=50)
    bench.resolver.peers = {flow(number).address: FakePeer("external", "", f"peer-{number}") for number in range(500)}
    bench.totals.add([flow_bytes(number, number) for number in range(500)])
    bench.totals.tick()
    found = bench.values(FLOW_BYTES, live=True)
    assert len(found) <= 50
    assert sum(found.values()) == sum(range(500))
    (folded,) = [labels for labels in map(dict, found) if labels["namespace"] == "_other"]
    assert folded["workload"] == "_other"
    assert folded["direction"] == "receive"
    assert {folded[name] for name in ("pod", "container", "workload_kind", "peer_name", "port", "transport")} == {""}


def test_the_budget_in_all_holds_over_all_metrics() -> None:
    bench = Bench(series=400)
    bench.resolver.owners = {number: owner(f"web-{number}") for number in range(200)}
    samples = [
        sample
        for number in range(200)
        for sample in (opened(1, number), Sample(catalogue.TCP_RTT, Distribution((1, 0, 0, 0), 0.1), number))
    ]
    bench.totals.add(samples)
    bench.totals.tick()
    lines = [line for line in bench.text(live=True).splitlines() if not line.startswith("#")]
    assert len(lines) <= 400
    assert bench.totals.standing().exposed == len(lines)
    assert bench.total(OPENED) == 200
    assert bench.total("bpfleet_tcp_rtt_seconds_count") == 200


def test_own_labels_that_cannot_be_listed_do_not_multiply_the_other_series() -> None:
    routes = Counter("test.requests", "Requests.", labels=("method", "route"), values=(("GET",), ()))
    bench = Bench(metrics=[routes], series_per_metric=10)
    bench.totals.add([Sample(routes, 1, 1, ("GET", f"/{number}")) for number in range(1000)])
    assert len(bench.values("bpfleet_test_requests_total")) <= 10
    assert bench.total("bpfleet_test_requests_total") == 1000


def test_known_zeros_leave_room_for_what_happens() -> None:
    bench = Bench(series=2000)
    bench.resolver.running = [owner(f"idle-{number}") for number in range(500)]
    bench.totals.tick()
    assert bench.totals.standing().exposed <= 1000 + 100  # half of the room, and bpfleet_container_info
    bench.totals.add([opened()])
    assert of_workload(bench.values(OPENED, live=True), "web") == [1]


def test_a_million_distinct_peers_keep_series_and_memory_bounded_and_the_sum_exact() -> None:
    class AllNamed(dict[bytes, FakePeer]):
        def get(self, address: bytes, default: object = None) -> FakePeer:
            return FakePeer("external", "", address.hex())

    bench = Bench(series_per_metric=5_000)
    bench.resolver.peers = AllNamed()

    def drain(start: int) -> Iterator[Sample]:
        return (flow_bytes(number) for number in range(start, start + 50_000))

    bench.totals.add(drain(0))
    bench.totals.tick()
    before = resident_bytes()
    for start in range(50_000, 1_000_000, 50_000):
        bench.totals.add(drain(start))
        bench.totals.tick()
    assert resident_bytes() - before < 20 << 20
    assert len(bench.values(FLOW_BYTES)) <= 5_000
    assert bench.total(FLOW_BYTES) == 1_000_000
    standing = bench.totals.standing()
    assert standing.seen == standing.delivered + standing.lost["budget"] == 1_000_000


def resident_bytes() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


# The first event


def test_a_new_series_shows_zero_for_a_scrape_interval_and_then_its_value() -> None:
    bench = Bench()
    assert bench.values(OPENED) == {}  # the agent's first scrape
    bench.clock.sleep(100)
    bench.totals.add([opened(23)])
    assert list(bench.values(OPENED).values()) == [0]
    bench.clock.sleep(1.09 * INTERVAL)
    assert list(bench.values(OPENED).values()) == [0]
    bench.clock.sleep(0.02 * INTERVAL)
    assert list(bench.values(OPENED).values()) == [23]


def test_before_the_first_scrape_everything_waits_for_it() -> None:
    bench = Bench()
    bench.totals.add([opened(23), Sample(catalogue.TCP_RTT, Distribution((1, 0, 0, 0), 0.1), 1)])
    bench.clock.sleep(200)
    assert list(bench.values(OPENED).values()) == [0]
    assert set(bench.values("bpfleet_tcp_rtt_seconds_bucket").values()) == {0}
    assert bench.totals.standing().withheld == 1 + 4 + 2
    bench.clock.sleep(1.11 * INTERVAL)
    assert list(bench.values(OPENED).values()) == [23]
    assert list(bench.values("bpfleet_tcp_rtt_seconds_sum").values()) == [0.1]
    assert bench.totals.standing().withheld == 0


def test_a_live_view_shows_values_at_once_and_is_not_taken_for_a_scrape() -> None:
    bench = Bench()
    bench.totals.add([opened(23)])
    assert list(bench.values(OPENED, live=True).values()) == [23]
    bench.clock.sleep(1.2 * INTERVAL)
    assert list(bench.values(OPENED).values()) == [0]


def test_a_series_that_was_there_with_zero_shows_its_first_event_at_once() -> None:
    bench = Bench()
    bench.resolver.running = [owner("web")]
    bench.totals.tick()
    bench.values(OPENED)
    bench.clock.sleep(1.11 * INTERVAL)
    bench.totals.add([opened()])
    assert list(bench.values(OPENED).values()) == [1]


def test_a_running_container_has_every_series_whose_labels_are_listed() -> None:
    bench = Bench()
    bench.resolver.running = [owner("web")]
    bench.totals.tick()
    found = {
        tuple(dict(labels)[name] for name in ("direction", "transport", "family"))
        for labels, value in bench.values("bpfleet_network_io_bytes_total").items()
        if value == 0
    }
    assert found == set(product(catalogue.DIRECTIONS, catalogue.TRANSPORTS, catalogue.FAMILIES))
    assert len(bench.values("bpfleet_tcp_connections_failed_total")) == len(catalogue.FAILURES)
    assert len(bench.values("bpfleet_tcp_rtt_seconds_bucket")) == 4
    assert bench.values(FLOW_BYTES) == {}


def test_a_container_of_which_a_label_is_still_to_come_has_no_zeros() -> None:
    bench = Bench()
    bench.resolver.running = [owner("web", settled=False)]
    bench.totals.tick()
    assert bench.values(OPENED) == {}


def test_metrics_of_a_collector_that_is_off_are_not_there_as_zeros() -> None:
    bench = Bench()
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED])
    bench.resolver.running = [owner("web")]
    bench.totals.tick()
    assert bench.values(OPENED) == {}
    assert bench.values("bpfleet_tcp_connections_accepted_total") != {}


# The last event


def test_the_series_of_an_ended_pod_stay_until_its_last_value_was_scraped() -> None:
    bench = Bench()
    bench.values(OPENED)
    bench.totals.add([opened()])
    bench.clock.sleep(100)
    bench.totals.add([opened()])
    bench.resolver.gone.add("web")
    bench.totals.tick()
    bench.clock.sleep(2.09 * INTERVAL)
    bench.totals.tick()
    assert list(bench.values(OPENED).values()) == [2]
    bench.clock.sleep(0.02 * INTERVAL)
    bench.totals.tick()
    assert bench.values(OPENED) == {}
    assert bench.totals.standing().exposed == 0


def test_a_pod_that_ends_right_after_its_first_event_is_shown_with_it() -> None:
    bench = Bench()
    bench.values(OPENED)
    bench.totals.add([opened(), flow_bytes(1)])
    bench.resolver.gone.add("web")
    shown = set()
    for _ in range(40):
        bench.totals.tick()
        shown |= set(bench.values(OPENED).values()) | set(bench.values(FLOW_BYTES).values())
        bench.clock.sleep(INTERVAL / 10)
    assert shown == {0, 1}
    bench.totals.tick()
    assert bench.text() == ""


def test_an_agent_that_nobody_scrapes_does_not_keep_every_pod_that_ended() -> None:
    bench = Bench()
    for number in range(20):
        bench.resolver.owners[1] = owner("web", key=f"{number}")
        bench.totals.add([opened()])
        bench.resolver.gone.add(f"{number}")
        bench.clock.sleep(60)
        bench.totals.tick()
    assert bench.totals.standing().exposed == 0


def test_a_container_that_restarts_keeps_its_series() -> None:
    bench = Bench()
    bench.resolver.owners[1] = owner("web", key="first")
    bench.totals.add([opened()])
    bench.resolver.gone.add("first")
    bench.resolver.owners[2] = owner("web", key="second")
    bench.totals.add([opened(cgroup_id=2)])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    assert list(bench.values(OPENED, live=True).values()) == [2]


def test_a_flow_without_traffic_goes_and_its_room_is_free_again() -> None:
    bench = Bench(series_per_metric=4, flow_idle_seconds=900)
    bench.values(OPENED)
    bench.resolver.peers = {flow(number).address: FakePeer("external", "", str(number)) for number in range(9)}
    bench.totals.add([flow_bytes(1)])
    bench.clock.sleep(890)
    bench.totals.tick()
    assert len(bench.values(FLOW_BYTES)) == 1
    bench.clock.sleep(20)
    bench.totals.tick()
    assert bench.values(FLOW_BYTES) == {}
    bench.totals.add([flow_bytes(2)])
    (labels,) = bench.values(FLOW_BYTES)
    assert dict(labels)["peer_name"] == "2"


def test_the_other_series_never_go() -> None:
    bench = Bench(series_per_metric=0)
    bench.totals.add([opened(), flow_bytes(1)])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    assert bench.total(OPENED) == bench.total(FLOW_BYTES) == 1


# Owners that are not known yet


def test_samples_wait_for_their_owner_and_are_merged() -> None:
    bench = Bench()
    for _ in range(3):
        bench.totals.add(
            [
                opened(5, cgroup_id=9),
                Sample(catalogue.TCP_RTT, Distribution((1, 0, 0, 1), 3.0), 9),
                Sample(catalogue.FLOW_TCP_RTT, Summed(0.5, 2), 9, (), flow(1)),
            ]
        )
        bench.totals.tick()
        bench.clock.sleep(3)
    assert bench.text() == ""
    assert bench.totals.standing().held == 3
    bench.resolver.owners[9] = owner("late")
    bench.totals.tick()
    assert of_workload(bench.values(OPENED, live=True), "late") == [15]
    assert bench.total("bpfleet_tcp_rtt_seconds_count") == 6
    assert bench.total("bpfleet_flow_tcp_rtt_seconds_sum") == 1.5
    assert bench.totals.standing().held == 0


def test_an_owner_that_stays_unknown_gets_the_best_name_there_is() -> None:
    bench = Bench()
    bench.totals.add([opened(5, cgroup_id=9)])
    bench.clock.sleep(HELD_SECONDS - 1)
    bench.totals.tick()
    assert bench.values(OPENED) == {}
    bench.clock.sleep(1)
    bench.totals.tick()
    assert of_workload(bench.values(OPENED, live=True), "_unknown") == [5]


def test_what_may_wait_is_bounded_and_nothing_is_lost() -> None:
    bench = Bench()
    count = MAX_HELD + 100
    bench.totals.add([opened(cgroup_id=100 + number) for number in range(count)])
    assert bench.totals.standing().held == MAX_HELD
    assert bench.total(OPENED) == 100
    bench.clock.sleep(HELD_SECONDS)
    bench.totals.tick()
    assert bench.total(OPENED) == count


# What does not fit


@pytest.mark.parametrize(
    "sample",
    [
        Sample(catalogue.CONNECTIONS_OPENED, -1, 1),
        Sample(catalogue.CONNECTIONS_OPENED, float("nan"), 1),
        Sample(catalogue.CONNECTIONS_OPENED, Summed(1.0, 1), 1),
        Sample(catalogue.CONNECTIONS_ACTIVE, float("nan"), 1),
        Sample(catalogue.CONNECTIONS_OPENED, 1, 1, ("receive",)),
        Sample(catalogue.CONNECTIONS_OPENED, 1, 1, (), flow(1)),
        Sample(catalogue.FLOW_BYTES, 1, 1, ("receive",)),
        Sample(catalogue.TCP_RTT, 1, 1),
        Sample(catalogue.TCP_RTT, Distribution((1, 2), 1.0), 1),
        Sample(catalogue.TCP_RTT, Distribution((1, 2, 3, -4), 1.0), 1),
        Sample(catalogue.FLOW_TCP_RTT, Summed(1.0, -1), 1, (), flow(1)),
        Sample(Gauge("test.level", "No collector's."), 1, 1),
    ],
)
def test_a_sample_that_does_not_fit_its_metric_is_refused_and_the_others_count(sample: Sample) -> None:
    bench = Bench()
    bench.totals.add([opened()])
    with pytest.raises(ValueError, match="bpfleet_"):
        bench.totals.add([opened(), sample, opened()])
    assert bench.total(OPENED) == 3
    standing = bench.totals.standing()
    assert standing.lost == {"budget": 0, "invalid": 1, "late": 0}
    assert standing.seen == standing.delivered + 1


def test_what_a_collector_told_before_it_failed_is_counted() -> None:
    bench = Bench()

    def failing() -> Iterator[Sample]:
        for _ in range(BATCH + 23):
            yield opened()
        raise RuntimeError("the map is gone")

    with pytest.raises(RuntimeError, match="the map is gone"):
        bench.totals.add(failing())
    assert bench.total(OPENED) == BATCH + 23


def test_owners_without_a_name_of_their_own_share_the_other_series() -> None:
    """The kernel's overflow row and the budget's have the same labels: they may not stand on the page twice."""
    bench = Bench(series_per_metric=0)
    bench.resolver.owners[0] = FakeOwner(("_other", "", "", "_other", ""), "_other")
    bench.totals.add([opened(2, cgroup_id=0), opened(3, cgroup_id=1)])
    assert list(bench.values(OPENED, live=True).values()) == [5]


def scraped(bench: Bench) -> Bench:
    """Every hold is over from the first sample on."""
    bench.values(OPENED)
    return bench


def test_a_collector_that_is_switched_off_keeps_its_series_until_its_last_value_was_scraped() -> None:
    bench = scraped(Bench())
    bench.totals.add([opened(23), Sample(catalogue.CONNECTIONS_CLOSED, 7, 1)])
    bench.clock.sleep(2 * INTERVAL)
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED])
    bench.clock.sleep(2 * INTERVAL)
    bench.totals.tick()
    assert of_workload(bench.values(OPENED), "web") == [23]
    bench.clock.sleep(INTERVAL)
    bench.totals.tick()
    assert OPENED not in bench.text()
    assert of_workload(bench.values("bpfleet_tcp_connections_closed_total"), "web") == [7]


def test_a_first_event_right_before_the_end_of_its_collector_is_still_shown() -> None:
    bench = scraped(Bench())
    bench.totals.add([opened(23)])
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED])
    seen = []
    for _ in range(6):
        bench.clock.sleep(INTERVAL)
        bench.totals.tick()
        seen.append(of_workload(bench.values(OPENED), "web"))
    assert seen == [[0], [23], [23], [], [], []]


def test_room_of_a_collector_that_is_off_is_free_again() -> None:
    bench = scraped(Bench(metrics=[], series=1000, series_per_metric=1000))
    before = bench.totals.standing()
    bench.totals.add([opened(23), flow_bytes(1), opened(7, cgroup_id=2)])
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED, catalogue.FLOW_BYTES])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    after = bench.totals.standing()
    assert (after.exposed, after.other, after.withheld) == (before.exposed, before.other, before.withheld)
    bench.totals.add([flow_bytes(number) for number in range(5000)])
    assert bench.totals.standing().exposed <= 1000


def test_a_collector_that_is_on_again_soon_goes_on_from_where_it_was() -> None:
    bench = scraped(Bench())
    bench.totals.add([opened(23)])
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED])
    bench.totals.switch_on([catalogue.CONNECTIONS_OPENED])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    bench.totals.add([opened(4)])
    assert of_workload(bench.values(OPENED), "web") == [27]


def test_samples_that_waited_for_a_name_go_with_their_collector() -> None:
    bench = scraped(Bench())
    bench.totals.add([opened(23, cgroup_id=9)])
    bench.totals.switch_off([catalogue.CONNECTIONS_OPENED])
    bench.clock.sleep(HELD_SECONDS + 3 * INTERVAL)
    bench.totals.tick()
    assert bench.total(OPENED) == 23
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    assert OPENED not in bench.text()


def test_levels_of_a_collector_that_is_off_leave_nothing_behind() -> None:
    bench = scraped(Bench(series_per_metric=1000, metrics=[catalogue.CONNECTIONS_ACTIVE]))
    bench.totals.add([Sample(catalogue.CONNECTIONS_ACTIVE, 5, 1), Sample(catalogue.CONNECTIONS_ACTIVE, -3, 2)])
    bench.totals.switch_off([catalogue.CONNECTIONS_ACTIVE])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    standing = bench.totals.standing()
    assert standing.lost["late"] == 1 and standing.seen == standing.delivered + sum(standing.lost.values())
    bench.totals.switch_on([catalogue.CONNECTIONS_ACTIVE])
    bench.totals.add([Sample(catalogue.CONNECTIONS_ACTIVE, 2, 1)])
    bench.resolver.gone.add("web")
    bench.totals.tick()
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    assert bench.values("bpfleet_tcp_connections_active", live=True) == {}


def test_a_collector_that_is_switched_on_has_the_zeros_of_who_runs_already() -> None:
    bench = scraped(Bench(metrics=[catalogue.CONNECTIONS_CLOSED]))
    bench.resolver.running = [owner("web")]
    bench.totals.tick()
    bench.totals.switch_on([catalogue.CONNECTIONS_OPENED])
    bench.totals.tick()
    assert of_workload(bench.values(OPENED), "web") == [0]
    bench.clock.sleep(2 * INTERVAL)
    bench.totals.add([opened(1)])
    assert of_workload(bench.values(OPENED), "web") == [1]


def adjusted(bench: Bench, **options: float) -> None:
    usual: dict[str, float] = {
        "series": 60_000,
        "series_per_metric": 20_000,
        "scrape_interval": INTERVAL,
        "flow_idle_seconds": 900.0,
        "keep_seconds": 300.0,
    }
    bench.totals.adjust(**(usual | options))  # type: ignore[arg-type]


def test_a_larger_budget_has_room_at_once() -> None:
    bench = Bench(series_per_metric=10)
    bench.resolver.peers = {flow(n).address: FakePeer("pod", "shop", f"p{n}") for n in range(200)}
    bench.totals.add([flow_bytes(number) for number in range(100)])
    assert len(bench.values(FLOW_BYTES, live=True)) == 8  # room for all `other` series is set aside
    adjusted(bench, series_per_metric=50)
    bench.totals.add([flow_bytes(number) for number in range(200)])
    assert len(bench.values(FLOW_BYTES, live=True)) == 47
    assert bench.total(FLOW_BYTES) == 300


def test_a_smaller_budget_takes_nothing_away_and_holds_for_what_is_new() -> None:
    bench = scraped(Bench())
    bench.resolver.peers = {flow(n).address: FakePeer("pod", "shop", f"p{n}") for n in range(200)}
    bench.totals.add([flow_bytes(number) for number in range(100)])
    before = bench.values(FLOW_BYTES, live=True)
    adjusted(bench, series_per_metric=20, series=1000)
    bench.totals.add([flow_bytes(number) for number in range(200)])
    after = bench.values(FLOW_BYTES, live=True)
    assert len(after) == 101 and all(after[labels] == 2 for labels in before)
    assert bench.total(FLOW_BYTES) == 300


def test_a_shorter_scrape_interval_counts_for_series_born_from_then_on() -> None:
    bench = scraped(Bench())
    bench.totals.add([opened(23)])
    bench.clock.sleep(0.1)
    adjusted(bench, scrape_interval=1.0)
    bench.totals.add([opened(7, cgroup_id=2)])
    bench.clock.sleep(1.2)
    found = bench.values(OPENED)
    assert (of_workload(found, "web"), of_workload(found, "db")) == ([0], [7])
    assert bench.totals.standing().withheld == 1
    bench.clock.sleep(2 * INTERVAL)
    assert of_workload(bench.values(OPENED), "web") == [23]


def test_flows_go_after_the_new_idle_time() -> None:
    bench = scraped(Bench())
    bench.totals.add([flow_bytes(1)])
    bench.clock.sleep(10 * INTERVAL)
    bench.totals.tick()
    assert len(bench.values(FLOW_BYTES)) == 1
    adjusted(bench, flow_idle_seconds=5 * INTERVAL)
    bench.totals.tick()
    assert bench.values(FLOW_BYTES) == {}


def test_who_lives_under_another_name_ends_under_the_old_one_and_the_sum_stays_exact() -> None:
    bench = scraped(Bench())
    old, new = owner("web"), owner("shop", key="web")
    bench.resolver.running = [old]
    bench.totals.add([opened(23)])
    bench.totals.tick()
    bench.resolver.owners[1], bench.resolver.running = new, [new]
    bench.resolver.renamed = {old}
    bench.totals.rename()
    bench.totals.add([opened(7)])
    bench.totals.tick()
    found = bench.values(OPENED, live=True)
    assert (of_workload(found, "web"), of_workload(found, "shop")) == ([23], [7])
    bench.clock.sleep(EVER_AFTER)
    bench.totals.tick()
    found = bench.values(OPENED, live=True)
    assert (of_workload(found, "web"), of_workload(found, "shop")) == ([], [7])


def test_a_network_namespace_is_not_the_cgroup_of_the_same_number() -> None:
    bench = Bench()
    bench.resolver.owners[NetworkNamespace(1)] = owner("net")
    bench.totals.add([opened(2, cgroup_id=1), opened(3, cgroup_id=NetworkNamespace(1))])
    found = {dict(labels)["workload"]: value for labels, value in bench.values(OPENED, live=True).items()}
    assert found == {"web": 2, "net": 3}


def test_what_happens_in_an_unknown_network_namespace_waits_for_its_owner() -> None:
    bench = Bench()
    bench.totals.add([opened(3, cgroup_id=NetworkNamespace(7))])
    bench.totals.tick()
    assert bench.total(OPENED) == 0 and bench.totals.standing().held == 1
    bench.resolver.owners[NetworkNamespace(7)] = owner("net")
    bench.totals.tick()
    assert bench.total(OPENED) == 3 and bench.totals.standing().held == 0
