"""May this request be told of, and what of it? Between the router, which knows whose it is, and the sinks.

What a collector tells holds the target as it was sent and the Host field's value; what leaves here has neither.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from agent.events import redaction
from agent.identity import model
from agent.protocols import http1
from agent.protocols.routes import Routes
from agent.requests import wishes
from agent.requests.policy import Policies, Policy
from agent.requests.wishes import Settings
from bpfleet import catalogue, names
from bpfleet.events import Attribute, Record
from bpfleet.metrics import Sample

METHOD, METHOD_ORIGINAL = "http.request.method", "http.request.method_original"
UNKNOWN_METHOD = "_OTHER"
STATUS, ERROR = "http.response.status_code", "error.type"
PATH, QUERY, ROUTE = "url.path", "url.query", "http.route"
HOST, PORT = "server.address", "server.port"
VERSION = "network.protocol.version"
DURATION = "bpfleet.duration"
ROLE, SERVER = "bpfleet.http.role", "server"

POLICY = "policy"
"""The reason for which a request is not told of: its namespace does not want it."""

_NAMESPACE, _WORKLOAD = names.IDENTITY.index("namespace"), names.IDENTITY.index("workload")
_VERSION = re.compile(r"[0-9]\.[0-9]")


class Durations(Protocol):
    """Where the durations of what servers answered go, by route (agent.requests.durations)."""

    def take(self, cgroup_id: int, method: str, status: str, route: str, seconds: float) -> None: ...

    def samples(self) -> Iterator[Sample]: ...


class RequestStage:
    """See agent.events.routing.Stage. durations: told of the requests of namespaces that record all, None for none."""

    reasons = (POLICY,)

    def __init__(self, policies: Policies, routes: Routes, durations: Durations | None = None) -> None:
        self.policies, self.routes, self.durations = policies, routes, durations

    def adjust(self, settings: Settings) -> None:
        """As when it was made, by settings that clash with nothing."""
        self.policies.adjust(settings)
        self.routes.adjust(wishes.patterns(settings.patterns), settings.routes_per_workload)

    def begin(self) -> None:
        self.policies.refresh()

    def __call__(self, record: Record, labels: tuple[str, ...], cgroup_id: int = 0) -> Record | str:
        """The record as it may leave, or the reason why it does not."""
        policy = self.policies.of(labels[_NAMESPACE])
        if not _is_wanted(policy, record):
            return POLICY
        attributes = self._attributes(policy, record, labels)
        if self.durations and policy.mode == "all":
            self._time(self.durations, attributes, cgroup_id)
        return record._replace(attributes=attributes)

    def _attributes(self, policy: Policy, record: Record, labels: tuple[str, ...]) -> dict[str, Attribute]:
        told = dict(record.attributes)
        version = str(told.pop(VERSION, ""))
        if _VERSION.fullmatch(version):
            told[VERSION] = version
        original = told.pop(METHOD_ORIGINAL, None)
        if told.setdefault(METHOD, UNKNOWN_METHOD) not in catalogue.HTTP_METHODS:
            original, told[METHOD] = original or told[METHOD], UNKNOWN_METHOD
        if original is not None and told[METHOD] == UNKNOWN_METHOD:
            told[METHOD_ORIGINAL] = redaction.method(str(original))
        sent, authority = str(told.pop(PATH, "")), str(told.pop(HOST, ""))
        target = http1.split_target(str(told[METHOD]), sent)
        is_cut = not version or len(sent) >= model.MAX_LABEL
        is_open = is_cut and (sent == target.authority or sent.endswith("//" + target.authority))
        told.update(_server(authority if is_open else target.authority or authority))  # it may end within a password
        if target.path:
            told.update(self._url(policy, target, labels, is_cut))
        return told

    def _url(self, policy: Policy, target: http1.Target, labels: tuple[str, ...], is_cut: bool) -> dict[str, Attribute]:
        """is_cut: the target's end is missing."""
        namespace, workload = labels[_NAMESPACE], labels[_WORKLOAD]
        is_path_cut = is_cut and not target.has_query
        template = self.routes.template(namespace, target.path, is_path_cut)
        path = redaction.path(target.path, is_path_cut) if policy.raw_paths else template
        told: dict[str, Attribute] = {PATH: path, ROUTE: self.routes.bounded(namespace, workload, template)}
        if policy.queries and target.query:
            told[QUERY] = redaction.query(target.query, is_cut)
        return told

    def _time(self, durations: Durations, told: dict[str, Attribute], cgroup_id: int) -> None:
        route, seconds = told.get(ROUTE), told.get(DURATION)
        if route and told.get(ROLE) == SERVER and isinstance(seconds, int | float):
            durations.take(cgroup_id, str(told.get(METHOD, "")), str(told.get(STATUS, "")), str(route), float(seconds))


def _is_wanted(policy: Policy, record: Record) -> bool:
    """By the namespace's wish of now: the kernel has chosen already, by that of a moment ago. Samples it has taken: to
    take some of them again would leave one in N times N."""
    if policy.mode == "errors":
        return ERROR in record.attributes or _seconds(record) >= policy.slow_seconds
    return policy.mode != "off"


def _server(authority: str) -> dict[str, Attribute]:
    if not authority:
        return {}
    host, port = redaction.host(authority)
    told: dict[str, Attribute] = {HOST: host} if host else {}
    return told | ({PORT: port} if port is not None else {})


def _seconds(record: Record) -> float:
    seconds = record.attributes.get(DURATION, 0.0)
    return float(seconds) if isinstance(seconds, int | float) else 0.0
