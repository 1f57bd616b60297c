"""The one list of metrics: the agent exposes them, docs are generated from them, rules and dashboards use only them."""

from bpfleet.metrics import Counter, Gauge, Histogram, Info, Metric, Scope, Summary, UpDownCounter

DIRECTIONS = ("receive", "transmit")
TRANSPORTS = ("tcp", "udp", "icmp", "other")
FAMILIES = ("ipv4", "ipv6")
FAILURES = ("refused", "timeout", "unreachable", "reset", "abandoned", "other")
RESULTS = ("success", *FAILURES)

NETWORK_IO = Counter(
    "network.io",
    "Bytes that sockets of the workload sent and received, from the IP header on.",
    unit="By",
    labels=("direction", "transport", "family"),
    values=(DIRECTIONS, TRANSPORTS, FAMILIES),
)
NETWORK_PACKETS = Counter(
    "network.io.packets",
    "Packets as the kernel passes them: a super-packet of segmentation offload is one, as in interface counters.",
    unit="{packet}",
    labels=("direction", "transport", "family"),
    values=(DIRECTIONS, TRANSPORTS, FAMILIES),
)
FLOW_BYTES = Counter(
    "flow",
    "Bytes by peer and service port, from the IP header on.",
    unit="By",
    labels=("direction",),
    values=(DIRECTIONS,),
    scope=Scope.FLOW,
)
FLOW_PACKETS = Counter(
    "flow.packets",
    "Packets by peer and service port.",
    unit="{packet}",
    labels=("direction",),
    values=(DIRECTIONS,),
    scope=Scope.FLOW,
)

TCP_SEGMENTS = Counter(
    "tcp.segments",
    "TCP segments, as TcpOutSegs counts those sent (retransmissions are not among them) and ss those received.",
    unit="{segment}",
    labels=("direction",),
    values=(DIRECTIONS,),
)
TCP_RETRANSMISSIONS = Counter(
    "tcp.retransmissions", "TCP segments sent again (segments, not calls: as TcpRetransSegs).", unit="{segment}"
)
TCP_RESETS = Counter(
    "tcp.resets",
    "TCP resets sent and received by sockets of the workload.",
    unit="{segment}",
    labels=("direction",),
    values=(DIRECTIONS,),
)
TCP_RTT = Histogram(
    "tcp.rtt",
    "Smoothed round-trip time: a connection's first estimate, one in sixteen packets received, and the last estimate.",
    unit="s",
    bounds="rtt_seconds",
)
FLOW_TCP_SEGMENTS = Counter(
    "flow.tcp.segments",
    "TCP segments by peer and service port.",
    unit="{segment}",
    labels=("direction",),
    values=(DIRECTIONS,),
    scope=Scope.FLOW,
)
FLOW_TCP_RETRANSMISSIONS = Counter(
    "flow.tcp.retransmissions", "TCP segments sent again, by peer and service port.", unit="{segment}", scope=Scope.FLOW
)
FLOW_TCP_RTT = Summary(
    "flow.tcp.rtt", "Sum and count of the round-trip times by peer and service port.", unit="s", scope=Scope.FLOW
)

