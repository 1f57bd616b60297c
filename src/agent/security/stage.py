"""May this event be told, and as what? Between the router, which knows whose it is, and the sinks.

    seen = passed + unwatched + unmatched + folded + suppressed (+ what waits to be folded)

What a policy says is looked up by the owner of now: the kernel has chosen already, by what was known a drain ago, and
tells of cgroups that nobody knew (orders.py). Every event that a rule matched is counted, also one that is folded or
suppressed, so that an alert sees it.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import Final, Protocol

from agent.events.limits import Limit
from agent.identity import addresses
from agent.identity.model import UNKNOWN, Owner
from agent.security import arguments
from agent.security.folding import Folding, Held
from agent.security.scopes import Found, Scopes
from bpfleet import names
from bpfleet.catalogue import SECURITY_EVENTS
from bpfleet.events import SECURITY_SEVERITY, Attribute, Record
from bpfleet.metrics import Sample
from bpfleet.policies import records
from bpfleet.policies.facts import Facts
from bpfleet.policies.fields import EGRESS, PTRACE
from bpfleet.policies.model import Rule

UNWATCHED, UNMATCHED, FOLDED, SUPPRESSED = "unwatched", "unmatched", "folded", "suppressed"

RULE, RULESET = "security_rule.name", "security_rule.ruleset.name"
"""https://opentelemetry.io/docs/specs/semconv/registry/attributes/security-rule/"""

ALSO: Final = "bpfleet.security.rules"
"""The other rules that fired, less severe or later in the files."""

COMMAND_LINE: Final = "process.command_line"
WHOLE_SIZE: Final = "bpfleet.process.arguments.size"
TARGET: Final = "bpfleet.ptrace.target."
RESOLVER, QUESTION = "bpfleet.dns.resolver", "dns.question.name"
IMAGE: Final = names.OPENTELEMETRY["image"]

MAX_LIMITS: Final = 4096
"""Buckets: 50 rules of 80 workloads, 1 MiB. Of those beyond, the one that was not asked for longest is forgotten, and
full when it is asked for again."""

MAX_COUNTED: Final = 8192
"""Rows of one drain: cgroup and rule. What finds no room counts for the cgroup that nobody knows."""

OTHERS: Final = 0

KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "exec": ("process.executable.path", "bpfleet.process.script"),
    "file_open": ("process.executable.path", "file.path", "bpfleet.file.is_write", "error.type"),
    "chmod": ("process.executable.path", "file.path", "file.mode", "error.type"),
    "ptrace": ("process.executable.path", "bpfleet.ptrace.request", f"{TARGET}name", f"{TARGET}pod", "error.type"),
    "egress": ("process.executable.path", "network.peer.address", "network.peer.port", "network.transport"),
}
"""What makes an event the same as another one of the same rule and pod."""

_NAMESPACE, _WORKLOAD, _KIND = (names.IDENTITY.index(label) for label in ("namespace", "workload", "workload_kind"))


class Settings(Protocol):
    """The settings' `security`."""

    @property
    def rule_per_second(self) -> float: ...
    @property
    def rule_burst(self) -> int: ...
    @property
    def fold_seconds(self) -> float: ...


