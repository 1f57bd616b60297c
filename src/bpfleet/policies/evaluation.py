"""Which rules fire for an event? The most severe first, then in the order of files and rules."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bpfleet.policies.facts import Facts, Owner
from bpfleet.policies.fields import EVENTS
from bpfleet.policies.model import EVERYTHING, SEVERITIES, Alternative, Policy, Rule


class Scoped(NamedTuple):
    """The rules in whose scope an owner is, by event."""

    rules: dict[str, tuple[Rule, ...]]

    def fired(self, facts: Facts) -> list[Rule]:
        return [rule for rule in self.rules.get(facts.event, ()) if rule.fires(facts)]


class Policies:
    """Some policies together, in the order of their files."""

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self.policies = tuple(policies)
        rules = [rule for policy in self.policies for rule in policy.rules]
        rules.sort(key=lambda rule: SEVERITIES.index(rule.severity))  # stable
        self.by_event = {event: tuple(rule for rule in rules if rule.event == event) for event in EVENTS}

    @property
    def rules(self) -> Iterator[Rule]:
        return (rule for policy in self.policies for rule in policy.rules)

    def scoped(self, owner: Owner) -> Scoped:
        found = {event: tuple(r for r in rules if r.scope.holds(owner)) for event, rules in self.by_event.items()}
        return Scoped({event: rules for event, rules in found.items() if rules})


@dataclass(frozen=True)
class Look:
    """How a rule was decided. why: of what it turned on, with its place."""

    rule: Rule
    fires: bool
    why: str


def explain(policies: Policies, facts: Facts) -> list[Look]:
    """Of all rules about events of this name."""
    return [_look(rule, facts) for rule in policies.by_event.get(facts.event, ())]


def _look(rule: Rule, facts: Facts) -> Look:
    if not rule.scope.holds(facts.owner):
        return Look(rule, False, "out of the policy's scope")
    matched = _first(rule.match, facts)
    if matched is None:
        return Look(rule, False, f"nothing matches: {'; '.join(_missing(each, facts) for each in rule.match)}")
    for word, alternatives in (("allowed by", rule.allowed), ("an exception", rule.exceptions)):
        if saved := _first(alternatives, facts):
            return Look(rule, False, f"{word} {_described(saved)} ({saved.place})")
    if rule.match is EVERYTHING:
        return Look(rule, True, "none of what is allowed" if rule.allowed else "everything is unusual here")
    return Look(rule, True, f"{_described(matched)} ({matched.place})")


def _first(alternatives: Sequence[Alternative], facts: Facts) -> Alternative | None:
    return next((each for each in alternatives if each.holds(facts)), None)


def _missing(alternative: Alternative, facts: Facts) -> str:
    """The first field that does not match."""
    asked = next(each for each in alternative.asked if not each.holds(facts))
    values = [str(value) for value in asked.field.look(facts) if value != ""]
    return f"{asked.field.name} is {ascii(', '.join(values))[:200] if values else 'not known'} ({alternative.place})"


def _described(alternative: Alternative) -> str:
    return ", ".join(sorted(alternative.fields))
