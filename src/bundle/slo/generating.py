"""PrometheusRules from the objectives: tiers, events, error ratios, burn rates, budgets, alerts.

Raw series are read once, as events a second (`slo:sli_events:rate5m`, `slo:sli_errors:rate5m`); every longer window is
a sum of those, so that it weighs events, not moments, and costs nothing that grows with workloads or peers.
"""

from collections.abc import Iterator, Mapping
from textwrap import indent
from typing import Any

from bundle.rules.writing import Rule, alert, prometheus_rule, record
from bundle.slo.objectives import BUDGET, DEFAULT, Objectives, seconds

TIER_LABEL = "label_bpfleet_dev_slo_tier"
"""LABEL as kube-state-metrics writes it."""

NAMESPACES = "kube_namespace_labels"
LATELY = "5m"
"""As long as Prometheus looks back for what just stays away: when kube-state-metrics moves to another node, its series
end at once, and no page is to be called over for that."""

TIER = "topk by (namespace) (1, slo:namespace_tier:info)"
TEAM = "topk by (namespace) (1, slo:namespace_team:info)"
"""One of each namespace, whatever is there: two in one moment (two kube-state-metrics during a roll-out, a label that
changed while Prometheus was away) would fail the rule, and with it the alerts of every namespace."""

DEFAULT_TEAM, OWN_TEAM = "platform", "{{ $labels.team }}"

PAGES = ((14.4, "1h", "5m"), (6.0, "6h", "30m"))
"""Burn rate, long and short window: 2 % of a budget of 30 d in 1 h, 5 % in 6 h (Google SRE workbook, chapter 5)."""

TICKETS = ((3.0, "1d", "2h"), (1.0, "3d", "6h"))
"""10 % in 1 d, 10 % in 3 d."""

SHORT, LONG = ("5m", "30m", "1h", "2h", "6h"), ("1d", "3d")
"""Windows by how often they are looked at."""

SEEN_BEFORE = 0.1
"""Events a second at some time of the last day: from there on it is told when an indicator is gone."""

RUNBOOK = "slo"
DASHBOARD = "/d/bpfleet-namespace?var-namespace={{ $labels.namespace }}"
OVERVIEW = "/d/bpfleet-overview?var-namespace=All"

REQUESTS = "http_server_request_duration_seconds_count"
BUCKETS = "http_server_request_duration_seconds_bucket"
CONNECTS = 'bpfleet_flow_tcp_connects_total{%snamespace!="_host",peer_namespace!=""}'
"""Not the host's own: the kubelet asks pods that are not ready yet."""

SENT = 'bpfleet_flow_tcp_segments_total{direction="transmit",peer_namespace!=""}'
RESENT = 'bpfleet_flow_tcp_retransmissions_total{peer_namespace!=""}'
FAILED, MADE = 'result!="success",', 'result="success",'

SEEN = "slo:sli_requests:rate5m"
"""What agents see of HTTP, without which a connection stands for a request."""

HEADER = """Written by `bpfleet slo generate` from policies/slo/objectives.yaml: change that, not this file.
Windows of the profile {profile}{note}."""
NOTE = ", shorter than the names of the series say: for a test cluster"


def text(objectives: Objectives, profile: str) -> str:
    """One PrometheusRule."""
    note = "" if profile == DEFAULT else NOTE
    return prometheus_rule("bpfleet-slo", list(groups(objectives, profile)), HEADER.format(profile=profile, note=note))


def groups(objectives: Objectives, profile: str) -> Iterator[Mapping[str, Any]]:
    times = objectives.windows[profile]
    short, long = times["interval"], times["long_interval"]
    yield _group("bpfleet-slo-tiers", short, _tiers(objectives))
    yield _group("bpfleet-slo-events", short, _events(objectives, times["5m"]))
    yield _group("bpfleet-slo-burn", short, _burn(times, SHORT))
    yield _group("bpfleet-slo-burn-long", long, _burn(times, LONG))
    yield _group("bpfleet-slo-hours", times["1h"], _hours(times))
    yield _group("bpfleet-slo-budget", long, _budget(times))
    yield _group("bpfleet-slo-alerts", short, _alerts(objectives, times))


