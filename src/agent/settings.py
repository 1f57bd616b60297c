"""Which settings there are: defaults, help, what is allowed, and which combinations make no sense.

Declared once. Where values come from (file < environment < flags) is configuration.py's business; the JSON Schema made
here feeds the chart and editors, docs.py makes docs/configuration.md from the same declarations.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from agent import networks
from agent.options import Entries, Leaf, PluginOptions, Value, setting
from agent.requests import wishes
from agent.security.orders import WATCH
from agent.sinks.facilities import FACILITIES
from bpfleet.bounds import REQUEST_SECONDS
from bpfleet.events import HTTP_REQUEST, SECURITY

MAX_ROWS = 4_194_304
"""A flow row takes about 250 bytes of kernel memory: more rows than this is a typing error."""

MAX_SERIES = 10_000_000
SECONDS_A_DAY = 86_400.0
RTT = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025),
    *(0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5),
)
CONNECT = (*RTT, 5.0, 10.0, 30.0, 60.0)
LIFETIME = (
    *(0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0),
)
CONGESTION_WINDOW = (1.0, 2.0, 4.0, 8.0, 10.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0)
"""10 is what a connection begins with (RFC 6928)."""

WINDOW = (0.0, 4096.0, 16384.0, *(float(1 << bits) for bits in range(15, 25)))
"""A window of 0 stops the other side."""

BODY = (0.0, *(float(1 << bits) for bits in range(8, 31, 2)))
"""No body at all; then from less than a packet to 1 GiB, each four times the one before: sizes range over more powers
of ten than times do, and twelve bounds tell an API's answers from pages, images and downloads."""

_NAMESPACE = r"[a-z0-9_][a-z0-9-]{0,62}"
_UNTIL = rf"{_NAMESPACE}=[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt][0-9:.]{{5,18}}([Zz]|[+-][0-9]{{2}}:[0-9]{{2}})"
_PART = r"\*|\{[A-Za-z0-9_.-]+\}|[A-Za-z0-9._~:@!$'()+-]+"

_rows = partial(setting, minimum=16, maximum=MAX_ROWS)
_series = partial(setting, live=True, minimum=1000, maximum=MAX_SERIES)
_seconds = partial(setting, live=True, minimum=0.1, maximum=SECONDS_A_DAY)
_bounds = partial(setting, minimum=1e-6, maximum=30 * SECONDS_A_DAY)
_windows = partial(setting, minimum=0.0, maximum=float(1 << 30))
_path = partial(setting, pattern=r"(/[^\x00-\x1f]*)?", allowed="an absolute path, or empty")
_output = partial(setting, pattern=r"-|(/[^\x00-\x1f]*)?", allowed="-, an absolute path, or empty")


@dataclass(frozen=True)
class Limits:
    """What the agent may use at most. What exceeds it loses its peer or its name, and only where that finds no room
    either its count; `bpfleet_lost_total` tells each of them."""

    flows: int = _rows(32_768, "Rows of each flow map in the kernel: workload, peer and service port in one window.")
    cgroups: int = _rows(4_096, "Rows of each per-workload map in the kernel: cgroups alive on the node.")
    http_rows: int = _rows(8_192, "Rows of HTTP in the kernel: workload, side, method and status.")
    http_flows: int = _rows(8_192, "Rows of HTTP by peer in the kernel: workload, peer and service port.")
    series: int = _series(60_000, "Series of workloads on the page in all.")
    series_per_metric: int = _series(20_000, "Series of one metric.")
    events_per_second: int = setting(
        10_000,
        "Events of each collector; in one moment as many as in a second. Those beyond are dropped and counted. Of "
        "cgroups that tell of less than a hundredth each there may be as many again: no flood takes others' place.",
        minimum=1,
        maximum=1_000_000,
    )
    sockets: int = _rows(
        100_000, "Rows that a walk over the node's sockets reads: a socket held by two processes takes two."
    )


