"""The page says what there is, and its example is a policy that works."""

import re
from pathlib import Path

import pytest

from bpfleet.policies import cases, fields, reading
from bpfleet.policies.model import SEVERITIES

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs/security-policies.md").read_text()


def test_every_field_has_its_line() -> None:
    lines = set(PAGE.splitlines())
    for event, known in fields.BY_EVENT.items():
        for field in known.values():
            told = "all" if field in fields.COMMON else event
            assert f"| {told} | `{field.name}` | {field.kind.allowed} | {field.help} |" in lines


def test_every_key_severity_and_shipped_rule_is_named() -> None:
    keys = {*reading.POLICY_KEYS, *reading.RULE_KEYS, *reading.SCOPE_KEYS, *SEVERITIES} - {"description"}
    rules = {rule.name for policy in reading.read([ROOT / "policies/security"]) for rule in policy.rules}
    assert [word for word in sorted(keys | rules) if f"`{word}`" not in PAGE] == []


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(.*?)```", PAGE, re.S))
def test_the_example_is_good_and_its_tests_pass(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    ((policy, tests),) = cases.read_file(tmp_path / "p.yaml")
    assert len(tests) >= 5 and cases.run(policy, tests) == []