def _group(name: str, interval: str, rules: Iterator[Rule]) -> Mapping[str, Any]:
    return {"name": name, "interval": interval, "rules": list(rules)}


def _tiers(objectives: Objectives) -> Iterator[Rule]:
    others = [tier for tier in objectives.tiers if tier != objectives.default_tier]
    for tier in others:
        yield record("slo:namespace_tier:info", _namespaces(f'{TIER_LABEL}="{tier}"'), tier=tier)
    chosen = _namespaces(f'{TIER_LABEL}=~"{"|".join(others)}"')
    without = f"\nunless on (namespace) {chosen}" if others else ""
    yield record("slo:namespace_tier:info", f"{_namespaces()}{without}", tier=objectives.default_tier)
    for tier, stated in objectives.tiers.items():
        for sli, objective in stated.items():
            yield record("slo:tier_objective:ratio", f"vector({objective.ratio})", tier=tier, sli=sli)
    yield record(
        "slo:namespace_team:info",
        f"""label_replace({_namespaces('label_team!=""', "label_team")}, "team", "$1", "label_team", "(.+)")
or on (namespace) label_replace({_namespaces()}, "team", "{DEFAULT_TEAM}", "", "")""",
    )


def _namespaces(matcher: str = "", *labels: str) -> str:
    selector = f"{{{matcher}}}" if matcher else ""
    return f"group by ({', '.join(('namespace', *labels))}) (last_over_time({NAMESPACES}{selector}[{LATELY}]))"


def _to(selector: str, window: str) -> str:
    """Events towards a namespace, told by who sends."""
    total = f"sum by (peer_namespace) (rate({selector}[{window}]))"
    return f'label_replace({total}, "namespace", "$1", "peer_namespace", "(.+)")'


def _events(objectives: Objectives, window: str) -> Iterator[Rule]:
    """An SLI without errors has the error rate 0, which its own events bring; no event at all, no SLI."""
    answered = f'{{error_type=""}}[{window}]'
    failed = _to(CONNECTS % FAILED, window)
    made = f"sum by (namespace) ({_to(CONNECTS % MADE, window)})"
    yield record(SEEN, f"sum by (namespace) (rate({REQUESTS}[{window}]))", sli="availability")
    yield record(
        "slo:sli_events:rate5m",
        f"""sum by (namespace) (
  {SEEN}
  or {failed}
  or ({made} unless on (namespace) {SEEN} > 0)
)""",
        sli="availability",
    )
    yield record(
        "slo:sli_errors:rate5m",
        f"""sum by (namespace) (
  sum by (namespace) (rate({REQUESTS}{{error_type!=""}}[{window}]))
  or {failed}
  or 0 * slo:sli_events:rate5m{{sli="availability"}}
)""",
        sli="availability",
    )
    slow = [_slow(f"rate({REQUESTS}{answered})", bound, tiers, window) for bound, tiers in _bounds(objectives).items()]
    if slow:
        # only where there is an objective: in a tier that has one from today on, events and errors begin together
        tiers = _tier_is(_bounded(objectives))
        total = f"sum by (namespace) (rate({REQUESTS}{answered}))\nand on (namespace) {tiers}"
        yield record("slo:sli_events:rate5m", total, sli="latency")
        yield record("slo:sli_errors:rate5m", "\nor\n".join(slow), sli="latency")
    parts = [_to(selector, window) for selector in (CONNECTS % "", CONNECTS % FAILED, SENT, RESENT)]
    attempts, failed, sent, resent = (_kind(part, kind) for part, kind in zip(parts, "cfsr", strict=True))
    yield record(
        "slo:sli_events:rate5m", f"sum by (namespace) (\n  {attempts}\n  or {sent}\n  or {resent}\n)", sli="tcp"
    )
    yield record(
        "slo:sli_errors:rate5m",
        f'sum by (namespace) (\n  {failed}\n  or {resent}\n  or 0 * slo:sli_events:rate5m{{sli="tcp"}}\n)',
        sli="tcp",
    )