@dataclass(frozen=True)
class Histograms:
    """Bucket bounds, in the unit that the name ends in. Every value is counted into these very bounds, so a threshold
    that is a bound is exact."""

    rtt_seconds: tuple[float, ...] = _bounds(RTT, "Bounds of the round-trip time.")
    connect_seconds: tuple[float, ...] = _bounds(CONNECT, "Bounds of the time that connecting takes.")
    lifetime_seconds: tuple[float, ...] = _bounds(LIFETIME, "Bounds of the life time of connections.")
    request_seconds: tuple[float, ...] = _bounds(REQUEST_SECONDS, "Bounds of an HTTP request's time.")
    body_bytes: tuple[float, ...] = _windows(BODY, "Bounds of the sizes of HTTP bodies.")
    congestion_window_segments: tuple[float, ...] = _windows(CONGESTION_WINDOW, "Bounds of the congestion window.")
    receive_window_bytes: tuple[float, ...] = _windows(WINDOW, "Bounds of the receive window.")
    send_window_bytes: tuple[float, ...] = _windows(WINDOW, "Bounds of the send window.")


@dataclass(frozen=True)
class Sockets:
    """The collector `sockets`, where it is on."""

    interval_seconds: float = setting(
        15.0,
        "How often the node's sockets are walked, for one sample of each connection.",
        live=True,
        minimum=0.1,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class Requests:
    """The request log: which requests are told of one by one, and what of them."""

    log: str = setting(
        "off",
        "Which requests are told one by one: none, errors and slow ones, one in so many, all. Anything but off at the "
        "start switches the collector `http_log` on.",
        live=True,
        choices=wishes.MODES,
    )
    slow_seconds: float = setting(
        1.0,
        "From this duration on a request is told like an error.",
        live=True,
        minimum=0.0001,
        maximum=wishes.MAX_SLOW_SECONDS,
    )
    one_in: int = setting(
        100,
        "One request in so many of each workload, where they are sampled.",
        live=True,
        minimum=1,
        maximum=wishes.MAX_ONE_IN,
    )
    per_second: int = setting(
        1_000,
        "Requests of each workload that are told in a second at most. Those beyond are dropped and counted.",
        live=True,
        minimum=1,
        maximum=1_000_000,
    )
    namespaces: tuple[str, ...] = setting(
        (),
        "Namespaces with another log: shop=errors, lab=sampled/10. `_host` is what runs outside Kubernetes.",
        live=True,
        optional=True,
        pattern=rf"{_NAMESPACE}=(off|errors|all|sampled(/[1-9][0-9]{{0,5}})?)",
        allowed="NAMESPACE=off, =errors, =sampled, =sampled/N or =all",
    )
    queries: tuple[str, ...] = setting(
        (),
        "Namespaces whose query strings are recorded, redacted, until then, a week ahead at most: "
        "shop=2026-11-28T17:00:00Z.",
        live=True,
        optional=True,
        pattern=_UNTIL,
        allowed="NAMESPACE=RFC 3339 time",
    )
    paths: tuple[str, ...] = setting(
        (),
        "Namespaces whose paths are recorded as they were sent, redacted, until then.",
        live=True,
        optional=True,
        pattern=_UNTIL,
        allowed="NAMESPACE=RFC 3339 time",
    )
    annotations: str = setting(
        "on",
        "Follow the annotations of Kubernetes namespaces (bpfleet.io/request-log...); takes a watch on them where "
        "a collector tells of requests.",
        choices=("on", "off"),
    )
    routes: str = setting(
        "off",
        "Durations by route (`bpfleet_http_route_duration_seconds`), of namespaces whose log is `all`.",
        choices=("off", "on"),
    )
    patterns: tuple[str, ...] = setting(
        (),
        "Routes that are known, by namespace or * for all: shop=/users/{user}/orders/{order}; /* at the end is any "
        "rest.",
        live=True,
        optional=True,
        pattern=rf"(\*|{_NAMESPACE})=(/({_PART})?)*",
        allowed="NAMESPACE=/path with names in braces",
    )
    routes_per_workload: int = setting(
        100, "Routes of one workload; the others are `other`.", live=True, minimum=1, maximum=10_000
    )

    @property
    def logs(self) -> bool:
        """Whether some request is to be told of by the settings alone."""
        return self.log != "off" or any(not asked.endswith("=off") for asked in self.namespaces)


@dataclass(frozen=True)
class Security:
    """Security events: who is watched, by which policies, and how much of it is told. Only the collectors `exec`,
    `file_open`, `chmod`, `ptrace` and `egress` tell of any, and none of them runs unless asked for."""

    watch: str = setting(
        "annotated",
        'Who is watched: the namespaces and pods with the annotation bpfleet.io/security: "on", everything (also what '
        "runs outside Kubernetes), or nobody. Annotations of namespaces are followed where one of the collectors is on "
        "at the start.",
        live=True,
        choices=WATCH,
    )
    policies: str = _path("", "Directory of the policies, followed while the agent runs; empty takes the shipped ones.")
    per_second: int = setting(
        100,
        "Events of each collector that the kernel tells of one cgroup in a second; those beyond are counted.",
        live=True,
        minimum=1,
        maximum=1_000_000,
    )
    burst: int = setting(
        500, "Events that the kernel tells of one cgroup in one moment.", live=True, minimum=1, maximum=1_000_000
    )
    rule_per_second: float = setting(
        5.0,
        "Events of one rule and workload that leave the node in a second; those beyond are counted.",
        live=True,
        minimum=0.001,
        maximum=1_000_000.0,
    )
    rule_burst: int = setting(
        50, "Events of one rule and workload that leave in one moment.", live=True, minimum=1, maximum=1_000_000
    )
    fold_seconds: float = setting(
        60.0,
        "For so long the repeats of an event (same rule, pod, program and object) are folded into one that tells how "
        "many there were; 0 tells each.",
        live=True,
        minimum=0.0,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class Identity:
    """How cgroups and addresses get names."""

    kubernetes: str = setting(
        "auto",
        "Watch the Kubernetes API: auto does so inside a pod or with a kubeconfig.",
        choices=("auto", "on", "off"),
    )
    kubeconfig: str = _path("", "Credentials for the API where the pod's own are not used.")
    static_file: str = _path(
        "", "YAML file that names cgroups by path, for hosts and tests. A reload reads it again.", live=True
    )
    docker: str = setting(
        "auto",
        "Ask Docker for names of containers outside Kubernetes: its files, else its socket, which is as good as root.",
        choices=("auto", "off"),
    )
    zone: str = setting(
        "",
        "Zone of this node; empty takes the node's label topology.kubernetes.io/zone.",
        pattern=f"({networks.WORD})?",
        allowed="the value of a Kubernetes label, or empty",
    )
    external: tuple[str, ...] = setting(
        (),
        "Names of networks outside, for peers that are nothing else; of several the longest prefix counts.",
        live=True,
        pattern=networks.TEXT,
        allowed=networks.ALLOWED,
        entries=networks.ENTRIES,
    )
    keep_seconds: float = _seconds(300.0, "How long a name outlives its pod, so that what is read late is still named.")


@dataclass(frozen=True)
class Server:
    """Who may read the pages, and over what. The files are read again when they change."""

    certificate_file: str = _path("", "PEM file of the server's certificate and its chain: serves HTTPS only.")
    key_file: str = _path("", "PEM file of the certificate's private key, without a password.")
    token_file: str = _path(
        "", "File of the bearer token that /metrics, /requests and /status ask for; the probes stay open."
    )


@dataclass(frozen=True)
class Kernel:
    """How the programs are built and loaded."""

    python: str = setting(
        "/usr/bin/python3",
        "The distribution's Python, which has BCC.",
        pattern=r"/[^\x00-\x1f]+",
        allowed="an absolute path",
    )
    headers: str = setting(
        "auto",
        "Kernel types to compile against: BTF first, or BTF only, or a header tree; one of another kernel serves "
        "`traffic` only.",
        pattern=r"auto|btf|/[^\x00-\x1f]+",
        allowed="auto, btf or an absolute path",
    )
    cache: str = _path(
        "",
        "Directory that keeps compiled programs and their header tree between starts, this user's own and writable for "
        "nobody else; empty compiles each time.",
    )
    cgroup_root: str = _path("", "Mount point of cgroup v2; empty finds it.")


@dataclass(frozen=True)
class Jsonl:
    """Events as JSON Lines."""

    path: str = _output(
        "-", "Where events are appended, a line of JSON each: a file, - for standard output, empty for nowhere."
    )


@dataclass(frozen=True)
class File:
    """Events as JSON Lines in a file that is rotated."""

    path: str = _path("", "Where events are appended, a line of JSON each; empty for nowhere.")
    max_bytes: int = setting(
        100_000_000, "Size of a file at most; then it is renamed to `.1`.", minimum=10_000, maximum=1_000_000_000_000
    )
    files: int = setting(4, "Older files that are kept beside it.", minimum=1, maximum=1000)


_sending_seconds = partial(setting, minimum=0.1, maximum=600.0)
_retry_seconds = partial(setting, minimum=0.0, maximum=SECONDS_A_DAY)
HOST = r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])"
PORT = r"(:\d{1,5})?"