CONNECTIONS_OPENED = Counter(
    "tcp.connections.opened", "TCP connections that the workload opened as client.", unit="{connection}"
)
CONNECTIONS_ACCEPTED = Counter(
    "tcp.connections.accepted",
    "TCP handshakes completed as server (also where the application never accepts).",
    unit="{connection}",
)
CONNECTIONS_FAILED = Counter(
    "tcp.connections.failed",
    "TCP connections that the workload tried to open and did not get.",
    unit="{connection}",
    labels=("reason",),
    values=(FAILURES,),
)
CONNECTIONS_CLOSED = Counter(
    "tcp.connections.closed",
    "TCP connections that were established and ended, also those older than the agent.",
    unit="{connection}",
)
CONNECTIONS_ACTIVE = UpDownCounter(
    "tcp.connections.active", "TCP connections that are established or closing now.", unit="{connection}"
)
CONNECT_DURATION = Histogram(
    "tcp.connect.duration",
    "Time from connect() to the handshake's end, as the client saw it.",
    unit="s",
    bounds="connect_seconds",
)
CONNECTION_LIFETIME = Histogram(
    "tcp.connection.lifetime", "Life of connections whose beginning the agent saw.", unit="s", bounds="lifetime_seconds"
)
FLOW_TCP_ACCEPTS = Counter(
    "flow.tcp.accepts",
    "TCP handshakes completed as server, by peer and service port.",
    unit="{connection}",
    scope=Scope.FLOW,
)
FLOW_TCP_CONNECTS = Counter(
    "flow.tcp.connects",
    "Outcome of the TCP connections that the workload tried to open, by peer and service port.",
    unit="{connection}",
    labels=("result",),
    values=(RESULTS,),
    scope=Scope.FLOW,
)

