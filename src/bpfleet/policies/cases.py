"""The tests that stand beside a policy: this event, of this owner, makes these rules fire and no others.

    tests:
      - name: a shell through kubectl exec
        event: exec
        given: {binary: /usr/bin/bash, is_entered: true}
        owner: {namespace: shop, workload: web, kind: Deployment, container: main}
        fires: [shell-entered]

`given` has the names of the rules' fields, each with one value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bpfleet.documents import Document
from bpfleet.errors import PolicyError
from bpfleet.events import Attribute
from bpfleet.policies import evaluation, fields, reading
from bpfleet.policies.evaluation import Policies
from bpfleet.policies.facts import Facts, Owner
from bpfleet.policies.kinds import Flags, Numbers, did_you_mean
from bpfleet.policies.model import Policy
from bpfleet.policies.reading import ENDLESS, Keys, Reading, shown

KEYS: Final = ("name", "event", "given", "owner", "fires")
OWNER_KEYS: Final = ("namespace", "workload", "kind", "container", "image", "pod", "labels")


@dataclass(frozen=True)
class Case:
    name: str
    facts: Facts
    fires: tuple[str, ...]
    place: str


def read_file(file: Path) -> list[tuple[Policy, list[Case]]]:
    """Policies with their tests. Raises PolicyError with a line for each problem."""
    policies = reading.read_file(file)
    found, problems = [], []
    for policy, document in zip(policies, reading.of(file), strict=True):
        cases, wrong = parse(document, policy)
        found.append((policy, cases))
        problems += wrong
    if problems:
        raise PolicyError("\n".join(problems))
    return found


def parse(document: Document, policy: Policy) -> tuple[list[Case], list[str]]:
    """The tests as far as they could be read, and what is wrong with them."""
    problems = Reading(document)
    given = document.value.get("tests", []) if isinstance(document.value, Mapping) else []
    if not isinstance(given, list):
        problems.blame(("tests",), "tests must be a list")
        return [], problems.problems
    rules = [rule.name for rule in policy.rules]
    cases = [_case(problems, each, ("tests", number), rules) for number, each in enumerate(given)]
    return [case for case in cases if case], problems.problems


def _case(problems: Reading, value: object, keys: Keys, rules: list[str]) -> Case | None:
    given = problems.mapping(value, keys, "a test", KEYS)
    event, name = given.get("event"), problems.text(given, "name", keys)
    if event not in fields.EVENTS:
        hint = did_you_mean(event, fields.EVENTS)
        problems.blame((*keys, "event"), f"event is {shown(event)}{hint}; allowed: {', '.join(fields.EVENTS)}")
        return None
    fires = given.get("fires", [])
    if not isinstance(fires, list):
        fires = [fires]
    for number, rule in enumerate(fires):
        if rule not in rules:
            hint = did_you_mean(rule, rules)
            problems.blame(
                (*keys, "fires", number), f"there is no rule {shown(rule)}{hint}; there are {', '.join(rules)}"
            )
    facts = _facts(problems, given, keys, str(event))
    return Case(name, facts, tuple(rule for rule in fires if rule in rules), problems.document.place(keys))


def _labels(problems: Reading, value: object, keys: Keys) -> dict[str, str]:
    if not isinstance(value, Mapping):
        problems.blame(keys, f"labels is {shown(value)}, and must be a mapping of a pod's labels to values")
        return {}
    for key, each in value.items():
        if not isinstance(key, str) or not isinstance(each, str):
            problems.blame((*keys, key), f"the label {shown(key)} is {shown(each)}, and must be text")
    return {key: each for key, each in value.items() if isinstance(key, str) and isinstance(each, str)}


def _facts(problems: Reading, case: Mapping[str, Any], keys: Keys, event: str) -> Facts:
    known = fields.BY_EVENT[event]
    given = problems.mapping(case.get("given", {}), (*keys, "given"), f"an event {event}", tuple(known))
    asked = problems.mapping(case.get("owner", {}), (*keys, "owner"), "an owner", OWNER_KEYS)
    labels = _labels(problems, asked.get("labels", {}), (*keys, "owner", "labels"))
    attributes: dict[str, Attribute] = {}
    for name, value in given.items():
        if isinstance(value, list | dict) or value is None:
            problems.blame((*keys, "given", name), f"{name} is {shown(value)}, and must be one value")
        elif isinstance(value, int) == isinstance(known[name].kind, Flags | Numbers) and shown(value) != ENDLESS:
            attributes.update(known[name].tell(value))
        else:
            problems.blame((*keys, "given", name), f"{name} is {shown(value)}; allowed: {known[name].kind.allowed}")
    words: dict[str, str] = {}
    for key, value in ({"image": given.get("image", "")} | dict(asked)).items():
        if key == "labels":
            continue
        if isinstance(value, str):
            words["workload_kind" if key == "kind" else key] = value
        else:
            problems.blame((*keys, "owner", key), f"{key} is {shown(value)}, and must be text")
    service = given.get("service")
    owner = Owner(**words, labels=labels)
    return Facts(event, attributes, owner, frozenset([service] if isinstance(service, str) else []))


def run(policy: Policy, cases: Iterable[Case]) -> list[str]:
    """What does not come out as it should."""
    policies, problems = Policies([policy]), []
    for case in cases:
        fired = [rule.name for rule in policies.scoped(case.facts.owner).fired(case.facts)]
        if sorted(fired) != sorted(case.fires):
            told = f"{case.place}: {case.name or 'a test'}: {_names(case.fires)} should fire, {_names(fired)} did"
            looks = [f"{look.rule.name}: {look.why}" for look in evaluation.explain(policies, case.facts)]
            problems.append("; ".join([told, *looks]))
    return problems


def _names(rules: Iterable[str]) -> str:
    return ", ".join(rules) or "nothing"