@dataclass(frozen=True)
class Otlp:
    """Events as OpenTelemetry logs."""

    endpoint: str = setting(
        "",
        "Where events are sent, empty for nowhere. Without a port 4318, or 4317 for gRPC. Over HTTP `/v1/logs` is "
        "added to the path.",
        pattern=rf"(https?://{HOST}{PORT}(/[!-~]*)?)?",
        allowed="http://HOST:PORT, https://HOST:PORT (with a path for http/protobuf), or empty; no user or password",
    )
    protocol: str = setting(
        "http/protobuf",
        "How it is sent; gRPC takes 16 MiB more of the agent's memory.",
        choices=("grpc", "http/protobuf"),
    )
    compression: str = setting("gzip", "How requests are compressed.", choices=("gzip", "none"))
    ca_file: str = _path("", "PEM file of the certificates to trust; empty trusts the system's.")
    certificate_file: str = _path("", "PEM file of a certificate and its chain to show.")
    key_file: str = _path("", "PEM file of the certificate's private key, without a password.")
    token_file: str = _path("", "File of a bearer token to send.")
    plain_token: str = setting(
        "loopback",
        "Where a token may go without TLS: to this machine only, or anywhere.",
        choices=("loopback", "anywhere"),
    )
    batch_events: int = setting(512, "Events of a request at most.", minimum=1, maximum=10_000)
    batch_seconds: float = setting(1.0, "How long an event waits for others at most.", minimum=0.0, maximum=60.0)
    timeout_seconds: float = _sending_seconds(10.0, "How long a request may take, from connecting to its answer.")
    retry_seconds: float = _retry_seconds(
        300.0, "How long the same events are offered to a server that is away or busy."
    )


