"""What are the kernel's programs to watch? Made of the policies and of who lives, once a drain; see orders.py."""

import time
from collections.abc import Callable, Iterable
from typing import Final, Protocol, runtime_checkable

from agent.identity import addresses
from agent.security import allowed
from agent.security.orders import EVERY_PATH, NO_GROUP, OFF, OTHERS, Orders, Watch, Watching
from agent.security.scopes import Scopes
from bpfleet.api import Collector, Maps
from bpfleet.policies.evaluation import Policies
from bpfleet.policies.fields import CHMOD, EGRESS, EVENTS, FILE_OPEN
from bpfleet.policies.globs import PathGlob
from bpfleet.policies.model import Rule

COLLECTORS: Final = (*EVENTS, "dns_names")
"""Each tells of the events that have its name; the last one of none, but by which names egress knows where it goes."""

MAX_GROUPS: Final = 256
"""Lists of allowed destinations on one node; a list is a policy's, and so many nobody keeps apart. What is beyond has
none, and user space decides."""


RENEW_NS: Final = 30_000_000_000
"""What the DNS said holds for a time, at the least ten minutes."""


class Settings(Protocol):
    """The settings' `security`."""

    @property
    def watch(self) -> str: ...
    @property
    def per_second(self) -> int: ...
    @property
    def burst(self) -> int: ...


class Known(Protocol):
    """What the DNS answered. address, resolver: 16 bytes."""

    @property
    def address(self) -> bytes: ...
    @property
    def name(self) -> str: ...
    @property
    def resolver(self) -> bytes: ...


class Table(Protocol):
    """agent.security.dns_table.DnsTable. changes: rises with whatever is new."""

    @property
    def changes(self) -> int: ...
    def known(self, cgroup_id: int, now_ns: int) -> Iterable[Known]: ...


class Tabled(Protocol):
    @property
    def table(self) -> Table: ...


@runtime_checkable
class Naming(Protocol):
    """A collector that may have seen what the DNS answered."""

    @property
    def names(self) -> Tabled | None: ...


class SecurityOrders:
    """See agent.agent.Steering."""

    collectors = COLLECTORS
    left_out = "%d cgroups or destinations of security policies find no room in the kernel: limits.cgroups is used up"

    def __init__(self, scopes: Scopes, settings: Settings, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        """now_ns: by the kernel's monotonic clock."""
        self._scopes, self._now_ns = scopes, now_ns
        self._watch = Watch(settings.per_second, settings.burst)
        self._orders = Orders()
        self._names: dict[str, frozenset[bytes]] = {}
        self._groups: dict[tuple[Rule, ...], int] = {}
        self._members: dict[int, set[int]] = {}
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
            names = collector.names if isinstance(collector, Naming) else None
            self._renew_allowed(names.table if names else None)
            self._orders = Orders(self._orders.watches, self._names, self._allowed)
        return collector.steer(maps, self._orders)

    def _watches(self) -> dict[str, dict[int, Watch]]:
        """A collector of which no rule wants anything watches nobody, also not those whom nobody knows yet."""
        used = [event for event, rules in self._scopes.policies.by_event.items() if rules]
        watches: dict[str, dict[int, Watch]] = {event: {OTHERS: self._watch} for event in used}
        identity = self._scopes.identity
        self._members = {}
        for cgroup_id in identity.tree.living():
            owner = identity.owner(cgroup_id)
            if owner is None:
                continue
            rules = self._scopes.of(owner).scoped.rules
            for event in used:
                watch = self._watch if event in rules else OFF
                if event == EGRESS and event in rules:
                    watch = watch._replace(group=self._group(rules[event]))
                    self._members.setdefault(watch.group, set()).add(cgroup_id)
                watches[event][cgroup_id] = watch
        return watches

    def _group(self, rules: tuple[Rule, ...]) -> int:
        if rules not in self._groups and len(self._groups) >= MAX_GROUPS:
            return NO_GROUP
        return self._groups.setdefault(rules, len(self._groups) + 1)

    def _renew_allowed(self, table: Table | None) -> None:
        """Names have other addresses from time to time, and groups come and go with who lives."""
        identity, now_ns = self._scopes.identity, self._now_ns()
        state = (self._groups, self._members, identity.reached(), table and (table.changes, now_ns // RENEW_NS))
        if state != self._allowed_of:
            self._allowed_of = (dict(self._groups), *state[1:])
            self._allowed = {}
            for rules, group in self._groups.items():
                told = self._told(table, self._members.get(group, ()), now_ns)
                self._allowed[group] = allowed.entries(rules, allowed.Names(told, identity.addresses))

    def _told(self, table: Table | None, cgroups: Iterable[int], now_ns: int) -> allowed.Way | None:
        if table is None:
            return None
        rows = [row for cgroup_id in cgroups for row in table.known(cgroup_id, now_ns)]
        return lambda is_wanted: (
            row.address for row in rows if not addresses.is_loopback(row.resolver) and is_wanted(row.name)
        )


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
