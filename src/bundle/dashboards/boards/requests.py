"""Which requests are slow or fail: by method, status, error and route, as servers and as clients saw them?"""

from bpfleet.events import HTTP_REQUEST
from bundle.dashboards.asking import CALLED, SERVED, errors, quantile, rate, top
from bundle.dashboards.boards.choices import IN_NAMESPACES, NAMESPACES, TO_WORKLOAD
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

CHOSEN = 'namespace=~"$namespace",workload=~"$workload"'
NO_HTTP = "nothing speaks plain HTTP/1.x."
NO_ERRORS = "no request fails."
NO_BODIES = "the collector http_bodies is off."
NO_ROUTES = "routes are counted only where requests.routes is on and the log is all."
NO_LOG = "the request log is off."


def times(metric: str) -> tuple[Query, ...]:
    return (
        Query(quantile(0.5, metric, CHOSEN), "50 %"),
        Query(quantile(0.95, metric, CHOSEN), "95 %"),
        Query(quantile(0.99, metric, CHOSEN), "99 %"),
    )


BOARD = Board(
    uid="bpfleet-requests",
    title="bpfleet / Requests",
    description="HTTP/1.x requests: rate, errors and times at servers and clients, routes, bodies, and the log.",
    variables=(NAMESPACES, IN_NAMESPACES),
    rows=(
        Row(
            100,
            "Servers",
            (
                Panel(
                    1,
                    "Requests by status",
                    "Requests served; one without an answer has no status.",
                    "reqps",
                    (
                        Query(
                            rate(f"{SERVED}_count", CHOSEN, "http_response_status_code"),
                            "{{http_response_status_code}}",
                        ),
                    ),
                    stacked=True,
                    empty=NO_HTTP,
                ),
                Panel(
                    2,
                    "Errors by type",
                    "5xx by status, and why others had no answer: reset, closed, timeout.",
                    "reqps",
                    (
                        Query(
                            rate(f"{SERVED}_count", f'{CHOSEN},error_type!=""', "namespace", "workload", "error_type"),
                            "{{namespace}}/{{workload}} {{error_type}}",
                        ),
                    ),
                    stacked=True,
                    empty=NO_ERRORS,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    3,
                    "Time to the answer",
                    "From a request's first byte to its answer's status line, as servers saw it.",
                    "s",
                    times(SERVED),
                    empty=NO_HTTP,
                ),
                Panel(
                    4,
                    "Requests by method",
                    "Requests served; _OTHER is what is no known method.",
                    "reqps",
                    (Query(rate(f"{SERVED}_count", CHOSEN, "http_request_method"), "{{http_request_method}}"),),
                    stacked=True,
                    empty=NO_HTTP,
                ),
                Panel(
                    5,
                    "Slowest workloads",
                    "99 of 100 requests are answered within this: the ten slowest workloads.",
                    "s",
                    (
                        Query(
                            top(10, quantile(0.99, SERVED, CHOSEN, "namespace", "workload")),
                            "{{namespace}}/{{workload}}",
                        ),
                    ),
                    empty=NO_HTTP,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    6,
                    "Not answered yet",
                    "Requests that servers have not begun to answer, at the last look.",
                    "short",
                    (
                        Query(
                            f"sum by (namespace, workload) (http_server_active_requests{{{CHOSEN}}})",
                            "{{namespace}}/{{workload}}",
                        ),
                    ),
                    empty="no request waits for its answer.",
                    link=TO_WORKLOAD,
                ),
            ),
        ),
        Row(
            101,
            "Clients",
            (
                Panel(
                    10,
                    "Requests sent",
                    "Requests by the workload that sent them: the ten busiest.",
                    "reqps",
                    (
                        Query(
                            top(10, rate(f"{CALLED}_count", CHOSEN, "namespace", "workload")),
                            "{{namespace}}/{{workload}}",
                        ),
                    ),
                    stacked=True,
                    empty=NO_HTTP,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    11,
                    "Errors of calls",
                    "Share that came back as 4xx, 5xx or not at all: the ten worst workloads.",
                    "percentunit",
                    (
                        Query(
                            top(10, errors(CALLED, CHOSEN, "namespace", "workload")),
                            "{{namespace}}/{{workload}}",
                        ),
                    ),
                    empty=NO_HTTP,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    12,
                    "Time to the answer",
                    "From a request's first byte to its answer's status line, as clients saw it.",
                    "s",
                    times(CALLED),
                    empty=NO_HTTP,
                ),
            ),
        ),
        Row(
            102,
            "Routes and bodies",
            (
                Panel(
                    20,
                    "Routes",
                    "Rate and time of the busiest routes, from the request log.",
                    "short",
                    (
                        Query(
                            top(
                                20,
                                rate(
                                    "bpfleet_http_route_duration_seconds_count",
                                    CHOSEN,
                                    *("namespace", "workload", "http_request_method", "http_route"),
                                ),
                            ),
                            "requests",
                            "reqps",
                        ),
                        Query(
                            quantile(
                                0.99,
                                "bpfleet_http_route_duration_seconds",
                                CHOSEN,
                                *("namespace", "workload", "http_request_method", "http_route"),
                            ),
                            "99 %",
                            "s",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    empty=NO_ROUTES,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    21,
                    "Bodies",
                    "Half and 99 of 100 bodies that servers received and sent are no larger.",
                    "bytes",
                    (
                        Query(quantile(0.5, "http_server_request_body_size_bytes", CHOSEN), "requests 50 %"),
                        Query(quantile(0.99, "http_server_request_body_size_bytes", CHOSEN), "requests 99 %"),
                        Query(quantile(0.5, "http_server_response_body_size_bytes", CHOSEN), "answers 50 %"),
                        Query(quantile(0.99, "http_server_response_body_size_bytes", CHOSEN), "answers 99 %"),
                    ),
                    width=12,
                    empty=NO_BODIES,
                ),
            ),
        ),
        Row(
            103,
            "Request log",
            (
                Panel(
                    30,
                    "Requests told",
                    "What became of the requests that agents told of.",
                    "ops",
                    (
                        Query(
                            rate("bpfleet_events_total", f'event="{HTTP_REQUEST}"', "event", "outcome"),
                            "{{event}} {{outcome}}",
                        ),
                    ),
                    width=12,
                    empty=NO_LOG,
                ),
                Panel(
                    31,
                    "Opened namespaces",
                    "Namespaces of whose requests more than by default is recorded now, and annotations that were "
                    "refused.",
                    "short",
                    (
                        Query("sum by (what) (bpfleet_request_log_opened)", "{{what}}"),
                        Query("sum(bpfleet_request_log_annotations_refused)", "refused"),
                    ),
                    width=12,
                    empty=NO_LOG,
                ),
            ),
        ),
    ),
)