@dataclass(frozen=True)
class Syslog:
    """Events as syslog messages (RFC 5424)."""

    address: str = setting(
        "",
        "Where events are sent, empty for nowhere. Without a port 514, or 6514 for TLS.",
        pattern=rf"((tcp|tls)://{HOST}{PORT})?",
        allowed="tcp://HOST:PORT, tls://HOST:PORT, or empty",
    )
    ca_file: str = _path("", "PEM file of the certificates to trust; empty trusts the system's.")
    certificate_file: str = _path("", "PEM file of a certificate and its chain to show.")
    key_file: str = _path("", "PEM file of the certificate's private key, without a password.")
    facility: str = setting("local0", "Facility of the messages.", choices=FACILITIES)
    structured_data_id: str = setting(
        "bpfleet@32473",
        "SD-ID of the structured data: a name and an enterprise number of yours (32473 is the one for examples).",
        pattern=r"[!#-<>-?A-Z\[^-~]{1,20}@\d{1,10}(\.\d{1,10})*",
        allowed="NAME@NUMBER",
    )
    max_bytes: int = setting(
        8192, "Length of a message at most; longer values are cut.", minimum=2048, maximum=1_048_576
    )
    timeout_seconds: float = _sending_seconds(
        10.0, "How long a batch may take, from connecting to its acknowledgement."
    )
    retry_seconds: float = _retry_seconds(300.0, "How long the same events are offered to a server that is away.")