HTTP_METHODS = ("_OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
HTTP_LABELS = ("http_request_method", "http_response_status_code", "error_type")

HTTP_SERVER_DURATION = Histogram(
    "http.server.request.duration",
    "Time from a request's first byte to its answer's status line, as the server saw it.",
    unit="s",
    labels=HTTP_LABELS,
    prefix="",
    bounds="request_seconds",
)
HTTP_CLIENT_DURATION = Histogram(
    "http.client.request.duration",
    "Time from a request's first byte to its answer's status line, as the client saw it.",
    unit="s",
    labels=HTTP_LABELS,
    prefix="",
    bounds="request_seconds",
)
HTTP_SERVER_ACTIVE = UpDownCounter(
    "http.server.active_requests",
    "Requests that the server has not begun to answer, at the last drain.",
    unit="{request}",
    labels=("http_request_method",),
    prefix="",
)
HTTP_CLIENT_ACTIVE = UpDownCounter(
    "http.client.active_requests",
    "Requests whose answer the client waits for, at the last drain.",
    unit="{request}",
    labels=("http_request_method",),
    prefix="",
)
HTTP_SERVER_REQUEST_BODY = Histogram(
    "http.server.request.body.size",
    "Bytes of the bodies of requests that the server received, 0 for those without one.",
    unit="By",
    labels=("http_request_method",),
    prefix="",
    bounds="body_bytes",
)
HTTP_CLIENT_REQUEST_BODY = Histogram(
    "http.client.request.body.size",
    "Bytes of the bodies of requests that the client sent, 0 for those without one.",
    unit="By",
    labels=("http_request_method",),
    prefix="",
    bounds="body_bytes",
)
HTTP_SERVER_RESPONSE_BODY = Histogram(
    "http.server.response.body.size",
    "Bytes of the bodies of answers that the server sent, 0 for those without one.",
    unit="By",
    labels=("http_request_method", "http_response_status_code"),
    prefix="",
    bounds="body_bytes",
)
HTTP_CLIENT_RESPONSE_BODY = Histogram(
    "http.client.response.body.size",
    "Bytes of the bodies of answers that the client received, 0 for those without one.",
    unit="By",
    labels=("http_request_method", "http_response_status_code"),
    prefix="",
    bounds="body_bytes",
)
ROLES = ("client", "server")
FLOW_HTTP_REQUESTS = Counter(
    "flow.http.requests",
    "HTTP requests by peer and service port: an error has no answer or a 5xx, for the client also a 4xx.",
    unit="{request}",
    labels=("role", "result"),
    values=(ROLES, ("success", "error")),
    scope=Scope.FLOW,
)
FLOW_HTTP_DURATION = Summary(
    "flow.http.request.duration",
    "Sum and count of the time from a request's first byte to its answer's status line, by peer and service port.",
    unit="s",
    labels=("role",),
    values=(ROLES,),
    scope=Scope.FLOW,
)
HTTP_ROUTE_DURATION = Histogram(
    "http.route.duration",
    "Time from a request's first byte to its answer's status line by route, as the server saw it. From the request "
    "log, so only of namespaces that record all requests, and without what the log lost (`requests.routes`).",
    unit="s",
    labels=("http_request_method", "http_response_status_code", "http_route"),
    bounds="request_seconds",
    in_kernel=False,
)
PACKET_DROPS = Counter(
    "packet.drops",
    "Packets that the kernel dropped in the network of the workload, by the kernel's own name of the reason. What is "
    "dropped in a network that several share, or in the host's, is the node's (workload /).",
    unit="{packet}",
    labels=("reason",),
)
SECURITY_EVENTS = Counter(
    "security.events",
    "What workloads did that a rule of a security policy is about, by the rule and its severity: those whose record "
    "was folded into another or suppressed, too.",
    labels=("rule", "severity"),
)
SECURITY_SUPPRESSED = Counter(
    "security.suppressed",
    "What watched workloads did and the kernel did not tell, because the workload's share of records was used up, by "
    "the collector.",
    labels=("event",),
)
TCP_CONGESTION_WINDOW = Histogram(
    "tcp.congestion_window.segments",
    "Congestion window: one sample of each established TCP connection in each walk (`sockets.interval_seconds`).",
    unit="{segment}",
    bounds="congestion_window_segments",
    in_kernel=False,
)
TCP_RECEIVE_WINDOW = Histogram(
    "tcp.receive_window",
    "Receive window that was last advertised to the peer: one sample of each established TCP connection in each walk.",
    unit="By",
    bounds="receive_window_bytes",
    in_kernel=False,
)
TCP_SEND_WINDOW = Histogram(
    "tcp.send_window",
    "Send window, as the peer last advertised it: one sample of each established TCP connection in each walk.",
    unit="By",
    bounds="send_window_bytes",
    in_kernel=False,
)
DNS_RESULTS = ("read", "cut", "unreadable")
DNS_NAMES_ANSWERS = Counter(
    "dns_names.answers",
    "Answers of the DNS that watched workloads got over UDP: read, cut (what was beyond their first 1,232 bytes is not "
    "known), unreadable (no answer with addresses: none such, or damaged).",
    unit="{answer}",
    labels=("result",),
    values=(DNS_RESULTS,),
)
DNS_NAMES_FORGOTTEN = Counter(
    "dns_names.forgotten",
    "Addresses whose names were forgotten before their time, because the workload, or all of them, had asked for more "
    "than there is room for.",
    unit="{address}",
)

CONTAINER_INFO = Info(
    "container", "What is known of a container; the image as its specification names it.", labels=("node", "image")
)

SERVICE_BACKEND_INFO = Info(
    "service.backend",
    "Which pods of this node stand behind a Service: its peer labels and port, and the pod's name and port.",
    labels=("peer_namespace", "peer_name", "transport", "port", "backend_pod", "backend_port"),
    scope=Scope.AGENT,
)
COLLECTOR_UP = Gauge(
    "collector.up", "1 if the collector counts, 0 if it is off.", labels=("collector",), scope=Scope.AGENT
)
COLLECTOR_INFO = Info(
    "collector",
    "The hooks in use, or the reason why the collector is off.",
    labels=("collector", "hook", "reason"),
    scope=Scope.AGENT,
)
SINK_UP = Gauge("sink.up", "1 if the sink is there, 0 if it is off.", labels=("sink",), scope=Scope.AGENT)
SINK_INFO = Info("sink", "The reason why the sink is off.", labels=("sink", "reason"), scope=Scope.AGENT)
SEEN = Counter("seen", "What entered a channel: seen = delivered + lost.", labels=("channel",), scope=Scope.AGENT)
DELIVERED = Counter("delivered", "What left a channel and was counted.", labels=("channel",), scope=Scope.AGENT)
LOST = Counter(
    "lost",
    "What is known not to have been counted, or not under its own labels.",
    labels=("channel", "reason"),
    scope=Scope.AGENT,
)
EVENTS = Counter(
    "events",
    "Events that collectors told of, by name: passed to the sinks, or why not.",
    labels=("event", "outcome"),
    scope=Scope.AGENT,
)
SINK_EVENTS = Counter(
    "sink.events",
    "What became at a sink of the events passed to it: their sum, once none waits, is what was passed.",
    labels=("sink", "event", "outcome"),
    scope=Scope.AGENT,
)
SINK_WRITES = Counter(
    "sink.writes",
    "Attempts of a sink to send events: done, postponed (the other end is away or busy, they are offered again), lost "
    "(at least one of them).",
    labels=("sink", "outcome"),
    scope=Scope.AGENT,
)
EVENTS_WAITING = Gauge(
    "events.waiting",
    "Events that wait: for their owner's name (stage owner), or in a sink's queue (stage is the sink's name).",
    labels=("stage",),
    scope=Scope.AGENT,
)
REQUEST_LOG_REFUSED = Gauge(
    "request_log.annotations.refused",
    "Annotations of namespaces about the request log that cannot be read, or whose end is too far away; the log names "
    "them.",
    scope=Scope.AGENT,
)
REQUEST_LOG_OPENED = Gauge(
    "request_log.opened",
    "Namespaces of whose requests more than by default is recorded now: queries or paths.",
    labels=("what",),
    scope=Scope.AGENT,
)
SECURITY_RULES = Gauge("security.rules", "Rules of the security policies in force.", scope=Scope.AGENT)
SECURITY_POLICIES_RELOAD_SUCCESSFUL = Gauge(
    "security.policies.last_reload.successful",
    "1 if the security policies in force are those of the files, 0 if these were refused and the last good ones are.",
    scope=Scope.AGENT,
)
DRAIN_FAILURES = Counter(
    "drain.failures",
    "Steps of a drain that failed: a collector's by its name, identity, orders, totals, events, report. The other "
    "steps went on.",
    labels=("step",),
    scope=Scope.AGENT,
)
PROGRAM_RUNS = Counter(
    "program.runs", "Runs of a BPF program, counted by the program itself.", labels=("program",), scope=Scope.AGENT
)
PROGRAM_RUN_TIME = Counter(
    "program.run",
    "Run time of a BPF program, timed in one run of 1,024 and scaled.",
    unit="s",
    labels=("program",),
    scope=Scope.AGENT,
)
MAP_ENTRIES = Gauge("map.entries", "Rows in a BPF map at the last drain.", labels=("map",), scope=Scope.AGENT)
MAP_CAPACITY = Gauge("map.capacity", "Rows that a BPF map can hold.", labels=("map",), scope=Scope.AGENT)
MAP_BYTES = Gauge(
    "map", "Kernel memory of a BPF map, as the kernel accounts it.", unit="By", labels=("map",), scope=Scope.AGENT
)
SERIES = Gauge(
    "series",
    "Series by state: exposed, withheld (shown as 0 until scraped once), other (what exceeded the budget).",
    labels=("state",),
    scope=Scope.AGENT,
)
CONFIG_RELOAD_SUCCESSFUL = Gauge(
    "config.last_reload.successful",
    "1 if the last reading of the settings was applied, 0 if it was refused and the last good ones are in force.",
    scope=Scope.AGENT,
)
CONFIG_RELOAD_TIME = Gauge(
    "config.last_reload.success.timestamp",
    "When settings were last read and applied, in Unix time.",
    unit="s",
    scope=Scope.AGENT,
)
CONFIG_RESTART_REQUIRED = Gauge(
    "config.restart_required", "Settings that differ from those in force and wait for a restart.", scope=Scope.AGENT
)
CREDENTIALS_RELOAD_SUCCESSFUL = Gauge(
    "server.credentials.last_reload.successful",
    "1 if the server's certificate or token is what its file has, 0 if that cannot be used and the last good one is.",
    labels=("credential",),
    scope=Scope.AGENT,
)
BUILD_INFO = Info(
    "build",
    "Version of the agent, of the kernel and of the header source.",
    labels=("version", "kernel", "headers"),
    scope=Scope.AGENT,
)

ALL: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
