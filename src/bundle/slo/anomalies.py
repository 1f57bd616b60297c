"""Deviations from a workload's own habit: PrometheusRules for policies/network/anomaly.yaml.

The habit of an hour of the week is what was recorded around the same time one, two, three and four weeks before, so a
daily or weekly curve is no anomaly. Nothing is recorded or alerted before a namespace is labelled for it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bundle.rules.writing import Rule, alert, prometheus_rule, record

FILE = Path("policies/network/anomaly.yaml")

LABEL = "bpfleet.dev/anomaly"
OPTED_IN = 'kube_namespace_labels{label_bpfleet_dev_anomaly="enabled"}'

OFFSETS = ("6d23h40m", "13d23h40m", "20d23h40m", "27d23h40m")
"""Whole weeks less 20 minutes: the hour that is averaged then lies around the middle of the 15 minutes that it is
compared with. Four weeks and an hour are what 35 days of retention hold."""

LEAST_WEEKS = 3
"""Two values have no spread to speak of."""

LEAST_RATE = 1.0
"""Requests, or for the round-trip time its samples, a second: less is noise."""

SPREADS = 4
"""Standard deviations between the weeks. With four of them chance is never that far off; a rule beside it asks for a
deviation that matters."""

IDENTITY = "namespace, workload, workload_kind"
LASTS = "30m"
"""Longer than the two sides of a steep daily step, which the habit's hour smooths and the 15 minutes do not."""

INTERVAL = "5m"
"""Values of a quarter of an hour need no more; it is Prometheus' look-back, so a value of then is found."""

REQUESTS = "http_server_request_duration_seconds"
RTT = "bpfleet_tcp_rtt_seconds"


class Signal(NamedTuple):
    """value: what is recorded. worse: what, beside the spread, is a deviation; {now} and {habit} are the two values.
    traffic: the signal whose value must reach LEAST_RATE."""

    name: str
    value: str
    alert: str
    worse: str
    traffic: str
    summary: str
    description: str


def _rate(series: str) -> str:
    return f"sum by ({IDENTITY}) (rate({series}[15m]))"


WHERE = "{{ $labels.workload }} ({{ $labels.namespace }})"

SIGNALS = (
    Signal(
        "requests",
        _rate(f"{REQUESTS}_count"),
        "WorkloadTrafficUnusual",
        "abs({now} - {habit}) > 0.5 * {habit}",
        "requests",
        f"{WHERE} has an unusual rate of requests",
        f"{WHERE} serves {{{{ $value | humanize }}}} requests a second more or "
        "less than at this hour of the last weeks.",
    ),
    Signal(
        "errors",
        f'({_rate(REQUESTS + """_count{error_type!=""}""")} or 0 * {_rate(REQUESTS + "_count")})\n'
        f"/ ({_rate(REQUESTS + '_count')} > 0)",
        "WorkloadErrorsUnusual",
        "{now} - {habit} > 0.05",
        "requests",
        f"{WHERE} fails more than usual",
        f"The share of failed requests of {WHERE} is {{{{ $value | humanizePercentage }}}} above that of this hour of "
        "the last weeks.",
    ),
    Signal(
        "latency",
        f"{_rate(REQUESTS + '_sum')}\n/ ({_rate(REQUESTS + '_count')} > 0)",
        "WorkloadLatencyUnusual",
        "{now} - {habit} > {habit}",
        "requests",
        f"{WHERE} answers more slowly than usual",
        f"The mean time to an answer of {WHERE} is {{{{ $value | humanizeDuration }}}} above that of this hour of the "
        "last weeks, so more than twice as long.",
    ),
    Signal(
        "rtt",
        f"{_rate(RTT + '_sum')}\n/ ({_rate(RTT + '_count')} > 0)",
        "WorkloadRttUnusual",
        "{now} - {habit} > {habit}",
        "rtt_samples",
        f"{WHERE} has longer round-trip times than usual",
        f"The mean round-trip time of {WHERE} is {{{{ $value | humanizeDuration }}}} above that of this hour of the "
        "last weeks, so more than twice as long.",
    ),
)

NOW, HOUR = "anomaly:workload:mean15m", "anomaly:workload:mean1h"
HABIT, SPREAD, WEEKS = "anomaly:workload:habit", "anomaly:workload:spread", "anomaly:workload:weeks"

HEADER = """Written by `bpfleet slo generate` from src/bundle/slo/anomalies.py: change that, not this file.
Off until a namespace carries the label bpfleet.dev/anomaly: enabled; the first alert can come three weeks later."""


def text() -> str:
    return prometheus_rule("bpfleet-anomaly", list(groups()), HEADER)


def groups() -> Iterator[Mapping[str, Any]]:
    yield {"name": "bpfleet-anomaly", "interval": INTERVAL, "rules": [*_values(), *_habits(), *_alerts()]}


def _values() -> Iterator[Rule]:
    opted_in = f"and on (namespace) {OPTED_IN}"
    for signal in SIGNALS:
        yield record(NOW, f"({signal.value})\n{opted_in}", signal=signal.name)
    yield record(NOW, f"{_rate(RTT + '_count')}\n{opted_in}", signal="rtt_samples")
    yield record(HOUR, f"avg_over_time({NOW}[1h])")


def _habits() -> Iterator[Rule]:
    weeks = " or ".join(
        f'label_replace({HOUR} offset {offset}, "week", "{week}", "", "")' for week, offset in enumerate(OFFSETS, 1)
    ).replace(" or ", "\n  or ")
    for name, function in ((HABIT, "avg"), (SPREAD, "stddev"), (WEEKS, "count")):
        yield record(name, f"{function} by ({IDENTITY}, signal) (\n  {weeks}\n)")


def _alerts() -> Iterator[Rule]:
    for signal in SIGNALS:
        mine = f'{{signal="{signal.name}"}}'
        now, habit, spread, weeks = (f"{name}{mine}" for name in (NOW, HABIT, SPREAD, WEEKS))
        away = f"abs({now} - {habit})" if "abs" in signal.worse else f"{now} - {habit}"
        # traffic that stops has no rate of its own: then the habit's counts
        names = (NOW, HABIT) if signal.name == "requests" else (NOW,)
        traffic = " or ".join(f'{name}{{signal="{signal.traffic}"}} >= {LEAST_RATE:g}' for name in names)
        yield alert(
            signal.alert,
            f"""{away} > {SPREADS} * {spread}
and {signal.worse.format(now=now, habit=habit)}
and {weeks} >= {LEAST_WEEKS}
and on ({IDENTITY}) ({traffic})""",
            LASTS,
            "warning",
            "anomaly",
            "/d/bpfleet-workload?var-namespace={{ $labels.namespace }}&var-workload={{ $labels.workload }}",
            signal.summary,
            signal.description,
        )
