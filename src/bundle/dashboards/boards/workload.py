"""What does one workload do on the network: whom does it serve, whom does it call, and is a pod of it different?"""

from bundle.dashboards.asking import CALLED, SERVED, errors, quantile, rate, resent, top
from bundle.dashboards.boards.choices import NAMESPACE, WORKLOAD
from bundle.dashboards.house import Board, Kind, Panel, Query, Row

CHOSEN = 'namespace="$namespace",workload="$workload"'
NO_HTTP = "it serves no plain HTTP/1.x."
NO_CALLS = "it calls nobody by plain HTTP/1.x."

BOARD = Board(
    uid="bpfleet-workload",
    title="bpfleet / Workload",
    description="One workload: requests by pod, status and peer, bytes, connections, what is slow and what is lost.",
    variables=(NAMESPACE, WORKLOAD),
    rows=(
        Row(
            100,
            "Serves",
            (
                Panel(
                    1,
                    "Requests by status",
                    "HTTP/1.x requests served; a request without an answer has no status.",
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
                    "Errors by pod",
                    "Share with a 5xx or without an answer: one bad pod stands out.",
                    "percentunit",
                    (Query(errors(SERVED, CHOSEN, "pod"), "{{pod}}"),),
                    empty=NO_HTTP,
                ),
                Panel(
                    3,
                    "Time to the answer",
                    "Half, 95 and 99 of 100 requests are answered within this.",
                    "s",
                    (
                        Query(quantile(0.5, SERVED, CHOSEN), "50 %"),
                        Query(quantile(0.95, SERVED, CHOSEN), "95 %"),
                        Query(quantile(0.99, SERVED, CHOSEN), "99 %"),
                    ),
                    empty=NO_HTTP,
                ),
            ),
        ),
        Row(
            101,
            "Calls",
            (
                Panel(
                    10,
                    "Requests by peer",
                    "HTTP/1.x requests that it sent, by whom it called.",
                    "reqps",
                    (
                        Query(
                            rate(
                                "bpfleet_flow_http_requests_total",
                                f'{CHOSEN},role="client"',
                                "peer_namespace",
                                "peer_name",
                            ),
                            "{{peer_namespace}}/{{peer_name}}",
                        ),
                    ),
                    stacked=True,
                    empty=NO_CALLS,
                ),
                Panel(
                    11,
                    "Errors of calls",
                    "Share that came back as 4xx, 5xx or not at all, by pod.",
                    "percentunit",
                    (Query(errors(CALLED, CHOSEN, "pod"), "{{pod}}"),),
                    empty=NO_CALLS,
                ),
                Panel(
                    12,
                    "Connects by result",
                    "TCP connections that it tried to open, by outcome.",
                    "cps",
                    (Query(rate("bpfleet_flow_tcp_connects_total", CHOSEN, "result"), "{{result}}"),),
                    stacked=True,
                    empty="it opens no connections.",
                ),
            ),
        ),
        Row(
            102,
            "Network",
            (
                Panel(
                    20,
                    "Bytes",
                    "Bytes that its sockets sent and received, from the IP header on.",
                    "Bps",
                    (Query(rate("bpfleet_network_io_bytes_total", CHOSEN, "direction"), "{{direction}}"),),
                ),
                Panel(
                    21,
                    "Bytes by peer",
                    "The ten busiest peers, both directions.",
                    "Bps",
                    (
                        Query(
                            top(
                                10, rate("bpfleet_flow_bytes_total", CHOSEN, "peer_kind", "peer_namespace", "peer_name")
                            ),
                            "{{peer_kind}} {{peer_namespace}}/{{peer_name}}",
                        ),
                    ),
                    stacked=True,
                ),
                Panel(
                    22,
                    "Connections",
                    "TCP connections that are established or closing, by pod.",
                    "short",
                    (Query(f"sum by (pod) (bpfleet_tcp_connections_active{{{CHOSEN}}})", "{{pod}}"),),
                    stacked=True,
                ),
                Panel(
                    23,
                    "Round trip",
                    "Smoothed round-trip time of its connections, as the kernel estimates it.",
                    "s",
                    (
                        Query(quantile(0.5, "bpfleet_tcp_rtt_seconds", CHOSEN), "50 %"),
                        Query(quantile(0.99, "bpfleet_tcp_rtt_seconds", CHOSEN), "99 %"),
                    ),
                    empty="it has no TCP traffic.",
                ),
                Panel(
                    24,
                    "Sent again",
                    "Retransmitted segments, of those sent, by pod.",
                    "percentunit",
                    (Query(resent("bpfleet_tcp", CHOSEN, "pod"), "{{pod}}"),),
                    empty="it has no TCP traffic.",
                ),
                Panel(
                    25,
                    "Dropped packets",
                    "Packets that the kernel dropped in its network, by the kernel's reason.",
                    "pps",
                    (Query(rate("bpfleet_packet_drops_total", CHOSEN, "reason"), "{{reason}}"),),
                    empty="nothing is dropped, or the collector drops is off.",
                ),
                Panel(
                    26,
                    "Containers",
                    "Its containers with node and image.",
                    "short",
                    (
                        Query(
                            f"count by (pod, container, node, image) (bpfleet_container_info{{{CHOSEN}}})", "containers"
                        ),
                    ),
                    Kind.TABLE,
                    width=24,
                    empty="it is no container.",
                ),
            ),
        ),
    ),
)
