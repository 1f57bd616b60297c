"""What did workloads do that a security policy is about, which rule was it, and is everything looked at?"""

from bundle.dashboards.asking import rate
from bundle.dashboards.boards.choices import TO_WORKLOAD
from bundle.dashboards.house import Board, Kind, Panel, Query, Row, Variable

EVENTS = "bpfleet_security_events_total"
CHOSEN = 'namespace=~"$namespace",workload=~"$workload"'
QUIET = "no rule had anything to say."
UNUSED = "no policy is in force, or the collector is off."
RANGE = "[$__range]"

NAMESPACES = Variable("namespace", "Namespace", EVENTS, "Namespaces in which a rule fired.")
WORKLOADS = Variable("workload", "Workload", f'{EVENTS}{{namespace=~"$namespace"}}', "Their workloads.")

SEVERITIES = (
    (1, "Critical", "critical", "pages"),
    (2, "Warning", "warning", "tickets"),
    (3, "Info", "info", "told to nobody"),
)


def _number(id: int, title: str, severity: str, told: str) -> Panel:
    return Panel(
        id,
        title,
        f"Events of rules of this severity in the chosen time: {told}.",
        "short",
        (Query(f'sum(increase({EVENTS}{{{CHOSEN},severity="{severity}"}}{RANGE}))', title.lower()),),
        Kind.NUMBER,
        width=6,
        height=5,
        bad=None if severity == "info" else 1,
        empty=QUIET,
    )


BOARD = Board(
    uid="bpfleet-security",
    title="bpfleet / Security",
    description="Events by rule, severity and workload, and what nobody looked at.",
    variables=(NAMESPACES, WORKLOADS),
    rows=(
        Row(
            100,
            "Events",
            (
                *(_number(*each) for each in SEVERITIES),
                Panel(
                    4,
                    "Policies",
                    "Agents that refuse the policies that they are given; the last good ones are in force there.",
                    "short",
                    (Query("sum(1 - bpfleet_security_policies_last_reload_successful)", "refuse"),),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=1,
                    empty=UNUSED,
                ),
                Panel(
                    5,
                    "By rule",
                    "Events a second of each rule; those whose record was folded into another or suppressed, too.",
                    "ops",
                    (Query(rate(EVENTS, CHOSEN, "rule", "severity"), "{{rule}} ({{severity}})"),),
                    width=12,
                    empty=QUIET,
                ),
                Panel(
                    6,
                    "By workload",
                    "The same by workload.",
                    "ops",
                    (Query(rate(EVENTS, CHOSEN, "namespace", "workload"), "{{namespace}}/{{workload}}"),),
                    width=12,
                    empty=QUIET,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    7,
                    "Who did what",
                    "Events in the chosen time, by rule, workload, pod and container.",
                    "short",
                    (
                        Query(
                            "sum by (rule, severity, namespace, workload, pod, container) "
                            f"(increase({EVENTS}{{{CHOSEN}}}{RANGE})) > 0",
                            "events",
                        ),
                    ),
                    Kind.TABLE,
                    width=24,
                    empty=QUIET,
                    link=TO_WORKLOAD,
                ),
            ),
        ),
        Row(
            101,
            "Coverage",
            (
                Panel(
                    10,
                    "Looked at by nobody",
                    "What watched workloads did beyond their share of records: counted, and seen by no policy.",
                    "ops",
                    (
                        Query(
                            rate("bpfleet_security_suppressed_total", CHOSEN, "namespace", "workload", "event"),
                            "{{namespace}}/{{workload}} {{event}}",
                        ),
                    ),
                    width=12,
                    empty="no workload used up its share, or no collector of security events is on.",
                ),
                Panel(
                    11,
                    "Told by the kernel",
                    "Records of what watched workloads did, before any policy has looked at them.",
                    "ops",
                    (
                        Query(
                            rate(
                                "bpfleet_delivered_total",
                                'channel=~"exec|file_open|chmod|ptrace|egress"',
                                "channel",
                            ),
                            "{{channel}}",
                        ),
                    ),
                    width=12,
                    empty=UNUSED,
                ),
            ),
        ),
    ),
)