@dataclass(frozen=True)
class Sinks:
    """Where events go. Only some collectors tell of events, and none of the default set."""

    jsonl: Jsonl = Jsonl()
    file: File = File()
    otlp: Otlp = Otlp()
    syslog: Syslog = Syslog()


@dataclass(frozen=True)
class Plugins:
    """Collectors and sinks that are not ours, besides those of installed packages."""

    dir: str = _path(
        "",
        "Directory of plugins: *.py, each with its *.bpf.c beside it. What others than root and the agent's user can "
        "write is not loaded.",
    )
    options: PluginOptions = setting(
        PluginOptions(),
        "What each plugin is given; it says itself what it takes (`bpfleet collector list`).",
        allowed="a mapping of plugins to mappings of their options: {name: {option: value}}",
    )


@dataclass(frozen=True)
class Settings:
    """All settings of the agent."""

    listen: str = setting(
        "127.0.0.1:9436",
        "Address of /metrics, /healthz, /readyz, /requests and /status. Port 0 takes a free one.",
        pattern=r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}",
        allowed="HOST:PORT, 0.0.0.0:PORT for every address, [HOST]:PORT for IPv6",
    )
    collectors: tuple[str, ...] = setting(
        (),
        "Collectors that run: a list of names, or changes to the default set: +name adds, -name takes away. A reload "
        "switches those that share no program; for the others it takes a restart.",
        live=True,
        pattern=r"[+-]?[a-z][a-z0-9_]*",
        allowed="names (a, b) or changes (+a, -b)",
    )
    node_name: str = setting(
        "",
        "Name of this node in Kubernetes; empty takes the host's name.",
        pattern=r"[A-Za-z0-9._-]{0,253}",
        allowed="a host name, or empty",
    )
    log_level: str = setting("info", "What is logged.", live=True, choices=("debug", "info", "warning", "error"))
    drain_interval_seconds: float = setting(
        5.0, "How often the kernel's maps are read.", live=True, minimum=0.1, maximum=300.0
    )
    scrape_interval_seconds: float = setting(
        15.0,
        "How often Prometheus scrapes: decides how long a new series shows 0 and an ended one stays.",
        live=True,
        minimum=0.1,
        maximum=3600.0,
    )
    flow_idle_seconds: float = _seconds(900.0, "A flow without traffic for so long loses its series.")
    limits: Limits = Limits()
    histograms: Histograms = Histograms()
    sockets: Sockets = Sockets()
    requests: Requests = Requests()
    security: Security = Security()
    identity: Identity = Identity()
    server: Server = Server()
    kernel: Kernel = Kernel()
    sinks: Sinks = Sinks()
    plugins: Plugins = Plugins()

    def runs(self, collector: str) -> bool:
        """Whether it is asked for, by its name or by what it is for."""
        wanted = {"http_log": self.requests.logs, "dns_names": "egress" in self.collectors}
        return collector in self.collectors or wanted.get(collector, False)

    def asks_namespaces(self, events: Collection[str]) -> bool:
        """Whether somebody who tells of these events may heed what namespaces are annotated with: `security.watch` is
        another one after a reload."""
        is_logged = HTTP_REQUEST in events and self.requests.annotations == "on"
        return is_logged or not set(SECURITY).isdisjoint(events)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


IDLE_SCRAPES = 4
"""A series shows 0 for 1.1 scrape intervals and its end for 2.1: a flow must not be forgotten before."""


class Clash(NamedTuple):
    """Settings that cannot be so together: `names` are those to blame, in the message's order."""

    names: tuple[str, ...]
    problem: str


