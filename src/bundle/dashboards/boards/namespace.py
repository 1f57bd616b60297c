"""The home of who runs a namespace: does it keep its objectives, how fast does its budget go, which workload is it?"""

from bundle.dashboards.asking import CALLED, SERVED, errors, quantile, rate, resent, share
from bundle.dashboards.boards.choices import NAMESPACE, TO_WORKLOAD_HERE
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

CHOSEN = 'namespace="$namespace"'
TOWARDS = 'peer_namespace="$namespace"'
QUIET = "a namespace without HTTP and without connections from others has no indicator."
NO_HTTP = "nothing here speaks plain HTTP/1.x."


def burn(window: str) -> str:
    """Times faster than the budget lasts."""
    return (
        f"slo:sli_error:ratio_rate{window}{{{CHOSEN}}} * on (namespace) group_left (tier) slo:namespace_tier:info"
        " / on (tier, sli) group_left () (1 - slo:tier_objective:ratio)"
    )


BOARD = Board(
    uid="bpfleet-namespace",
    title="bpfleet / Namespace",
    description="One namespace: objectives, budgets and burn, then requests, errors and times of each workload.",
    variables=(NAMESPACE,),
    rows=(
        Row(
            100,
            "Objectives",
            (
                Panel(
                    1,
                    "Tier",
                    "The namespace's label bpfleet.dev/slo-tier, or the default tier. It chooses the objectives.",
                    "short",
                    (Query(f"slo:namespace_tier:info{{{CHOSEN}}}", "{{tier}}"),),
                    Kind.NAME,
                    width=4,
                    height=5,
                    empty="outside Kubernetes there are no tiers.",
                ),
                Panel(
                    2,
                    "Objectives",
                    "Share of good events that the tier promises, by indicator.",
                    "percentunit",
                    (
                        Query(
                            "slo:tier_objective:ratio * on (tier) group_left (namespace) "
                            f"slo:namespace_tier:info{{{CHOSEN}}}",
                            "{{sli}}",
                        ),
                    ),
                    Kind.NUMBER,
                    width=8,
                    height=5,
                    empty="outside Kubernetes there are no tiers.",
                ),
                Panel(
                    3,
                    "Error budget left",
                    "Of the last 30 days, by indicator. Below 0 the objective is missed.",
                    "percentunit",
                    (Query(f"slo:error_budget_remaining:ratio{{{CHOSEN}}}", "{{sli}}"),),
                    Kind.NUMBER,
                    width=8,
                    height=5,
                    least=0,
                    empty=QUIET,
                ),
                Panel(
                    4,
                    "Alerts that fire",
                    "For this namespace, by name and severity.",
                    "short",
                    (
                        Query(
                            f'count by (alertname, severity) (ALERTS{{alertstate="firing",{CHOSEN}}})',
                            "{{alertname}} {{severity}}",
                        ),
                    ),
                    Kind.NUMBER,
                    width=4,
                    height=5,
                    bad=1,
                    empty="nothing fires.",
                ),
                Panel(
                    5,
                    "Burn rate, one hour",
                    "How many times faster than it lasts the budget is used. 14.4 for an hour is a page: the budget of "
                    "30 days would be gone in two.",
                    "short",
                    (Query(burn("1h"), "{{sli}}"),),
                    width=12,
                    empty=QUIET,
                ),
                Panel(
                    6,
                    "Burn rate, six hours",
                    "The slow burn: 6 for six hours is a page, 1 for three days a ticket.",
                    "short",
                    (Query(burn("6h"), "{{sli}}"),),
                    width=12,
                    empty=QUIET,
                ),
            ),
        ),
        Row(
            101,
            "Requests served",
            (
                Panel(
                    10,
                    "Requests",
                    "HTTP/1.x requests served, by workload.",
                    "reqps",
                    (Query(rate(f"{SERVED}_count", CHOSEN, "workload"), "{{workload}}"),),
                    stacked=True,
                    empty=NO_HTTP,
                    link=TO_WORKLOAD_HERE,
                ),
                Panel(
                    11,
                    "Errors",
                    "Share with a 5xx or without an answer, by workload.",
                    "percentunit",
                    (Query(errors(SERVED, CHOSEN, "workload"), "{{workload}}"),),
                    empty=NO_HTTP,
                    link=TO_WORKLOAD_HERE,
                ),
                Panel(
                    12,
                    "Time to the answer, 99 %",
                    "99 of 100 requests are answered within this, by workload.",
                    "s",
                    (Query(quantile(0.99, SERVED, CHOSEN, "workload"), "{{workload}}"),),
                    empty=NO_HTTP,
                    link=TO_WORKLOAD_HERE,
                ),
                Panel(
                    13,
                    "Workloads",
                    "Rate, errors and time of each workload now.",
                    "short",
                    (
                        Query(rate(f"{SERVED}_count", CHOSEN, "workload", "workload_kind"), "requests", "reqps"),
                        Query(errors(SERVED, CHOSEN, "workload", "workload_kind"), "errors", "percentunit"),
                        Query(quantile(0.5, SERVED, CHOSEN, "workload", "workload_kind"), "50 %", "s"),
                        Query(quantile(0.99, SERVED, CHOSEN, "workload", "workload_kind"), "99 %", "s"),
                    ),
                    Kind.TABLE,
                    width=24,
                    empty=NO_HTTP,
                    link=TO_WORKLOAD_HERE,
                ),
            ),
        ),
        Row(
            102,
            "What it calls, and who does not reach it",
            (
                Panel(
                    20,
                    "Errors of calls",
                    "Share of requests sent that came back as 4xx, 5xx or not at all, by workload that called.",
                    "percentunit",
                    (Query(errors(CALLED, CHOSEN, "workload"), "{{workload}}"),),
                    empty=NO_HTTP,
                    link=TO_WORKLOAD_HERE,
                ),
                Panel(
                    21,
                    "Failed connects to it",
                    "Share of TCP connections to Services and pods of this namespace that clients did not get, as the "
                    "clients say: a server whose pods are all down says nothing.",
                    "percentunit",
                    (
                        Query(
                            share(
                                rate("bpfleet_flow_tcp_connects_total", f'{TOWARDS},result!="success"', "peer_name"),
                                rate("bpfleet_flow_tcp_connects_total", TOWARDS, "peer_name"),
                            ),
                            "{{peer_name}}",
                        ),
                    ),
                    empty="nobody connects to this namespace.",
                ),
                Panel(
                    22,
                    "Sent again",
                    "Retransmitted segments, of those sent, by workload.",
                    "percentunit",
                    (Query(resent("bpfleet_tcp", CHOSEN, "workload"), "{{workload}}"),),
                    link=TO_WORKLOAD_HERE,
                ),
            ),
        ),
    ),
)
