import pytest
from tests.unit.metrics.fakes import Bench, FakeOwner, FakePeer, families, openmetrics, owner
from tests.unit.metrics.test_accumulate import flow, flow_bytes, opened
from tests.unit.metrics.test_labels import HOSTILE

from agent.metrics.exposition import Form, header
from bpfleet import catalogue
from bpfleet.metrics import Counter, Distribution, Sample, Scope, Summed

IDENTITY = 'namespace="shop",pod="web-7d9f8b6c5d-x2x4z",container="main",workload="web",workload_kind="Deployment"'


def busy() -> Bench:
    """One sample or more of every metric of workloads."""
    bench = Bench()
    bench.resolver.running = [owner("web")]
    for metric in catalogue.ALL:
        if metric.scope is Scope.AGENT or metric is catalogue.CONTAINER_INFO:
            continue
        value = {
            "histogram": Distribution((1, 1, 1, 1, 1)[: 4 + (metric is catalogue.CONNECT_DURATION)], 0.5),
            "summary": Summed(0.5, 2),
        }.get(metric.kind, 23)
        if metric is catalogue.CONNECTION_LIFETIME:
            value = Distribution((1, 0, 0), 0.5)
        peer = flow(1) if metric.scope is Scope.FLOW else None
        labels = tuple(values[0] for values in metric.values) or ("any",) * len(metric.labels)
        bench.totals.add([Sample(metric, value, 1, labels, peer)])
    bench.totals.tick()
    return bench


def test_a_counter_in_text() -> None:
    bench = Bench()
    bench.totals.add([opened(23)])
    assert bench.text(live=True) == (
        "# HELP bpfleet_tcp_connections_opened_total TCP connections that the workload opened as client.\n"
        "# TYPE bpfleet_tcp_connections_opened_total counter\n"
        f"bpfleet_tcp_connections_opened_total{{{IDENTITY}}} 23\n"
    )


def test_a_histogram_is_cumulative_and_its_bounds_are_the_settings() -> None:
    bench = Bench()
    bench.totals.add([Sample(catalogue.TCP_RTT, Distribution((1, 2, 0, 4), 2.5), 1)])
    assert bench.text(live=True).splitlines()[2:] == [
        f'bpfleet_tcp_rtt_seconds_bucket{{{IDENTITY},le="0.001"}} 1',
        f'bpfleet_tcp_rtt_seconds_bucket{{{IDENTITY},le="0.01"}} 3',
        f'bpfleet_tcp_rtt_seconds_bucket{{{IDENTITY},le="0.1"}} 3',
        f'bpfleet_tcp_rtt_seconds_bucket{{{IDENTITY},le="+Inf"}} 7',
        f"bpfleet_tcp_rtt_seconds_sum{{{IDENTITY}}} 2.5",
        f"bpfleet_tcp_rtt_seconds_count{{{IDENTITY}}} 7",
    ]


def test_openmetrics_names_families_without_suffixes_and_tells_units() -> None:
    assert header(catalogue.NETWORK_IO, Form.OPENMETRICS).splitlines()[1:] == [
        "# TYPE bpfleet_network_io_bytes counter",
        "# UNIT bpfleet_network_io_bytes bytes",
    ]
    assert header(catalogue.CONTAINER_INFO, Form.OPENMETRICS).splitlines()[1:] == ["# TYPE bpfleet_container info"]
    assert header(catalogue.CONNECTIONS_ACTIVE, Form.OPENMETRICS).splitlines()[1:] == [
        "# TYPE bpfleet_tcp_connections_active gauge"
    ]


def test_help_is_escaped_as_each_form_wants_it() -> None:
    metric = Counter("test", 'One\\two\n"three"')
    assert header(metric, Form.TEXT).startswith('# HELP bpfleet_test_total One\\\\two\\n"three"\n')
    assert header(metric, Form.OPENMETRICS).startswith('# HELP bpfleet_test One\\\\two\\n\\"three\\"\n')


def test_both_forms_of_every_metric_say_the_same() -> None:
    bench = busy()
    text = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(bench.text(live=True))
        for sample in family.samples
    }
    other = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in openmetrics(bench.text(Form.OPENMETRICS, live=True) + "# EOF\n")
        for sample in family.samples
    }
    assert text == other
    exposed = {name for name, _ in text}
    for metric in catalogue.ALL:
        if metric.scope is not Scope.AGENT:
            assert any(name.startswith(metric.family) for name in exposed), metric.family


def test_every_series_carries_all_labels_of_its_metric_in_the_declared_order() -> None:
    text = busy().text(live=True)
    for metric in catalogue.ALL:
        lines = [line for line in text.splitlines() if line.split("{")[0] == metric.family]
        for line in lines:
            names = [pair.split("=")[0] for pair in line[line.index("{") + 1 : line.index("}")].split(",")]
            assert tuple(names) == metric.label_names


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_names_are_inert_in_both_forms(value: str) -> None:
    bench = Bench()
    bench.resolver.owners[1] = FakeOwner((value,) * 5, "hostile", image=value, node=value, zone=value)
    bench.resolver.peers = {flow(1).address: FakePeer("pod", value, value, value)}
    bench.resolver.running = [bench.resolver.owners[1]]
    bench.totals.add([flow_bytes(1, 23)])
    bench.totals.tick()
    for found in (
        families(bench.text(live=True)),
        openmetrics(bench.text(Form.OPENMETRICS, live=True) + "# EOF\n"),
    ):
        samples = {sample.name: sample for family in found for sample in family.samples}
        flows = samples["bpfleet_flow_bytes_total"]
        assert flows.value == 23
        hostile = ("namespace", "pod", "workload", "peer_namespace", "peer_name", "zone", "peer_zone")
        assert {flows.labels[name] for name in hostile} == {value}
        assert samples["bpfleet_container_info"].labels["image"] == value


def test_series_keep_their_order_when_others_go() -> None:
    bench = Bench()
    bench.resolver.owners = {number: owner(f"web-{number}") for number in range(9)}
    bench.totals.add([opened(1, number) for number in range(9)])
    before = bench.text(live=True).splitlines()
    bench.resolver.gone = {"web-3", "web-5"}
    bench.clock.sleep(1000)
    bench.totals.tick()
    assert bench.text(live=True).splitlines() == [
        line for line in before if 'workload="web-3"' not in line and 'workload="web-5"' not in line
    ]