def clashes(settings: Settings) -> Iterator[Clash]:
    """Every impossible combination, each as a sentence whose {0}, {1} stand for the settings with their values."""
    if settings.address[1] > 65535:
        yield Clash(("listen",), "{0} has a port above 65535")
    if settings.limits.series_per_metric > settings.limits.series:
        yield Clash(("limits.series_per_metric", "limits.series"), "{0} is more than {1}")
    if settings.drain_interval_seconds > settings.scrape_interval_seconds:
        yield Clash(
            ("drain_interval_seconds", "scrape_interval_seconds"), "{0} is longer than {1}: scrapes would repeat"
        )
    if "sockets" in settings.collectors and settings.sockets.interval_seconds < settings.drain_interval_seconds:
        yield Clash(
            ("sockets.interval_seconds", "drain_interval_seconds"),
            "{0} is shorter than {1}: sockets are walked at a drain",
        )
    if settings.runs("http_log") and "http" not in settings.collectors:
        names = ("collectors",) if settings.requests.log == "off" else ("requests.log", "collectors")
        yield Clash(names, "{0} logs requests, which takes the collector http" + " in {1}" * (len(names) - 1))
    if "http_bodies" in settings.collectors and "http" not in settings.collectors:
        yield Clash(("collectors",), "{0} measures bodies of HTTP, which takes the collector http")
    if settings.identity.keep_seconds < settings.drain_interval_seconds:
        yield Clash(
            ("identity.keep_seconds", "drain_interval_seconds"),
            "{0} is shorter than {1}: a pod's last counts had no name",
        )
    if settings.flow_idle_seconds < IDLE_SCRAPES * settings.scrape_interval_seconds:
        yield Clash(
            ("flow_idle_seconds", "scrape_interval_seconds"),
            f"{{0}} is less than {IDLE_SCRAPES} times {{1}}: flows would go before they are scraped",
        )
    if settings.identity.kubernetes == "off" and settings.identity.kubeconfig:
        yield Clash(("identity.kubeconfig", "identity.kubernetes"), "{0} has no use with {1}")
    asked = settings.requests
    for name, read in (
        ("queries", lambda: [wishes.moment(text.partition("=")[2]) for text in asked.queries]),
        ("paths", lambda: [wishes.moment(text.partition("=")[2]) for text in asked.paths]),
        ("patterns", lambda: wishes.patterns(asked.patterns)),
    ):
        try:
            read()
        except ValueError as error:
            problem = str(error).replace("{", "{{").replace("}", "}}")
            yield Clash((f"requests.{name}",), f"{{0}}: {problem}")
    if bool(settings.server.certificate_file) != bool(settings.server.key_file):
        yield Clash(("server.certificate_file", "server.key_file"), "{0} and {1} go together: both, or none")
    yield from _sink_clashes(settings.sinks)


def _sink_clashes(sinks: Sinks) -> Iterator[Clash]:
    otlp, syslog = urlsplit(sinks.otlp.endpoint), urlsplit(sinks.syslog.address)
    destinations: tuple[tuple[str, str, SplitResult, Otlp | Syslog], ...] = (
        ("otlp", "endpoint", otlp, sinks.otlp),
        ("syslog", "address", syslog, sinks.syslog),
    )
    for name, address, url, section in destinations:
        where = f"sinks.{name}.{address}"
        if url.netloc and int(url.netloc.rpartition("]")[2].partition(":")[2] or 1) not in range(1, 65536):
            yield Clash((where,), "{0} has a port that there is none")
        if bool(section.certificate_file) != bool(section.key_file):
            pair = (f"sinks.{name}.certificate_file", f"sinks.{name}.key_file")
            yield Clash(pair, "{0} and {1} go together: both, or none")
        for file in ("ca_file", "certificate_file"):
            if getattr(section, file) and url.scheme in ("", "http", "tcp"):
                yield Clash((f"sinks.{name}.{file}", where), "{0} has no use with {1}: it is not TLS")
    if sinks.otlp.token_file and not otlp.scheme:
        yield Clash(("sinks.otlp.token_file", "sinks.otlp.endpoint"), "{0} has no use with {1}")
    if sinks.otlp.token_file and otlp.scheme == "http" and sinks.otlp.plain_token != "anywhere":
        if not is_loopback(otlp.hostname or ""):
            yield Clash(
                ("sinks.otlp.token_file", "sinks.otlp.endpoint"),
                "{0} would be sent in plain text to {1}: use https, or allow it (sinks.otlp.plain_token: anywhere)",
            )
    if sinks.otlp.protocol == "grpc" and otlp.path.strip("/"):
        yield Clash(("sinks.otlp.endpoint", "sinks.otlp.protocol"), "{0} has a path, which {1} does not know")
    if "?" in sinks.otlp.endpoint or "#" in sinks.otlp.endpoint:
        yield Clash(("sinks.otlp.endpoint",), "{0} has more than a path")
    if sinks.file.path and sinks.file.path == sinks.jsonl.path:
        yield Clash(("sinks.file.path", "sinks.jsonl.path"), "{0} is the same file as {1}")


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def leaves(section: type[Any] = Settings, path: tuple[str, ...] = ()) -> Iterator[Leaf]:
    """Every setting in the order of declaration, sections after the plain ones of their level."""
    for each in fields(section):
        if is_dataclass(each.default):
            yield from leaves(type(each.default), (*path, each.name))
        else:
            default: Any = each.default
            yield Leaf((*path, each.name), each.metadata["option"], default)