class SecurityStage:
    """See agent.events.routing.Stage and Holding. clock: monotonic seconds."""

    reasons = (UNWATCHED, UNMATCHED, FOLDED, SUPPRESSED)

    def __init__(self, scopes: Scopes, settings: Settings, clock: Callable[[], float]) -> None:
        self._scopes, self._clock = scopes, clock
        self._folding = Folding(settings.fold_seconds)
        self._limits: OrderedDict[Hashable, Limit] = OrderedDict()
        self._per_second, self._burst = settings.rule_per_second, settings.rule_burst
        self._counts: dict[tuple[int, str, str], int] = {}
        self._now = clock()

    @property
    def waiting(self) -> int:
        return self._folding.waiting

    def adjust(self, settings: Settings) -> None:
        """As when it was made. What is held leaves when it would have."""
        self._folding.seconds = settings.fold_seconds
        if (self._per_second, self._burst) != (settings.rule_per_second, settings.rule_burst):
            self._per_second, self._burst = settings.rule_per_second, settings.rule_burst
            self._limits.clear()

    def begin(self) -> None:
        """The policies are followed by who steers the kernel with them, at the same drain."""
        self._now = self._clock()

    def due(self, is_end: bool) -> Iterable[Held]:
        return self._folding.due(self._now, is_end)

    def samples(self) -> Iterator[Sample]:
        """Events that matched since the last time."""
        counts, self._counts = self._counts, {}
        for (cgroup_id, rule, severity), count in counts.items():
            yield Sample(SECURITY_EVENTS, count, cgroup_id, (rule, severity))

    def __call__(self, record: Record, labels: tuple[str, ...], cgroup_id: int) -> Record | str | None:
        owner = self._owner(cgroup_id)
        found = self._scopes.of(owner)
        if not found.is_watched:
            return UNWATCHED
        attributes = self._known(record, owner)
        fired = found.scoped.fired(self._facts(record.name, attributes, found))
        if not fired:
            return UNMATCHED
        self._count(cgroup_id, fired)
        key = (labels, fired[0].policy, fired[0].name, *_same(record.name, attributes))
        if self._folding.is_open(key):
            told = partial(self._told, record, attributes, fired, found)
            return FOLDED if self._folding.fold(key, record.name, told) else None
        if not self._admits(labels, fired[0], record.time_ns):
            return SUPPRESSED
        self._folding.begin(key, self._now, labels)
        return self._told(record, attributes, fired, found)

    def _owner(self, cgroup_id: int) -> Owner:
        identity = self._scopes.identity
        return identity.owner(cgroup_id) or identity.final_owner(cgroup_id)

    def _facts(self, event: str, attributes: Mapping[str, Attribute], found: Found) -> Facts:
        services: frozenset[str] = frozenset()
        if event.endswith(EGRESS):
            address = addresses.parse(attributes.get("network.peer.address"))
            services = self._scopes.identity.services(address) if address else services
        return records.facts(event, attributes, found.owner, services)

    def _known(self, record: Record, owner: Owner) -> Mapping[str, Attribute]:
        """With what identity knows of the process that is traced, and without a name of which only the workload itself
        says that it stands for the address."""
        if record.name.endswith(EGRESS) and (resolver := addresses.parse(record.attributes.get(RESOLVER))):
            if addresses.is_loopback(resolver):
                return {key: value for key, value in record.attributes.items() if key != QUESTION}
        if not record.name.endswith(PTRACE):
            return record.attributes
        attributes = dict(record.attributes)
        target_id = attributes.pop(f"{TARGET}cgroup_id", None)
        if not isinstance(target_id, int):
            return attributes
        target = self._owner(target_id)
        if target.namespace != UNKNOWN:
            told = {"namespace": target.namespace, "pod": target.pod, "container": target.container}
            attributes.update({TARGET + key: value for key, value in told.items() if value})
            if target.key != owner.key and (target.container or owner.container):
                attributes["bpfleet.ptrace.is_across"] = True
        return attributes

    def _told(self, record: Record, attributes: Mapping[str, Attribute], fired: list[Rule], found: Found) -> Record:
        first, *others = fired
        told = {**attributes, RULE: first.name, RULESET: first.policy, SECURITY_SEVERITY: first.severity}
        if others:
            told[ALSO] = ", ".join(dict.fromkeys(rule.name for rule in others))
        if COMMAND_LINE in told:
            told[COMMAND_LINE] = arguments.redacted(str(told[COMMAND_LINE]), WHOLE_SIZE in told)
        if found.owner.image:
            told[IMAGE] = found.owner.image
        return record._replace(attributes=told)

    def _admits(self, labels: tuple[str, ...], rule: Rule, time_ns: int) -> bool:
        key = (labels[_NAMESPACE], labels[_WORKLOAD], labels[_KIND], rule.policy, rule.name)
        limit = self._limits.get(key)
        if limit is None:
            if len(self._limits) >= MAX_LIMITS:
                self._limits.popitem(last=False)
            limit = self._limits[key] = Limit(self._per_second, self._burst)
        self._limits.move_to_end(key)
        return limit.admits(time_ns)

    def _count(self, cgroup_id: int, fired: list[Rule]) -> None:
        for rule in fired:
            key = (cgroup_id, rule.name, rule.severity)
            if key not in self._counts and len(self._counts) >= MAX_COUNTED:
                key = (OTHERS, rule.name, rule.severity)
            self._counts[key] = self._counts.get(key, 0) + 1


def _same(event: str, attributes: Mapping[str, Attribute]) -> tuple[Attribute | None, ...]:
    return tuple(attributes.get(name) for name in KEYS[event.rpartition(".")[2]])
