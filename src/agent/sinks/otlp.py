"""Events as OpenTelemetry logs: OTLP over gRPC, or over HTTP with protobuf bodies.

https://opentelemetry.io/docs/specs/otlp/ https://opentelemetry.io/docs/specs/otel/logs/data-model/

The messages are OpenTelemetry's own generated classes. They, and gRPC, are imported when a sink is made.

A request is sent once. Where the server says that it is busy, or could not be reached, nothing of it was taken and it
is sent again; where the answer does not come, nobody knows, and it is lost as `unanswered`: no event arrives twice.
"""

import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from agent.sinks import options, severities, trust
from bpfleet import __version__, names
from bpfleet.api import Batch, Retry, Sink, Written
from bpfleet.events import Attribute, Record

BATCH_BYTES = 512 << 10
"""Before compression. A receiver takes 4 MiB of gRPC unless told otherwise; this one is held some times while it is
made and sent."""

REMEMBERED = 1024
"""Resources that are kept as bytes: more than the containers of a node."""

SCOPE = "bpfleet"
INT64 = range(-(1 << 63), 1 << 63)
LENGTH = struct.Struct("<I")

KINDS = {kind: f"k8s.{kind.lower()}.name" for kind in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")}
"""OpenTelemetry's attribute for a workload of a kind."""


class Transport(Protocol):
    def send(self, request: Any, events: int) -> Written:
        """One ExportLogsServiceRequest of so many events. Raises Unavailable where nothing of it was taken."""

    def close(self) -> None: ...


def build(given: options.Options) -> Sink:
    endpoint = urlsplit(options.text(given, "endpoint"))
    shown = trust.follow(Otlp.name, given, endpoint.scheme == "https")
    compressed = options.text(given, "compression") == "gzip"
    seconds = options.seconds(given, "timeout_seconds")
    transport: Transport
    if options.text(given, "protocol") == "grpc":
        from agent.sinks import otlp_grpc

        transport = otlp_grpc.Grpc(endpoint, shown, compressed, seconds)
    else:
        from agent.sinks import otlp_http

        transport = otlp_http.Http(endpoint, shown, compressed, seconds)
    made = Otlp(transport)
    made.batch = Batch(options.whole(given, "batch_events"), BATCH_BYTES, options.seconds(given, "batch_seconds"))
    made.retry = Retry(give_up_seconds=options.seconds(given, "retry_seconds"))
    return made


class Otlp(Sink):
    """wall: nanoseconds since 1970."""

    name = "otlp"

    def __init__(self, transport: Transport, wall: Callable[[], int] = time.time_ns) -> None:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
        from opentelemetry.proto.logs.v1 import logs_pb2
        from opentelemetry.proto.resource.v1 import resource_pb2

        self._request: Any = logs_service_pb2.ExportLogsServiceRequest
        self._record: Any = logs_pb2.LogRecord
        self._resource: Any = resource_pb2.Resource
        self._transport, self._wall = transport, wall
        self._resources: OrderedDict[tuple[tuple[str, str], ...], bytes] = OrderedDict()

    def encode(self, record: Record) -> bytes:
        """The length of the resource, the resource, the log record."""
        severity = severities.of(record)
        log = self._record(
            time_unix_nano=record.time_ns,
            observed_time_unix_nano=self._wall(),
            event_name=record.name,
            severity_number=severity.number,
            severity_text=severity.text,
        )
        log.body.string_value = record.name
        fill(log.attributes, record.attributes)
        resource = self._encoded_resource(record.resource)
        return LENGTH.pack(len(resource)) + resource + bytes(log.SerializeToString())

    def write(self, items: Sequence[bytes]) -> Written:
        return self._transport.send(self._grouped(items), len(items))

    def close(self) -> None:
        self._transport.close()

    def _encoded_resource(self, attributes: Mapping[str, str]) -> bytes:
        key = tuple(attributes.items())
        found = self._resources.get(key)
        if found is None:
            resource = self._resource()
            fill(resource.attributes, told(attributes))
            found = self._resources[key] = bytes(resource.SerializeToString())
            if len(self._resources) > REMEMBERED:
                self._resources.popitem(last=False)
        return found

    def _grouped(self, items: Sequence[bytes]) -> Any:
        """Each resource once, with its records in their order."""
        request = self._request()
        scopes: dict[bytes, Any] = {}
        for item in items:
            (length,) = LENGTH.unpack_from(item)
            start = LENGTH.size + length
            resource = item[LENGTH.size : start]
            scope = scopes.get(resource)
            if scope is None:
                group = request.resource_logs.add()
                group.resource.ParseFromString(resource)
                scope = scopes[resource] = group.scope_logs.add()
                scope.scope.name, scope.scope.version = SCOPE, __version__
            scope.log_records.add().ParseFromString(item[start:])
        return request


def told(resource: Mapping[str, str]) -> dict[str, str]:
    """With OpenTelemetry's names for a workload, which backends group by."""
    workload = resource.get("bpfleet.workload.name", "")
    namespace = resource.get("k8s.namespace.name", "")
    kind = KINDS.get(resource.get("bpfleet.workload.kind", ""))
    more = {"service.name": workload or names.OTHER, "service.namespace": namespace}
    if kind:
        more[kind] = workload
    return {**{name: value for name, value in more.items() if value}, **resource}


def fill(attributes: Any, values: Mapping[str, Attribute]) -> None:
    """With their types. A whole number that has no place in 64 bits with a sign is told as text, exact."""
    for name, value in values.items():
        attribute = attributes.add()
        attribute.key = name
        if isinstance(value, bool):
            attribute.value.bool_value = value
        elif isinstance(value, int) and value in INT64:
            attribute.value.int_value = value
        elif isinstance(value, float):
            attribute.value.double_value = value
        else:
            attribute.value.string_value = str(value)