def build(values: dict[str, Value]) -> Settings:
    """Settings from values by name (`limits.flows`); the default where a name is absent."""

    def section(kind: type[Any], prefix: str) -> Any:
        given = {}
        for each in fields(kind):
            if is_dataclass(each.default):
                given[each.name] = section(type(each.default), f"{prefix}{each.name}.")
            else:
                given[each.name] = values.get(prefix + each.name, each.default)
        return kind(**given)

    built: Settings = section(Settings, "")
    return built


def get(settings: Settings, leaf: Leaf) -> Value:
    """The value of one setting."""
    value: Any = settings
    for name in leaf.path:
        value = getattr(value, name)
    found: Value = value
    return found


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the settings file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bpfleet agent settings",
        **_section_schema(Settings),
    }


def _section_schema(section: type[Any]) -> dict[str, Any]:
    own = {leaf.path[0]: _leaf_schema(leaf) for leaf in leaves(section) if len(leaf.path) == 1}
    nested = {each.name: _section_schema(type(each.default)) for each in fields(section) if is_dataclass(each.default)}
    return {
        "description": section.__doc__,
        "type": "object",
        "additionalProperties": False,
        "properties": {**own, **nested},
    }


def _entry_schema(entries: Entries) -> dict[str, Any]:
    text = {"type": "string"}
    keys = {
        key: {"type": "array", "items": text, "minItems": 1} if many else text for key, many in entries.keys.items()
    }
    return {"type": "object", "additionalProperties": False, "properties": keys, "required": list(entries.needed)}


def _leaf_schema(leaf: Leaf) -> dict[str, Any]:
    option = leaf.option
    if isinstance(leaf.default, PluginOptions):
        one = {"type": "object", "additionalProperties": {"type": ["boolean", "number", "string", "array"]}}
        return {"description": option.help, "type": "object", "additionalProperties": one, "default": {}}
    types = {"text": "string", "names": "string", "integer": "integer", "number": "number", "numbers": "number"}
    value: dict[str, Any] = {"type": types[leaf.kind]}
    if option.choices:
        value["enum"] = list(option.choices)
    if option.pattern:
        value["pattern"] = f"^({option.pattern})$"
    if option.minimum is not None and option.maximum is not None:
        value |= {"minimum": option.minimum, "maximum": option.maximum}
    if not isinstance(leaf.default, tuple):
        return {"description": option.help, **value, "default": leaf.default}
    fewest, most = int(not option.optional), option.most
    if option.entries:
        value, fewest, most = {"anyOf": [value, _entry_schema(option.entries)]}, 0, option.entries.most
    made = {"description": option.help, "type": "array", "items": value, "minItems": fewest, "maxItems": most}
    return made | ({"default": list(leaf.default)} if leaf.default else {})
