"""What are the kernel's programs to watch? Made of the policies and of who lives, once a drain; see orders.py."""

from collections.abc import Callable, Iterable
from typing import Final, Protocol, runtime_checkable

from agent.security import allowed
from agent.security.orders import EVERY_PATH, NO_GROUP, OFF, OTHERS, Orders, Watch, Watching
from agent.security.scopes import Scopes
from bpfleet.api import Collector, Maps
from bpfleet.policies.evaluation import Policies
from bpfleet.policies.fields import CHMOD, EGRESS, EVENTS, FILE_OPEN
from bpfleet.policies.globs import PathGlob
from bpfleet.policies.model import Rule

COLLECTORS: Final = EVENTS
"""Each tells of the events that have its name."""

MAX_GROUPS: Final = 256
"""Lists of allowed destinations on one node; a list is a policy's, and so many nobody keeps apart. What is beyond has
none, and user space decides."""


class Settings(Protocol):
    """The settings' `security`."""

    @property
    def watch(self) -> str: ...
    @property
    def per_second(self) -> int: ...
    @property
    def burst(self) -> int: ...


class Table(Protocol):
    @property
    def version(self) -> int: ...
    def addresses(self, is_wanted: Callable[[str], bool]) -> Iterable[bytes]: ...


@runtime_checkable
class Naming(Protocol):
    """A collector that has seen what the DNS answered."""

    @property
    def names(self) -> Table: ...


class SecurityOrders:
    """See agent.agent.Steering."""

    collectors = COLLECTORS
    left_out = "%d cgroups or destinations of security policies find no room in the kernel: limits.cgroups is used up"

    def __init__(self, scopes: Scopes, settings: Settings) -> None:
        self._scopes = scopes
        self._watch = Watch(settings.per_second, settings.burst)
        self._orders = Orders()
        self._names: dict[str, frozenset[bytes]] = {}
        self._groups: dict[tuple[Rule, ...], int] = {}
        self._allowed: dict[int, frozenset[allowed.Entry]] = {}
        self._allowed_of: tuple[object, ...] = ()
        self._version = -1

    def adjust(self, settings: Settings) -> None:
        """As when it was made."""
        self._watch = Watch(settings.per_second, settings.burst)
        self._scopes.adjust(settings.watch)

    def begin(self) -> None:
        scopes = self._scopes
        scopes.refresh()
        if scopes.version != self._version:
            self._version = scopes.version
            self._names = {event: anchors(scopes.policies, event) for event in (FILE_OPEN, CHMOD)}
            self._groups, self._allowed, self._allowed_of = {}, {}, ()
        self._orders = Orders(self._watches() if scopes.is_active else {}, self._names, self._allowed)

    def steer(self, collector: Collector, maps: Maps) -> int:
        if not isinstance(collector, Watching):
            return 0
        if collector.name == EGRESS:
            self._renew_allowed(collector.names if isinstance(collector, Naming) else None)
            self._orders = Orders(self._orders.watches, self._names, self._allowed)
        return collector.steer(maps, self._orders)

    def _watches(self) -> dict[str, dict[int, Watch]]:
        """A collector of which no rule wants anything watches nobody, also not those whom nobody knows yet."""
        used = [event for event, rules in self._scopes.policies.by_event.items() if rules]
        watches: dict[str, dict[int, Watch]] = {event: {OTHERS: self._watch} for event in used}
        identity = self._scopes.identity
        for cgroup_id in identity.tree.living():
            owner = identity.owner(cgroup_id)
            if owner is None:
                continue
            rules = self._scopes.of(owner).scoped.rules
            for event in used:
                watch = self._watch if event in rules else OFF
                if event == EGRESS and event in rules:
                    watch = watch._replace(group=self._group(rules[event]))
                watches[event][cgroup_id] = watch
        return watches

    def _group(self, rules: tuple[Rule, ...]) -> int:
        if rules not in self._groups and len(self._groups) >= MAX_GROUPS:
            return NO_GROUP
        return self._groups.setdefault(rules, len(self._groups) + 1)

    def _renew_allowed(self, table: Table | None) -> None:
        """Names have other addresses from time to time, and groups come and go with who lives."""
        identity = self._scopes.identity
        state = (len(self._groups), identity.reached(), table, table.version if table else 0)
        if state != self._allowed_of:
            self._allowed_of = state
            names = allowed.Names(table.addresses if table else None, identity.addresses)
            self._allowed = {group: allowed.entries(rules, names) for rules, group in self._groups.items()}


def anchors(policies: Policies, event: str) -> frozenset[bytes]:
    """The components of paths that an event of interest has to have."""
    found: set[bytes] = set()
    for rule in policies.by_event[event]:
        for one in rule.match:
            paths = one.patterns("path")
            found.update(path.anchor for path in paths if isinstance(path, PathGlob))
            if not paths:
                found.add(EVERY_PATH)
    return frozenset([EVERY_PATH]) if EVERY_PATH in found else frozenset(found)
