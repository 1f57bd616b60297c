"""Where does the network hurt: loss, resets, slow or failed connects, between whom, and across which zones?"""

from bundle.dashboards.asking import mean, quantile, rate, resent, top
from bundle.dashboards.boards.choices import IN_NAMESPACES, NAMESPACES, TO_WORKLOAD
from bundle.dashboards.house import Board, Panel, Query, Row

CHOSEN = 'namespace=~"$namespace",workload=~"$workload"'
ZONES = f'{CHOSEN},zone!="",peer_zone!=""'
NO_ZONES = "nodes have no zones."
PEER = ("namespace", "workload", "peer_namespace", "peer_name")
PEERS = "{{namespace}}/{{workload}} to {{peer_namespace}}/{{peer_name}}"
BUSY = 'namespace=~"$namespace",workload=~"$workload",peer_name!=""'
WALKED = "the collector sockets is off."

BOARD = Board(
    uid="bpfleet-network",
    title="bpfleet / Network and TCP",
    description="Bytes, loss, resets, round trips, connects and drops of the chosen workloads, by peer and zone.",
    variables=(NAMESPACES, IN_NAMESPACES),
    rows=(
        Row(
            100,
            "Traffic",
            (
                Panel(
                    1,
                    "Bytes",
                    "Bytes that sockets sent and received, from the IP header on.",
                    "Bps",
                    (
                        Query(
                            rate("bpfleet_network_io_bytes_total", CHOSEN, "direction", "transport"),
                            "{{direction}} {{transport}}",
                        ),
                    ),
                ),
                Panel(
                    2,
                    "Packets",
                    "Packets as the kernel passes them: a super-packet of segmentation offload is one.",
                    "pps",
                    (
                        Query(
                            rate("bpfleet_network_io_packets_total", CHOSEN, "direction", "family"),
                            "{{direction}} {{family}}",
                        ),
                    ),
                ),
                Panel(
                    3,
                    "Connections",
                    "TCP connections that are established or closing, by namespace.",
                    "short",
                    (Query(f"sum by (namespace) (bpfleet_tcp_connections_active{{{CHOSEN}}})", "{{namespace}}"),),
                    stacked=True,
                ),
            ),
        ),
        Row(
            101,
            "Loss and resets",
            (
                Panel(
                    10,
                    "Sent again",
                    "Retransmitted segments, of those sent: the ten worst workloads.",
                    "percentunit",
                    (
                        Query(
                            top(10, resent("bpfleet_tcp", CHOSEN, "namespace", "workload")),
                            "{{namespace}}/{{workload}}",
                        ),
                    ),
                    link=TO_WORKLOAD,
                ),
                Panel(
                    11,
                    "Sent again, by peer",
                    "Retransmitted segments, of those sent: the ten worst pairs.",
                    "percentunit",
                    (Query(top(10, resent("bpfleet_flow_tcp", BUSY, *PEER)), PEERS),),
                    link=TO_WORKLOAD,
                ),
                Panel(
                    12,
                    "Resets",
                    "TCP resets sent and received.",
                    "pps",
                    (
                        Query(
                            rate("bpfleet_tcp_resets_total", CHOSEN, "namespace", "direction"),
                            "{{namespace}} {{direction}}",
                        ),
                    ),
                ),
                Panel(
                    13,
                    "Dropped packets",
                    "Packets that the kernel dropped, by its own name of the reason.",
                    "pps",
                    (Query(rate("bpfleet_packet_drops_total", CHOSEN, "reason"), "{{reason}}"),),
                    empty="nothing is dropped, or the collector drops is off.",
                ),
            ),
        ),
        Row(
            102,
            "Times",
            (
                Panel(
                    20,
                    "Round trip",
                    "Smoothed round-trip time, as the kernel estimates it.",
                    "s",
                    (
                        Query(quantile(0.5, "bpfleet_tcp_rtt_seconds", CHOSEN), "50 %"),
                        Query(quantile(0.95, "bpfleet_tcp_rtt_seconds", CHOSEN), "95 %"),
                        Query(quantile(0.99, "bpfleet_tcp_rtt_seconds", CHOSEN), "99 %"),
                    ),
                ),
                Panel(
                    21,
                    "Round trip, by peer",
                    "Mean of the estimates: the ten farthest pairs.",
                    "s",
                    (Query(top(10, mean("bpfleet_flow_tcp_rtt_seconds", BUSY, *PEER)), PEERS),),
                    link=TO_WORKLOAD,
                ),
                Panel(
                    22,
                    "Time to connect",
                    "From connect() to the handshake's end, as clients saw it.",
                    "s",
                    (
                        Query(quantile(0.5, "bpfleet_tcp_connect_duration_seconds", CHOSEN), "50 %"),
                        Query(quantile(0.99, "bpfleet_tcp_connect_duration_seconds", CHOSEN), "99 %"),
                    ),
                    empty="nobody opens connections.",
                ),
            ),
        ),
        Row(
            103,
            "Connections",
            (
                Panel(
                    30,
                    "Opened, accepted, closed",
                    "TCP connections of the chosen workloads.",
                    "cps",
                    (
                        Query(rate("bpfleet_tcp_connections_opened_total", CHOSEN), "opened"),
                        Query(rate("bpfleet_tcp_connections_accepted_total", CHOSEN), "accepted"),
                        Query(rate("bpfleet_tcp_connections_closed_total", CHOSEN), "closed"),
                    ),
                ),
                Panel(
                    31,
                    "Failed connects",
                    "TCP connections that workloads tried to open and did not get, by reason.",
                    "cps",
                    (Query(rate("bpfleet_tcp_connections_failed_total", CHOSEN, "reason"), "{{reason}}"),),
                    stacked=True,
                ),
                Panel(
                    32,
                    "Life of connections",
                    "Half and 95 of 100 connections that ended lived no longer.",
                    "s",
                    (
                        Query(quantile(0.5, "bpfleet_tcp_connection_lifetime_seconds", CHOSEN), "50 %"),
                        Query(quantile(0.95, "bpfleet_tcp_connection_lifetime_seconds", CHOSEN), "95 %"),
                    ),
                    empty="no connection ended.",
                ),
            ),
        ),
        Row(
            104,
            "Zones",
            (
                Panel(
                    40,
                    "Bytes between zones",
                    "Bytes sent, by zone of the sender and of its peer. Equal zones are traffic within.",
                    "Bps",
                    (
                        Query(
                            rate("bpfleet_flow_bytes_total", f'{ZONES},direction="transmit"', "zone", "peer_zone"),
                            "{{zone}} to {{peer_zone}}",
                        ),
                    ),
                    width=12,
                    empty=NO_ZONES,
                ),
                Panel(
                    41,
                    "Sent again between zones",
                    "Retransmitted segments, of those sent, by pair of zones.",
                    "percentunit",
                    (Query(resent("bpfleet_flow_tcp", ZONES, "zone", "peer_zone"), "{{zone}} to {{peer_zone}}"),),
                    width=12,
                    empty=NO_ZONES,
                ),
            ),
        ),
        Row(
            105,
            "Windows",
            (
                Panel(
                    50,
                    "Congestion window",
                    "One sample of each established connection in each walk: half have no more segments under way.",
                    "short",
                    (
                        Query(quantile(0.05, "bpfleet_tcp_congestion_window_segments", CHOSEN), "5 %"),
                        Query(quantile(0.5, "bpfleet_tcp_congestion_window_segments", CHOSEN), "50 %"),
                    ),
                    empty=WALKED,
                ),
                Panel(
                    51,
                    "Receive window",
                    "As last advertised to the peer. Near 0 the application does not read.",
                    "bytes",
                    (
                        Query(quantile(0.05, "bpfleet_tcp_receive_window_bytes", CHOSEN), "5 %"),
                        Query(quantile(0.5, "bpfleet_tcp_receive_window_bytes", CHOSEN), "50 %"),
                    ),
                    empty=WALKED,
                ),
                Panel(
                    52,
                    "Send window",
                    "As the peer last advertised it. Near 0 the peer does not read.",
                    "bytes",
                    (
                        Query(quantile(0.05, "bpfleet_tcp_send_window_bytes", CHOSEN), "5 %"),
                        Query(quantile(0.5, "bpfleet_tcp_send_window_bytes", CHOSEN), "50 %"),
                    ),
                    empty=WALKED,
                ),
            ),
        ),
    ),
)
