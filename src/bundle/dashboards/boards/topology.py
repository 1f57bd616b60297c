"""Who calls whom, how often, how much, and does it work?"""

from bundle.dashboards.asking import rate, resent, share, top
from bundle.dashboards.boards.choices import IN_NAMESPACES, NAMESPACES, TO_WORKLOAD
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

CHOSEN = 'namespace=~"$namespace",workload=~"$workload"'
EDGE = ("namespace", "workload", "peer_kind", "peer_namespace", "peer_name", "port")
LINE = "{{namespace}}/{{workload}} to {{peer_namespace}}/{{peer_name}}:{{port}}"
CLIENTS, SERVERS = f'{CHOSEN},role="client"', f'{CHOSEN},role="server"'
REQUESTS = "bpfleet_flow_http_requests_total"
CONNECTS = "bpfleet_flow_tcp_connects_total"
NO_HTTP = "nothing speaks plain HTTP/1.x."
NO_CONNECTS = "nobody opens connections."

BOARD = Board(
    uid="bpfleet-topology",
    title="bpfleet / Topology",
    description="Edges between workloads and their peers. `bpfleet topology` draws the same as a graph.",
    variables=(NAMESPACES, IN_NAMESPACES),
    rows=(
        Row(
            100,
            "Edges",
            (
                Panel(
                    1,
                    "Calls",
                    "Requests and their errors, as the clients among the chosen workloads saw them.",
                    "short",
                    (
                        Query(top(50, rate(REQUESTS, CLIENTS, *EDGE)), "requests", "reqps"),
                        Query(
                            share(rate(REQUESTS, f'{CLIENTS},result="error"', *EDGE), rate(REQUESTS, CLIENTS, *EDGE)),
                            "errors",
                            "percentunit",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    height=10,
                    empty=NO_HTTP,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    2,
                    "Callers",
                    "Who calls the chosen workloads, as they saw it as servers.",
                    "short",
                    (
                        Query(top(50, rate(REQUESTS, SERVERS, *EDGE)), "requests", "reqps"),
                        Query(
                            share(rate(REQUESTS, f'{SERVERS},result="error"', *EDGE), rate(REQUESTS, SERVERS, *EDGE)),
                            "errors",
                            "percentunit",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    height=10,
                    empty=NO_HTTP,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    3,
                    "Bytes",
                    "The fifty busiest edges, both directions, whatever the protocol.",
                    "Bps",
                    (
                        Query(
                            top(50, rate("bpfleet_flow_bytes_total", CHOSEN, *EDGE, "transport")),
                            "bytes",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    height=10,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    4,
                    "Connects",
                    "TCP connections that the chosen workloads tried to open, and the share that failed.",
                    "short",
                    (
                        Query(top(50, rate(CONNECTS, CHOSEN, *EDGE)), "connects", "cps"),
                        Query(
                            share(rate(CONNECTS, f'{CHOSEN},result!="success"', *EDGE), rate(CONNECTS, CHOSEN, *EDGE)),
                            "failed",
                            "percentunit",
                        ),
                    ),
                    Kind.TABLE,
                    width=12,
                    height=10,
                    empty=NO_CONNECTS,
                    link=TO_WORKLOAD,
                ),
            ),
        ),
        Row(
            101,
            "Over time",
            (
                Panel(
                    10,
                    "Busiest edges",
                    "Bytes of the ten busiest edges, both directions.",
                    "Bps",
                    (Query(top(10, rate("bpfleet_flow_bytes_total", CHOSEN, *EDGE)), LINE),),
                    stacked=True,
                    link=TO_WORKLOAD,
                ),
                Panel(
                    11,
                    "Edges with errors",
                    "Requests with an error, as the client saw it: the ten worst edges.",
                    "reqps",
                    (Query(top(10, rate(REQUESTS, f'{CLIENTS},result="error"', *EDGE)), LINE),),
                    empty="no request fails.",
                    link=TO_WORKLOAD,
                ),
                Panel(
                    12,
                    "Edges with loss",
                    "Retransmitted segments, of those sent: the ten worst edges.",
                    "percentunit",
                    (Query(top(10, resent("bpfleet_flow_tcp", CHOSEN, *EDGE)), LINE),),
                    link=TO_WORKLOAD,
                ),
            ),
        ),
        Row(
            102,
            "Services",
            (
                Panel(
                    20,
                    "Pods behind Services",
                    "Which pods stand behind each Service and port.",
                    "short",
                    (
                        Query(
                            "count by (peer_namespace, peer_name, transport, port, backend_pod, backend_port) "
                            '(bpfleet_service_backend_info{peer_namespace=~"$namespace"})',
                            "pods",
                        ),
                    ),
                    Kind.TABLE,
                    width=24,
                    empty="outside Kubernetes there are no Services.",
                ),
            ),
        ),
    ),
)
