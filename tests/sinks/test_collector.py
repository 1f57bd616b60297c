"""What the sinks send is what an OpenTelemetry Collector has received: each event once, field by field."""

from collections.abc import Sequence

import pytest
from tests.support import sending
from tests.support.certificates import Pair
from tests.support.receivers import Collector, Row
from tests.support.sending import EVENT, event
from tests.unit.hostile import STRINGS

from bpfleet.events import Record

WAYS = [("grpc", "grpc"), ("http/protobuf", "http"), ("grpc", "grpc_tls"), ("http/protobuf", "http_tls")]


def options(collector: Collector, way: tuple[str, str], server: Pair, client: Pair) -> dict[str, str]:
    protocol, port = way
    if not port.endswith("_tls"):
        return {"protocol": protocol, "endpoint": f"http://127.0.0.1:{collector.ports[port]}"}
    files = {"ca_file": server.chain, "certificate_file": client.chain, "key_file": client.key}
    endpoint = f"https://localhost:{collector.ports[port]}"
    return {"protocol": protocol, "endpoint": endpoint, **{name: str(file) for name, file in files.items()}}


def hostile(workload: str) -> list[Record]:
    """Each string as a value, and the types, some of whose values JSON would not keep."""
    numbers = (0, -1, 2**63 - 1, -(2**63), 0.1, 1e300, True, False)
    events = [event(number, workload, text=text) for number, text in enumerate(STRINGS)]
    return events + [event(len(STRINGS) + place, workload, value=each) for place, each in enumerate(numbers)]


def expected(events: Sequence[Record]) -> list[Row]:
    return [
        Row(
            each.name,
            each.time_ns,
            "INFO",
            {
                **each.resource,
                "service.name": each.resource["bpfleet.workload.name"],
                "service.namespace": "shop",
                "k8s.deployment.name": each.resource["bpfleet.workload.name"],
            },
            dict(each.attributes),
        )
        for each in events
    ]


def in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row.time_ns)


@pytest.mark.parametrize("way", WAYS, ids=[port for _, port in WAYS])
def test_every_event_is_there_once_with_every_field_as_it_was(
    collector: Collector, way: tuple[str, str], server: Pair, client: Pair
) -> None:
    workload = f"web-{way[1]}"
    events = hostile(workload)
    with sending.sending("otlp", batch_seconds=0.05, batch_events=50, **options(collector, way, server, client)) as to:
        to.put(*events)
        assert to.settled() == {"delivered": len(events)}
    assert in_order(collector.rows(workload, len(events))) == expected(events)


@pytest.mark.parametrize("way", WAYS[:2], ids=["grpc", "http"])
@pytest.mark.parametrize("count", [10_007])
def test_many_events_are_as_many_rows(
    collector: Collector, way: tuple[str, str], count: int, server: Pair, client: Pair
) -> None:
    workload = f"many-{way[1]}"
    with sending.sending("otlp", **options(collector, way, server, client)) as to:
        for start in range(0, count, 500):
            to.put(*(event(number, workload) for number in range(start, min(count, start + 500))))
        assert to.settled() == {"delivered": count}
    rows = collector.rows(workload, count)
    assert sorted(row.attributes["n"] for row in rows) == list(range(count))


@pytest.mark.parametrize("way", WAYS[2:], ids=["grpc", "http"])
def test_a_server_that_cannot_prove_who_it_is_gets_nothing(
    collector: Collector, way: tuple[str, str], server: Pair, client: Pair
) -> None:
    wrong = options(collector, way, server, client) | {"ca_file": str(client.chain)}
    with sending.sending("otlp", **wrong) as to:
        to.put(event(1, "nobody"))
        to.postponed()
        assert to.standing().waiting == 1
    assert collector.rows("nobody", 0) == []


@pytest.mark.parametrize("way", WAYS[:2], ids=["grpc", "http"])
def test_a_collector_that_was_away_gets_everything_once(
    collector: Collector, way: tuple[str, str], server: Pair, client: Pair
) -> None:
    workload = f"healed-{way[1]}"
    with sending.sending("otlp", batch_seconds=0.05, **options(collector, way, server, client)) as to:
        to.put(*(event(number, workload) for number in range(100)))
        assert to.settled() == {"delivered": 100}
        collector.stop()
        to.put(*(event(number, workload) for number in range(100, 1_307)))
        to.postponed()
        assert to.standing().waiting == 1_207
        collector.start()
        assert to.settled() == {"delivered": 1_307}
    rows = collector.rows(workload, 1_307)
    assert sorted(row.attributes["n"] for row in rows) == list(range(1_307))
    assert {row.name for row in rows} == {EVENT}