def _slow(answered: str, bound: float, tiers: list[str], window: str) -> str:
    within = f'rate({BUCKETS}{{error_type="",le="{bound!r}"}}[{window}])'
    return f"""(
  clamp_min(
    sum by (namespace) ({answered})
    - sum by (namespace) ({within}),
    0
  )
  and on (namespace) {_tier_is(tiers)}
)"""


def _tier_is(tiers: list[str]) -> str:
    return f'slo:namespace_tier:info{{tier=~"{"|".join(tiers)}"}}'


def _kind(expression: str, kind: str) -> str:
    """Told apart, so that `or` keeps both."""
    names = {"c": "connects", "f": "failed", "s": "sent", "r": "resent"}
    return f'label_replace({expression}, "part", "{names[kind]}", "", "")'


def _bounds(objectives: Objectives) -> dict[float, list[str]]:
    found: dict[float, list[str]] = {}
    for tier, stated in objectives.tiers.items():
        if "latency" in stated:
            found.setdefault(float(stated["latency"].seconds), []).append(tier)
    return dict(sorted(found.items()))


def _bounded(objectives: Objectives) -> list[str]:
    """Tiers with an objective of latency."""
    return [tier for tiers in _bounds(objectives).values() for tier in tiers]


def _burn(times: Mapping[str, str], windows: tuple[str, ...]) -> Iterator[Rule]:
    step = seconds(times["interval"])
    for window in windows:
        events, ratio = f"slo:sli_events:increase{window}", f"slo:sli_error:ratio_rate{window}"
        if window == "5m":
            length = seconds(times[window])
            yield record(events, f"slo:sli_events:rate5m * {length}")
            errors = f"slo:sli_errors:rate5m * {length}"
        else:
            yield record(events, f"sum_over_time(slo:sli_events:rate5m[{times[window]}]) * {step}")
            errors = f"sum_over_time(slo:sli_errors:rate5m[{times[window]}]) * {step}"
        yield record(ratio, f"{errors} / ({events} > 0)")
        yield record(
            f"slo:error_budget_burn:rate{window}",
            f"""{ratio}
* on (namespace) group_left (tier) {TIER}
/ on (tier, sli) group_left () (1 - slo:tier_objective:ratio)""",
        )


def _hours(times: Mapping[str, str]) -> Iterator[Rule]:
    for what in ("events", "errors"):
        total = f"sum_over_time(slo:sli_{what}:rate5m[{times['1h']}]) * {seconds(times['interval'])}"
        yield record(f"slo:sli_{what}:sum1h", total)


def _budget(times: Mapping[str, str]) -> Iterator[Rule]:
    window = times[BUDGET]
    yield record(
        "slo:error_budget_remaining:ratio",
        f"""1 - sum by (namespace, sli) (
  sum_over_time(slo:sli_errors:sum1h[{window}]) / (sum_over_time(slo:sli_events:sum1h[{window}]) > 0)
  * on (namespace) group_left (tier) {TIER}
  / on (tier, sli) group_left () (1 - slo:tier_objective:ratio)
)""",
    )


def _pair(burn: float, long: str, short: str, objectives: Objectives) -> str:
    events, ratio = f"slo:sli_events:increase{long}", f"slo:sli_error:ratio_rate{long}"
    return f"""(
  slo:error_budget_burn:rate{long} > {burn:g}
  and slo:error_budget_burn:rate{short} > {burn:g}
  and on (namespace, sli) {events} >= {objectives.minimum_events}
  and on (namespace, sli) {ratio} * {events} >= {objectives.minimum_errors}
)"""


