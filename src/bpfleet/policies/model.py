"""What a policy says: in which scope which events are unusual, and how bad that is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bpfleet.policies.facts import Facts, Owner
from bpfleet.policies.fields import Field
from bpfleet.policies.globs import TextGlob
from bpfleet.policies.kinds import Pattern

SEVERITIES: Final = ("critical", "warning", "info")
"""The worst first."""


class Asked(NamedTuple):
    """One field of an alternative; any of the patterns will do."""

    field: Field
    patterns: tuple[Pattern, ...]

    def holds(self, facts: Facts) -> bool:
        return any(pattern.matches(value) for value in self.field.look(facts) for pattern in self.patterns)


@dataclass(frozen=True, eq=False)
class Alternative:
    """All that is asked has to hold. place: file and line."""

    asked: tuple[Asked, ...]
    place: str = ""

    def holds(self, facts: Facts) -> bool:
        return all(each.holds(facts) for each in self.asked)

    def patterns(self, field: str) -> Sequence[Pattern]:
        """Empty where it is not asked for."""
        return next((each.patterns for each in self.asked if each.field.name == field), ())

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(each.field.name for each in self.asked)


EVERYTHING: Final = (Alternative(()),)


@dataclass(frozen=True, eq=False)
class Scope:
    """Whose events a policy is about: all of these have to hold. namespaces, containers: any of them, and none of those
    that begin with `!`. workloads: `Kind/name`, or a name. labels: of the pod, by key."""

    namespaces: tuple[TextGlob, ...] = ()
    not_namespaces: tuple[TextGlob, ...] = ()
    containers: tuple[TextGlob, ...] = ()
    workloads: tuple[TextGlob, ...] = ()
    labels: Mapping[str, tuple[TextGlob, ...]] | None = None

    def holds(self, owner: Owner) -> bool:
        return (
            _any(self.namespaces, owner.namespace)
            and not (self.not_namespaces and _any(self.not_namespaces, owner.namespace))
            and _any(self.containers, owner.container)
            and (not self.workloads or self._is_workload(owner))
            and all(
                key in owner.labels and _any(values, owner.labels[key]) for key, values in (self.labels or {}).items()
            )
        )

    def _is_workload(self, owner: Owner) -> bool:
        whole = f"{owner.workload_kind}/{owner.workload}"
        return any(glob.matches(whole if "/" in glob.pattern else owner.workload) for glob in self.workloads)


def _any(globs: Iterable[TextGlob], text: str) -> bool:
    globs = tuple(globs)
    return not globs or any(glob.matches(text) for glob in globs)


@dataclass(frozen=True, eq=False)
class Rule:
    """Fires for what matches, but neither an exception nor anything allowed. match: EVERYTHING where the rule says what
    is allowed, and all else is unusual. place: file and line."""

    name: str
    event: str
    severity: str
    match: tuple[Alternative, ...]
    exceptions: tuple[Alternative, ...] = ()
    allowed: tuple[Alternative, ...] = ()
    description: str = ""
    policy: str = ""
    scope: Scope = Scope()
    place: str = ""

    def fires(self, facts: Facts) -> bool:
        return (
            any(each.holds(facts) for each in self.match)
            and not any(each.holds(facts) for each in self.exceptions)
            and not any(each.holds(facts) for each in self.allowed)
        )


@dataclass(frozen=True, eq=False)
class Policy:
    name: str
    version: int
    rules: tuple[Rule, ...]
    description: str = ""
    place: str = ""
