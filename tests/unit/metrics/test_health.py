import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from tests.unit.metrics.fakes import Bench, families, openmetrics, values
from tests.unit.metrics.test_accumulate import flow_bytes, opened

from agent.metrics.health import (
    SERIES_CHANNEL,
    Books,
    Build,
    CollectorState,
    Health,
    Reloads,
    Report,
    RequestLog,
    Runs,
    RunTime,
    Security,
    Table,
)
from bpfleet import catalogue
from bpfleet.metrics import Scope

REPORT = Report(
    collectors={
        "traffic": CollectorState(True, ("cgroup_skb/ingress", "cgroup_skb/egress")),
        "tcp": CollectorState(False, (), 'tcp.bpf.c:23: error: no member named "x"\nin struct sock'),
    },
    books={"packets": Books(23, 19, {"map_full": 4})},
    tables={"flows": Table(19, 32768, 4 << 20)},
    programs={"on_ingress": Runs(2048, 2, 1400)},
    failures={"tcp": 3, "identity": 0},
    events={("bpfleet.tcp.state_change", "passed"): 19, ("bpfleet.tcp.state_change", "rate_limit"): 4},
    sinks={("jsonl", "bpfleet.tcp.state_change", "delivered"): 17},
    waiting={"owner": 0, "jsonl": 2},
    writes={("jsonl", "done"): 3, ("jsonl", "postponed"): 0, ("jsonl", "lost"): 0},
)
GOOD = Reloads(True, 1767225600.5, 0)


def healthy(bench: Bench, reloads: Reloads = GOOD, token: bool = True) -> Health:
    build = Build("0.1.0", "6.18.0", "btf")
    backends = [("shop", "web", "tcp", "80", "web-1", "8080")].copy
    health = Health(
        bench.totals.standing,
        build,
        lambda: reloads,
        lambda: {"certificate": True, "token": token},
        backends,
        lambda: RequestLog(7, {"queries": 2, "paths": 0}),
        lambda: Security(16, False),
    )
    health.sinks = {"jsonl": "", "mail": "mail.py:3: no such host"}
    return health


def shown(report: Report = REPORT, bench: Bench | None = None) -> str:
    health = healthy(bench or Bench())
    health.observe(report)
    return generate_latest(health.registry()).decode()


def labelled(text: str, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(dict(found)[label] for label in labels): value for found, value in values(text, name).items()}


def test_a_collector_that_is_off_says_why() -> None:
    text = shown()
    assert labelled(text, "bpfleet_collector_up", "collector") == {("traffic",): 1, ("tcp",): 0}
    assert set(labelled(text, "bpfleet_collector_info", "collector", "hook", "reason")) == {
        ("traffic", "cgroup_skb/ingress", ""),
        ("traffic", "cgroup_skb/egress", ""),
        ("tcp", "", 'tcp.bpf.c:23: error: no member named "x"\nin struct sock'),
    }


def test_the_books_of_a_channel_are_shown() -> None:
    text = shown()
    assert labelled(text, "bpfleet_seen_total", "channel")["packets",] == 23
    assert labelled(text, "bpfleet_delivered_total", "channel")["packets",] == 19
    assert labelled(text, "bpfleet_lost_total", "channel", "reason")["packets", "map_full"] == 4


def test_the_series_budget_has_books_of_its_own_that_balance() -> None:
    bench = Bench(series_per_metric=4)
    bench.totals.add([opened(1, cgroup_id) for cgroup_id in (1, 2)])
    bench.totals.add([flow_bytes(number) for number in range(5)])
    bench.resolver.owners.clear()
    text = shown(bench=bench)
    seen = labelled(text, "bpfleet_seen_total", "channel")[SERIES_CHANNEL,]
    delivered = labelled(text, "bpfleet_delivered_total", "channel")[SERIES_CHANNEL,]
    lost = labelled(text, "bpfleet_lost_total", "channel", "reason")
    assert seen == 7 == delivered + sum(count for (channel, _), count in lost.items() if channel == SERIES_CHANNEL)
    assert set(labelled(text, "bpfleet_series", "state")) == {("exposed",), ("withheld",), ("other",)}