def _pairs(pairs: tuple[tuple[float, str, str], ...], objectives: Objectives) -> str:
    return _with_team("\nor\n".join(_pair(*pair, objectives) for pair in pairs))


def _with_team(expression: str) -> str:
    """Whose the namespace is, as a label of the alert; the value stays."""
    return f"(\n{indent(expression, '  ')}\n)\n* on (namespace) group_left (team) {TEAM}"


def _alerts(objectives: Objectives, times: Mapping[str, str]) -> Iterator[Rule]:
    known, bounded = "|".join(objectives.tiers), _bounded(objectives)
    unbounded = (
        f"""  or
  (
    slo:sli_events:rate5m{{sli="latency"}} > 0
    and on (namespace) {_tier_is(bounded)}
    unless on (namespace, sli) slo:sli_errors:rate5m
  )
"""
        if bounded
        else ""
    )
    yield alert(
        "SloErrorBudgetBurnPage",
        _pairs(PAGES, objectives),
        times["page_for"],
        "critical",
        RUNBOOK,
        DASHBOARD,
        '{{ $labels.namespace }} burns its {{ $labels.sli }} budget {{ $value | printf "%.1f" }} times too fast',
        "Errors of {{ $labels.namespace }} (tier {{ $labels.tier }}) use up the {{ $labels.sli }} budget of 30 days "
        '{{ $value | printf "%.1f" }} times faster than it lasts. At 14.4 it is gone in two days.',
        team=OWN_TEAM,
    )
    yield alert(
        "SloErrorBudgetBurnTicket",
        _pairs(TICKETS, objectives),
        times["ticket_for"],
        "warning",
        RUNBOOK,
        DASHBOARD,
        "{{ $labels.namespace }} will not keep its {{ $labels.sli }} objective",
        "Errors of {{ $labels.namespace }} (tier {{ $labels.tier }}) use up the {{ $labels.sli }} budget of 30 days "
        '{{ $value | printf "%.1f" }} times as fast as it lasts, and have done so for hours.',
        team=OWN_TEAM,
    )
    yield alert(
        "SloIndicatorAbsent",
        _with_team(f"""(
  (
    max_over_time({SEEN}[{times["1d"]}]) > {SEEN_BEFORE}
    unless on (namespace) {SEEN}
  )
{unbounded})
and on (namespace) slo:namespace_tier:info
and on (namespace) sum by (namespace) (kube_pod_status_phase{{phase="Running"}}) > 0"""),
        times["absent_for"],
        "warning",
        RUNBOOK,
        DASHBOARD,
        "{{ $labels.namespace }} has pods but its {{ $labels.sli }} indicator is gone",
        "{{ $labels.namespace }} had requests within the last day and has running pods, but no request is measured for "
        "its {{ $labels.sli }} now: its error budget alerts cannot fire for them.",
        team=OWN_TEAM,
    )
    yield alert(
        "SloTierUnknown",
        _with_team(
            f'group by (namespace, {TIER_LABEL}) ({NAMESPACES}{{{TIER_LABEL}!="",{TIER_LABEL}!~"{known}"}}) == 1'
        ),
        times["absent_for"],
        "warning",
        RUNBOOK,
        DASHBOARD,
        f"{{{{ $labels.namespace }}}} asks for the tier {{{{ $labels.{TIER_LABEL} }}}}, which does not exist",
        f"The label bpfleet.dev/slo-tier of {{{{ $labels.namespace }}}} is none of {', '.join(objectives.tiers)}; the "
        f"objectives of {objectives.default_tier} apply.",
        team=OWN_TEAM,
    )
    yield alert(
        "SloTiersMissing",
        f"absent({NAMESPACES}) == 1",
        times["absent_for"],
        "critical",
        RUNBOOK,
        OVERVIEW,
        "No namespace has an objective: kube_namespace_labels is missing",
        "Without kube_namespace_labels of kube-state-metrics no namespace has a tier, and no error budget alert can "
        "fire.",
    )
