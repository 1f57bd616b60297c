"""Are the policies that come with bpfleet what they say? Each rule has a test in which it fires, and one in which it is
silent."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from agent.security import shipped
from bpfleet.policies import cases, fields, reading, schema
from bpfleet.policies.facts import Facts
from bpfleet.policies.model import Policy

ROOT = Path(__file__).parents[4]
FILES = reading.files(ROOT / "policies/security")
WANTED = {
    *("shell-entered", "shell-from-server", "package-manager", "shadow-file", "service-account-token"),
    *("metadata-address", "setuid-set", "ptrace-across-containers", "unexpected-egress", "container-runtime-client"),
    *("container-runtime-socket", "binary-from-writable-path", "binary-in-memory", "binary-deleted"),
}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    written: dict[str, Any] = json.loads((ROOT / "docs/security-policy.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(written)
    return jsonschema.Draft202012Validator(written)


def test_the_schema_in_the_docs_is_the_readers() -> None:
    assert schema.PAGE.is_current(ROOT / schema.PAGE.path)


def test_they_are_all_there() -> None:
    assert shipped.directory() == ROOT / "policies/security"
    assert {rule.name for policy in reading.read([shipped.directory()]) for rule in policy.rules} >= WANTED


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_rule_fires_in_a_test_and_is_silent_in_another(
    file: Path, validator: jsonschema.Draft202012Validator
) -> None:
    for document in yaml.safe_load_all(file.read_text()):
        validator.validate(document)
    for policy, tests in cases.read_file(file):
        assert cases.run(policy, tests) == []
        for rule in policy.rules:
            about = [case for case in tests if case.facts.event == rule.event]
            assert any(rule.name in case.fires for case in about), rule.place
            assert any(rule.name not in case.fires and rule.scope.holds(case.facts.owner) for case in about), rule.place


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_rule_without_one_of_its_values_fails_a_test_or_has_more_than_one(file: Path) -> None:
    """A rule whose match is nobody's would pass its silent tests only."""
    for policy, tests in cases.read_file(file):
        for rule in policy.rules:
            assert rule.match and all(each.asked or rule.allowed for each in rule.match), rule.place
            silent = Policy(policy.name, 1, tuple(each for each in policy.rules if each is not rule))
            assert cases.run(silent, tests) != [], rule.place


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"severity": "high"}, "a severity that there is none"),
        ({"match": {"path": "/x"}}, "a field of another event"),
        ({"match": {}}, "an empty match"),
        ({"event": "execve"}, "an event that there is none"),
        ({"allow": []}, "match and allow"),
        ({"more": 1}, "an unknown field"),
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(
    wrong: dict[str, object], why: str, validator: jsonschema.Draft202012Validator
) -> None:
    rule = {"name": "r", "event": "exec", "severity": "info", "match": {"binary": "sh"}}
    assert validator.is_valid({"version": 1, "name": "p", "rules": [rule]})
    assert not validator.is_valid({"version": 1, "name": "p", "rules": [rule | wrong]}), why


def test_what_a_test_case_gives_is_what_its_field_looks_at() -> None:
    """Each field, each event: a value that is told is found again."""
    values = {
        "is_": True,
        "setuid": True,
        "setgid": True,
        "write": True,
        "across_containers": True,
        "user": 5,
        "port": 5,
    }
    for event, known in fields.BY_EVENT.items():
        for name, field in known.items():
            if name in ("image", "service", "result"):
                continue
            value = next((value for prefix, value in values.items() if name.startswith(prefix)), "192.0.2.1")
            assert list(field.look(Facts(event, field.tell(value)))) in ([value], [value, ""], [str(value)]), (
                event,
                name,
            )
