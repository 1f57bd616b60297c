"""Is what Git says what the cluster runs, and how long does it take?"""

from bundle.dashboards.asking import mean, quantile, rate, top
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

INFO = "gotk_resource_info"
JUDGED = 'customresource_kind!~"Alert|Provider"'
"""Flux writes no Ready on the others, as the alert FluxResourceNotReady knows."""

NO_FLUX = "the cluster is not run by Flux."
READY = ("customresource_kind", "exported_namespace", "name")

BOARD = Board(
    uid="bpfleet-flux",
    title="bpfleet / Flux",
    description="Flux: what is ready, what is suspended, how long reconciliation takes, and what fails.",
    rows=(
        Row(
            100,
            "State",
            (
                Panel(
                    1,
                    "Ready",
                    "Resources of Flux that are ready.",
                    "short",
                    (Query(f'count({INFO}{{ready="True"}})', "ready"),),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    empty=NO_FLUX,
                ),
                Panel(
                    2,
                    "Not ready",
                    "Resources of Flux that failed or are still at it.",
                    "short",
                    (
                        Query(
                            f'count({INFO}{{{JUDGED},ready!="True",suspended!="true"}}) or 0 * count({INFO})',
                            "not ready",
                        ),
                    ),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=1,
                    empty=NO_FLUX,
                ),
                Panel(
                    3,
                    "Suspended",
                    "Resources that somebody told Flux to leave alone: Git and cluster drift apart.",
                    "short",
                    (Query(f'count({INFO}{{suspended="true"}}) or 0 * count({INFO})', "suspended"),),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    bad=1,
                    empty=NO_FLUX,
                ),
                Panel(
                    4,
                    "Waiting",
                    "Reconciliations that wait in the controllers' queues.",
                    "short",
                    (Query('sum(workqueue_depth{job=~".*flux.*"})', "waiting"),),
                    Kind.NUMBER,
                    width=6,
                    height=5,
                    empty=NO_FLUX,
                ),
                Panel(
                    5,
                    "Resources",
                    "Each resource with its state and what was applied last.",
                    "short",
                    (
                        Query(
                            f"count by ({', '.join((*READY, 'ready', 'suspended', 'revision'))}) ({INFO})", "resources"
                        ),
                    ),
                    Kind.TABLE,
                    width=24,
                    height=10,
                    empty=NO_FLUX,
                ),
            ),
        ),
        Row(
            101,
            "Work",
            (
                Panel(
                    10,
                    "Time of a reconciliation",
                    "95 of 100 reconciliations end within this, by kind.",
                    "s",
                    (
                        Query(
                            quantile(0.95, "gotk_reconcile_duration_seconds", "", "kind"),
                            "{{kind}}",
                        ),
                    ),
                    empty=NO_FLUX,
                ),
                Panel(
                    11,
                    "Failed reconciliations",
                    "Reconciliations that ended with an error, by controller.",
                    "ops",
                    (
                        Query(
                            rate("controller_runtime_reconcile_errors_total", 'job=~".*flux.*"', "controller"),
                            "{{controller}}",
                        ),
                    ),
                    empty=NO_FLUX,
                ),
                Panel(
                    12,
                    "Slowest resources",
                    "Mean time of a reconciliation: the ten slowest resources.",
                    "s",
                    (
                        Query(
                            top(10, mean("gotk_reconcile_duration_seconds", "", "kind", "name")),
                            "{{kind}} {{name}}",
                        ),
                    ),
                    empty=NO_FLUX,
                ),
            ),
        ),
    ),
)
