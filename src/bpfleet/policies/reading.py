"""Policies from YAML files. Strict: whatever is not understood is refused, with file and line and what is allowed, all
of it at once.

A file holds policies, each a document of its own:

    version: 1
    name: container-shell
    scope: {containers: ["?*"]}
    rules:
      - name: shell-entered
        event: exec
        severity: critical
        match: {binary: [sh, bash], is_entered: true}
        except: [{arguments: ["sh -c /healthz"]}]

`match` is one alternative, or a list of which any will do; a rule that says what is allowed (`allow`) instead fires for
everything else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from bpfleet import documents
from bpfleet.documents import Document
from bpfleet.errors import PolicyError
from bpfleet.policies import fields
from bpfleet.policies.globs import TextGlob
from bpfleet.policies.kinds import did_you_mean
from bpfleet.policies.model import EVERYTHING, SEVERITIES, Alternative, Asked, Policy, Rule, Scope

VERSION: Final = 1
ANYTHING: Final = "everything"

POLICY_KEYS: Final = ("version", "name", "description", "scope", "rules", "tests")
RULE_KEYS: Final = ("name", "description", "event", "severity", "match", "allow", "except")
SCOPE_KEYS: Final = ("namespaces", "containers", "workloads", "labels")

MAX_BYTES: Final = 256 << 10
"""Of one file; the largest shipped one has 10 KiB. The agent reads between two drains, 1 MiB in some 10 seconds."""

MAX_FILES: Final = 256
MAX_RULES: Final = 512
"""Of all policies: each event is held against those that are about it."""

MAX_VALUES: Final = 1024
"""Of one list. A longer list of addresses was made by a program, which could have joined them."""

MAX_NODES: Final = 100_000
"""Values of one document; the shipped policies have some hundred each."""

MAX_PROBLEMS: Final = 50
"""That are told of one file: the first ones say what is wrong with the others."""

NOT_POLICIES: Final = ("kustomization.yaml", "kustomization.yml")
"""Stand beside policies in a tree that Kustomize reads."""

NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
NAME_ALLOWED: Final = "lower-case letters, digits and dashes, 63 characters at most"

Keys = tuple[str | int, ...]


@dataclass
class Reading:
    """One document, and every mistake on the way."""

    document: Document
    problems: list[str] = field(default_factory=list)

    def blame(self, keys: Keys, problem: str) -> None:
        self.problems.append(f"{self.document.place(keys)}: {problem}")

    def mapping(self, value: object, keys: Keys, what: str, known: Sequence[str]) -> Mapping[str, Any]:
        """What of it is known; the rest is blamed."""
        if not isinstance(value, Mapping):
            self.blame(keys, f"{what} must be a mapping with these keys: {', '.join(known)}")
            return {}
        for key in value:
            if key not in known:
                hint = did_you_mean(key, known)
                self.blame((*keys, key), f"{what} has no {shown(key)}{hint}; allowed here: {', '.join(known)}")
        return {key: each for key, each in value.items() if key in known}

    def name(self, given: Mapping[str, Any], keys: Keys, what: str) -> str:
        found = given.get("name")
        if isinstance(found, str) and NAME.fullmatch(found):
            return found
        told = "is missing" if found is None else f"is {shown(found)}"
        self.blame((*keys, "name"), f"the name of {what} {told}; allowed: {NAME_ALLOWED}")
        return ""

    def text(self, given: Mapping[str, Any], key: str, keys: Keys) -> str:
        found = given.get(key, "")
        if isinstance(found, str):
            return found
        self.blame((*keys, key), f"{key} must be text, and is {shown(found)}")
        return ""

    def listed(self, value: object, keys: Keys, what: str) -> list[tuple[Keys, object]]:
        """The values of a list, or one that stands alone."""
        values = list(value) if isinstance(value, list) else [value]
        if not values:
            self.blame(keys, f"{what} is an empty list, which nothing matches")
        if len(values) > MAX_VALUES:
            self.blame(keys, f"{what} has {len(values)} values; {MAX_VALUES} are allowed")
            return []
        is_list = isinstance(value, list)
        return [((*keys, number) if is_list else keys, each) for number, each in enumerate(values)]


def read(paths: Iterable[Path]) -> list[Policy]:
    """Of files, and of directories: those in them that end in .yaml or .yml, unless they are hidden. Raises PolicyError
    with a line for each problem."""
    problems: list[str] = []
    policies: list[Policy] = []
    for path in paths:
        try:
            for file in files(path):
                try:
                    policies += read_file(file)
                except PolicyError as error:
                    problems.append(str(error))
        except PolicyError as error:
            problems.append(str(error))
    problems += clashes(policies)
    if problems:
        raise PolicyError("\n".join(problems))
    return policies


def files(path: Path) -> list[Path]:
    """Raises PolicyError."""
    try:
        if not path.is_dir():
            return [path]
        found = sorted(each for each in path.iterdir() if each.suffix in (".yaml", ".yml") and each.is_file())
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    found = [each for each in found if each.name not in NOT_POLICIES and not each.name.startswith(".")]
    if len(found) > MAX_FILES:
        raise PolicyError(f"{path}: {len(found)} files; {MAX_FILES} are allowed")
    return found


def read_file(file: Path) -> list[Policy]:
    """Raises PolicyError with a line for each problem."""
    policies, problems = [], []
    for document in of(file):
        policy, wrong = parse(document)
        policies.append(policy)
        problems += wrong
    if problems:
        more = [f"{file}: {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
        raise PolicyError("\n".join([*problems[:MAX_PROBLEMS], *more]))
    return policies


def of(file: Path) -> list[Document]:
    """Those that are policies. Objects of Kubernetes, which may stand beside them, are none."""
    found = documents.read(file, PolicyError, MAX_BYTES)
    for each in found:
        if _size(each.node, {}) > MAX_NODES:
            raise PolicyError(f"{each.place()}: more than {MAX_NODES} values, with its aliases written out")
    return [
        each for each in found if not (isinstance(each.value, Mapping) and {"apiVersion", "kind"} <= each.value.keys())
    ]


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values, with the aliases written out: lists of lists may hold more of them than any memory, and one that holds
    itself has no end."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # while it is looked at
        children: Iterable[yaml.Node] = ()
        if isinstance(node, yaml.MappingNode):
            children = (each for pair in node.value for each in pair)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_size(each, known) for each in children)
    return known[id(node)]


def clashes(policies: Sequence[Policy]) -> list[str]:
    """What is wrong with policies that are good, each for itself."""
    found: list[str] = []
    first: dict[str, Policy] = {}
    for policy in policies:
        if before := first.get(policy.name):
            found.append(f"{policy.place}: there is a policy {policy.name} already: {before.place}")
        first.setdefault(policy.name, policy)
    rules = sum(len(policy.rules) for policy in policies)
    if rules > MAX_RULES:
        found.append(f"{rules} rules; {MAX_RULES} are allowed")
    return found


def parse(document: Document) -> tuple[Policy, list[str]]:
    """The policy as far as it could be read, and what is wrong with it."""
    reading = Reading(document)
    given = reading.mapping(document.value, (), "a policy", POLICY_KEYS)
    if given.get("version") != VERSION or isinstance(given.get("version"), bool):
        told = "is missing" if "version" not in given else f"is {shown(given['version'])}"
        reading.blame(("version",), f"version {told}; allowed: {VERSION}")
    name = reading.name(given, (), "the policy")
    scope = _scope(reading, given.get("scope"))
    rules = _rules(reading, given.get("rules"), name, scope)
    place = document.place(("name",))
    description = reading.text(given, "description", ())
    return Policy(name, VERSION, tuple(rules), description, place), reading.problems


def _scope(reading: Reading, value: object) -> Scope:
    if value is None:
        return Scope()
    given = reading.mapping(value, ("scope",), "scope", SCOPE_KEYS)
    namespaces = _globs(reading, given.get("namespaces"), ("scope", "namespaces"))
    wanted = tuple(each for each in namespaces if not each.pattern.startswith("!"))
    labels: dict[str, tuple[TextGlob, ...]] = {}
    asked = given.get("labels", {})
    if isinstance(asked, Mapping):
        for key, values in asked.items():
            labels[str(key)] = _globs(reading, values, ("scope", "labels", key))
    else:
        reading.blame(("scope", "labels"), "labels must be a mapping of a pod's labels to values")
    return Scope(
        wanted,
        tuple(TextGlob(each.pattern[1:]) for each in namespaces if each not in wanted and each.pattern != "!"),
        _globs(reading, given.get("containers"), ("scope", "containers")),
        _globs(reading, given.get("workloads"), ("scope", "workloads")),
        labels,
    )


def _globs(reading: Reading, value: object, keys: Keys) -> tuple[TextGlob, ...]:
    if value is None:
        return ()
    found: list[TextGlob] = []
    for place, each in reading.listed(value, keys, str(keys[-1])):
        try:
            found.append(_glob(each))
        except ValueError as error:
            reading.blame(place, f"{keys[-1]} must be text, * for any text, ? for any one character: {error}")
    return tuple(found)


def _glob(value: object) -> TextGlob:
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not text; put it in quotes")
    return TextGlob(value)


def _rules(reading: Reading, value: object, policy: str, scope: Scope) -> Iterable[Rule]:
    if not isinstance(value, list) or not value:
        reading.blame(("rules",), "rules must be a list of rules, one at least")
        return
    first: dict[str, Keys] = {}
    for number, each in enumerate(value):
        keys: Keys = ("rules", number)
        rule = _rule(reading, each, keys, policy, scope)
        if rule is None:
            continue
        if rule.name in first:
            line = reading.document.line(first[rule.name])
            reading.blame((*keys, "name"), f"there is a rule {rule.name} already, in line {line}")
        first.setdefault(rule.name, keys)
        yield rule


def _rule(reading: Reading, value: object, keys: Keys, policy: str, scope: Scope) -> Rule | None:
    given = reading.mapping(value, keys, "a rule", RULE_KEYS)
    if not given:
        return None
    name = reading.name(given, keys, "the rule")
    severity = _choice(reading, given, keys, "severity", SEVERITIES)
    event = _choice(reading, given, keys, "event", fields.EVENTS)
    if not event:
        return None
    has_match, has_allow = "match" in given, "allow" in given
    if has_match == has_allow:
        told = "both match and allow" if has_match else "neither match nor allow"
        reading.blame(keys, f"a rule with {told}; match says what is unusual, allow that everything else is")
        return None
    match: tuple[Alternative, ...] = EVERYTHING
    if has_match and given["match"] != ANYTHING:
        match = _alternatives(reading, given["match"], (*keys, "match"), event)
    return Rule(
        name,
        event,
        severity,
        match,
        _alternatives(reading, given.get("except", []), (*keys, "except"), event),
        _alternatives(reading, given.get("allow", []), (*keys, "allow"), event),
        reading.text(given, "description", keys),
        policy,
        scope,
        reading.document.place(keys),
    )


def _choice(reading: Reading, given: Mapping[str, Any], keys: Keys, key: str, allowed: Sequence[str]) -> str:
    found = given.get(key)
    if isinstance(found, str) and found in allowed:
        return found
    told = "is missing" if found is None else f"is {shown(found)}"
    hint = did_you_mean(found, allowed)
    reading.blame((*keys, key), f"{key} {told}{hint}; allowed: {', '.join(allowed)}")
    return ""


def _alternatives(reading: Reading, value: object, keys: Keys, event: str) -> tuple[Alternative, ...]:
    """Of `match` one at least; of the others none is nothing."""
    if isinstance(value, list) and not value and keys[-1] != "match":
        return ()
    found = []
    for place, each in reading.listed(value, keys, str(keys[-1])):
        alternative = _alternative(reading, each, place, event)
        if alternative:
            found.append(alternative)
    return tuple(found)


def _alternative(reading: Reading, value: object, keys: Keys, event: str) -> Alternative | None:
    known = fields.BY_EVENT[event]
    if not isinstance(value, Mapping):
        hint = f", or the word {ANYTHING}" if "match" in keys else ""
        reading.blame(keys, f"{shown(value)} is no mapping of fields{hint}; there are {', '.join(known)}")
        return None
    if not value:
        reading.blame(keys, f"an empty mapping matches everything; if that is meant, write match: {ANYTHING}")
    asked = []
    for key, given in value.items():
        if key in known:
            asked.append(_asked(reading, known[key], given, (*keys, key)))
            continue
        elsewhere = [name for name, those in fields.BY_EVENT.items() if key in those]
        hint = f"; it is one of {', '.join(elsewhere)}" if elsewhere else did_you_mean(key, list(known))
        reading.blame((*keys, key), f"an event {event} has no {shown(key)}{hint}; allowed here: {', '.join(known)}")
    return Alternative(tuple(asked), reading.document.place(keys))


def _asked(reading: Reading, of: fields.Field, value: object, keys: Keys) -> Asked:
    patterns = []
    if isinstance(value, list) and not of.kind.is_list:
        reading.blame(keys, f"{of.name} must be {of.kind.allowed}, and is a list")
        return Asked(of, ())
    for place, each in reading.listed(value, keys, of.name):
        try:
            if isinstance(each, list | Mapping):
                raise ValueError(f"it is {shown(each)}")
            patterns.append(of.kind.read(each))
        except ValueError as error:
            reading.blame(place, f"{of.name} must be {of.kind.allowed}: {error}")
    return Asked(of, tuple(patterns))


ENDLESS: Final = "a number without end"


def shown(value: object) -> str:
    """For messages: one line, and not long, also of what YAML's aliases make endless."""
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "a mapping"
    try:
        text = ascii(value)
    except ValueError:  # Python prints no number of more than some thousand digits
        return ENDLESS
    return text if len(text) <= 60 else text[:57] + "..."
