"""What a metric is: a declaration that code, exposition, docs, rules and dashboards all read.

Names are given in OpenTelemetry form (`tcp.rtt`, unit `s`); the Prometheus name follows by the rules of
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ : prefix, dots to underscores,
unit as a plural suffix, `_total` for counters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, NamedTuple

from bpfleet import names

UNITS = {"By": "bytes", "s": "seconds", "1": "ratio"}


class Scope(Enum):
    """Which labels a metric carries besides its own."""

    WORKLOAD = "workload"
    FLOW = "flow"
    AGENT = "agent"

    @property
    def before(self) -> tuple[str, ...]:
        """The labels that come before a metric's own. (Not the members' values: Debian 12's Python 3.11.2 makes an
        object() of the value `()`.)"""
        return () if self is Scope.AGENT else names.IDENTITY

    @property
    def after(self) -> tuple[str, ...]:
        """Those that come after them."""
        return names.PEER if self is Scope.FLOW else ()


class Flow(NamedTuple):
    """The other side of a socket, as the kernel's key has it.

    address: 16 bytes, IPv4 as ::ffff:a.b.c.d; all zero where rows were folded into the cgroup's `other` row.
    port: of the service side (the server's, whichever side is observed).
    transport: tcp | udp | icmp | other.
    """

    address: bytes
    port: int
    transport: str


class Distribution(NamedTuple):
    """Growth of a histogram: `counts` has one more element than the metric's bounds (the last is +Inf);
    per bucket, not cumulative. `total` is the sum in the metric's base unit."""

    counts: tuple[int, ...]
    total: float


class Summed(NamedTuple):
    """Growth of a summary without quantiles: sum in the base unit, and number of observations."""

    total: float
    observations: int


class Observations(NamedTuple):
    """Growth of a histogram whose values come to user space one by one: each value in the metric's base unit, and how
    often it was observed. Their buckets are found by who keeps the totals and knows the bounds."""

    counts: Mapping[int, int]


Value = int | float | Distribution | Observations | Summed


class NetworkNamespace(NamedTuple):
    """Stands where a cgroup id does, for what happens in a network and to no cgroup's socket. number: the kernel's,
    which is never given to a second namespace (net_cookie); 0 where the kernel could not tell."""

    number: int


class Sample(NamedTuple):
    """What happened since the last drain: one growth with its labels.

    labels: the values of `metric.labels`, in that order.
    cgroup_id: whose it is; 0 where the kernel had no room left to tell. Or the network namespace in which it happened,
    whose owner identity knows: the pod or workload that has it to itself, else the node.
    flow: the peer, for metrics of scope FLOW.
    """

    metric: "Metric"
    value: Value
    cgroup_id: int | NetworkNamespace
    labels: tuple[str, ...] = ()
    flow: Flow | None = None


@dataclass(frozen=True, eq=False)
class Metric:
    """name: OpenTelemetry form without the prefix; unit: UCUM ("s", "By", "{packet}");
    labels: its own, besides the scope's; values: the known values of each own label (an enumeration lets the
    series be exposed with 0 before the first event), empty where they cannot be listed."""

    name: str
    help: str
    unit: str = ""
    labels: tuple[str, ...] = ()
    scope: Scope = Scope.WORKLOAD
    values: tuple[tuple[str, ...], ...] = ()
    prefix: str = "bpfleet"

    kind: ClassVar[str] = "untyped"
    suffix: ClassVar[str] = ""

    @property
    def family(self) -> str:
        """The Prometheus family name, e.g. bpfleet_tcp_rtt_seconds or bpfleet_network_io_bytes_total."""
        parts = [self.prefix, self.name.replace(".", "_"), UNITS.get(self.unit, ""), self.suffix]
        return "_".join(part for part in parts if part)

    @property
    def label_names(self) -> tuple[str, ...]:
        """All labels in the order in which they are exposed: identity, own, peer."""
        return (*self.scope.before, *self.labels, *self.scope.after)


@dataclass(frozen=True, eq=False)
class Counter(Metric):
    kind = "counter"
    suffix = "total"


@dataclass(frozen=True, eq=False)
class UpDownCounter(Metric):
    """A sum that may fall, exposed as a gauge."""

    kind = "gauge"


@dataclass(frozen=True, eq=False)
class Gauge(Metric):
    """A value of now (agent's own health); never yielded by a collector."""

    kind = "gauge"


@dataclass(frozen=True, eq=False)
class Info(Metric):
    """A fact with value 1."""

    kind = "gauge"
    suffix = "info"


@dataclass(frozen=True, eq=False)
class Histogram(Metric):
    """bounds: name of the setting under `histograms` that holds the bucket bounds in the metric's unit; or, with
    buckets, a name for those, which are a plugin's own.
    in_kernel: whether the program counts into the buckets, which it finds by `<bounds>_bucket(ns)`; else the collector
    yields Observations."""

    bounds: str = ""
    in_kernel: bool = True
    buckets: tuple[float, ...] = ()
    kind = "histogram"


@dataclass(frozen=True, eq=False)
class Summary(Metric):
    """Sum and count without quantiles."""

    kind = "summary"
