import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.sending import event

from agent.sinks.otlp import REMEMBERED, Otlp, told
from bpfleet.api import Written
from bpfleet.events import Attribute, Record

WHAT_IS_LOADED = """
import sys
from dataclasses import asdict
from agent.settings import Sinks
from agent.sinks import BUILT_IN
for name, options in asdict(Sinks()).items():
    BUILT_IN[name](options)
print([name for name in ("grpc", "google.protobuf", "opentelemetry", "ssl", "http.client") if name in sys.modules])
"""


class Kept:
    def __init__(self) -> None:
        self.requests: list[Any] = []

    def send(self, request: Any, events: int) -> Written:
        self.requests.append(request)
        return Written(events)

    def close(self) -> None: ...


def sent(records: Sequence[Record]) -> Any:
    transport = Kept()
    sink = Otlp(transport, wall=lambda: 42)
    assert sink.write([sink.encode(each) for each in records]) == Written(len(records))
    return transport.requests[0]


def one(attributes: Mapping[str, Attribute]) -> Any:
    return sent([Record("test.happened", 23, {}, attributes)]).resource_logs[0].scope_logs[0].log_records[0]


def test_records_are_grouped_by_their_resource_in_their_order() -> None:
    request = sent([event(number, workload) for number in range(6) for workload in ("web", "db")])
    pods = {
        next(each.value.string_value for each in group.resource.attributes if each.key == "k8s.pod.name"): [
            each.attributes[0].value.int_value for each in group.scope_logs[0].log_records
        ]
        for group in request.resource_logs
    }
    assert pods == {f"{workload}-{pod}": [pod, pod + 3] for workload in ("web", "db") for pod in range(3)}
    assert {group.scope_logs[0].scope.name for group in request.resource_logs} == {"bpfleet"}


def test_a_record_has_both_times_its_name_and_a_severity() -> None:
    log = one({"error.type": "reset"})
    assert (log.time_unix_nano, log.observed_time_unix_nano, log.event_name) == (23, 42, "test.happened")
    assert (log.severity_number, log.severity_text, log.body.string_value) == (13, "WARN", "test.happened")
    assert one({}).severity_number == 9


def test_a_number_that_does_not_fit_is_told_as_text() -> None:
    values = [each.value for each in one({"a": 2**63, "b": 2**63 - 1, "c": float("nan"), "d": True}).attributes]
    assert [each.WhichOneof("value") for each in values] == [
        "string_value", "int_value", "double_value", "bool_value"
    ]  # fmt: skip
    assert values[0].string_value == "9223372036854775808"


def test_a_workload_has_the_names_that_backends_group_by() -> None:
    resource = {"bpfleet.workload.name": "web", "bpfleet.workload.kind": "StatefulSet", "k8s.namespace.name": "shop"}
    assert told(resource) == {
        **resource, "service.name": "web", "service.namespace": "shop", "k8s.statefulset.name": "web"
    }  # fmt: skip
    assert told({"service.name": "own"})["service.name"] == "own"


def test_resources_are_remembered_up_to_a_bound() -> None:
    sink = Otlp(Kept())
    for number in range(3 * REMEMBERED):
        sink.encode(Record("x", 0, {"k8s.pod.name": str(number)}, {}))
    assert len(sink._resources) == REMEMBERED


def test_without_the_sink_nothing_of_it_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