def test_what_became_of_events_is_shown_by_their_name() -> None:
    text = shown()
    assert labelled(text, "bpfleet_events_total", "event", "outcome") == {
        ("bpfleet.tcp.state_change", "passed"): 19,
        ("bpfleet.tcp.state_change", "rate_limit"): 4,
    }
    delivered = labelled(text, "bpfleet_sink_events_total", "sink", "event", "outcome")
    assert delivered == {("jsonl", "bpfleet.tcp.state_change", "delivered"): 17}
    assert labelled(text, "bpfleet_events_waiting", "stage") == {("owner",): 0, ("jsonl",): 2}
    assert labelled(text, "bpfleet_sink_writes_total", "outcome") == {("done",): 3, ("postponed",): 0, ("lost",): 0}


def test_what_namespaces_have_opened_and_what_they_asked_for_in_vain_is_shown() -> None:
    text = shown()
    assert labelled(text, "bpfleet_request_log_annotations_refused") == {(): 7}
    assert labelled(text, "bpfleet_request_log_opened", "what") == {("queries",): 2, ("paths",): 0}


def test_maps_and_programs_are_shown() -> None:
    text = shown()
    assert labelled(text, "bpfleet_map_entries", "map") == {("flows",): 19}
    assert labelled(text, "bpfleet_map_capacity", "map") == {("flows",): 32768}
    assert labelled(text, "bpfleet_map_bytes", "map") == {("flows",): 4 << 20}
    assert labelled(text, "bpfleet_program_runs_total", "program") == {("on_ingress",): 2048}
    assert labelled(text, "bpfleet_program_run_seconds_total", "program") == {("on_ingress",): 700e-9 * 2048}


def test_every_metric_of_the_agent_is_there_under_its_declared_name_and_labels() -> None:
    samples = {sample.name: sample.labels for family in families(shown()) for sample in family.samples}
    for metric in catalogue.ALL:
        if metric.scope is Scope.AGENT:
            assert set(samples[metric.family]) == set(metric.labels), metric.family


def test_a_sink_is_there_or_off_with_its_reason() -> None:
    text = shown()
    assert labelled(text, "bpfleet_sink_up", "sink") == {("jsonl",): 1, ("mail",): 0}
    reasons = {("jsonl", ""): 1, ("mail", "mail.py:3: no such host"): 1}
    assert labelled(text, "bpfleet_sink_info", "sink", "reason") == reasons


def test_a_strange_byte_in_a_reason_does_not_cost_the_page() -> None:
    text = shown(Report(collectors={"tcp": CollectorState(False, (), "caf\udce9")}))
    ((_, reason),) = labelled(text, "bpfleet_collector_info", "collector", "reason")
    assert reason.startswith("caf\\udce9")


def test_openmetrics_has_the_same_health() -> None:
    health = healthy(Bench())
    health.observe(REPORT)
    names = {family.name for family in openmetrics(generate_openmetrics(health.registry()).decode())}
    assert {"bpfleet_collector", "bpfleet_build", "bpfleet_lost", "bpfleet_map_bytes"} <= names


def test_run_time_is_scaled_to_all_runs_and_never_falls() -> None:
    time = RunTime()
    shown = [time.seconds]
    for runs in (Runs(1024, 1, 1000), Runs(1030, 1, 1000), Runs(2048, 2, 1010), Runs(2048, 2, 1010)):
        time.observe(runs)
        shown.append(time.seconds)
    assert shown == sorted(shown)
    assert time.seconds == pytest.approx((1024 * 1000 + 1024 * 10) / 1e9)


def test_the_settings_say_whether_the_last_reading_was_good_and_what_waits() -> None:
    bad = healthy(Bench(), Reloads(False, 1767225600.5, 2), token=False)
    text = generate_latest(bad.registry()).decode()
    assert set(values(text, "bpfleet_config_last_reload_successful").values()) == {0}
    assert set(values(text, "bpfleet_config_last_reload_success_timestamp_seconds").values()) == {1767225600.5}
    assert set(values(text, "bpfleet_config_restart_required").values()) == {2}
    name = "bpfleet_server_credentials_last_reload_successful"
    assert labelled(text, name, "credential") == {("certificate",): 1, ("token",): 0}
