"""Policies and their cases, as far as files can tell. tests/cluster/test_admission.py asks a real API server."""

import re
from typing import Any

import pytest
from tests.support import admission, trees

POLICIES = sorted(
    each["metadata"]["name"]
    for each in trees.rendered("production").all()
    if each["kind"] == "ValidatingAdmissionPolicy"
)


def policy(name: str) -> dict[str, Any]:
    return dict(trees.one(trees.rendered("production"), "ValidatingAdmissionPolicy", name))


def test_the_policies_are_these() -> None:
    assert POLICIES == ["bpfleet-agent-pods", "bpfleet-image-digests", "bpfleet-rule-metadata", "bpfleet-sources"]
    other = [each["metadata"]["name"] for each in trees.rendered("staging").all() if "AdmissionPolicy" in each["kind"]]
    assert "bpfleet-image-digests" not in other


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_is_in_force_and_denies(name: str) -> None:
    bindings = [
        each["spec"]
        for each in trees.rendered("production").all()
        if each["kind"] == "ValidatingAdmissionPolicyBinding" and each["spec"]["policyName"] == name
    ]

    assert any(each["validationActions"] == ["Deny"] for each in bindings)
    assert policy(name)["spec"]["failurePolicy"] == "Fail"


@pytest.mark.parametrize("name", POLICIES)
def test_each_of_its_reasons_has_a_case_that_is_refused_for_it(name: str) -> None:
    cases = [each for each in admission.cases() if each.policy == name]
    assert any(each.allowed for each in cases)
    refused = [each.message for each in cases if not each.allowed]
    assert refused and all(refused)

    for validation in policy(name)["spec"]["validations"]:
        expression = validation.get("messageExpression", f'"{validation.get("message")}"')
        said = re.findall('"([^"]+)"', expression)
        assert any(message in part for message in refused for part in said), expression


def test_every_case_is_of_a_policy_and_says_something_of_its_own() -> None:
    cases = admission.cases()

    assert {each.policy for each in cases} == set(POLICIES)
    assert len({(each.policy, each.name) for each in cases}) == len(cases) == 44
