"""Admission policies, asked of a real API server. In a namespace and under names of their own: nothing else in the
cluster is judged by them."""

import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from tests.cluster.conftest import made_namespace
from tests.support import admission, trees

from bundle import tools
from bundle.flux import rendering

CASES = admission.cases()

CATCHING_UP = 30.0
"""Seconds until the API server asks a policy that is new; it looks for them every few."""


def kubectl(*arguments: str, input: str = "") -> "subprocess.CompletedProcess[str]":
    return tools.ask("kubectl", *arguments, input=input)


def moved(value: Any, names: dict[str, str]) -> Any:
    """With every text that is one of `names` replaced."""
    if isinstance(value, dict):
        return {key: moved(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [moved(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def namespace(kube: Any, kinds: None) -> Iterator[str]:
    with made_namespace(kube) as name:
        yield name


@pytest.fixture(scope="module")
def policy(request: pytest.FixtureRequest, namespace: str) -> Iterator[str]:
    """One policy of production, bound to the namespace: alone, or another's refusal would pass for its own."""
    name, suffix = str(request.param), secrets.token_hex(3)
    names = {"bpfleet": namespace}
    objects = []
    for each in trees.rendered("production").objects["admission"]:
        spec = each["spec"]
        if name not in (each["metadata"]["name"], spec.get("policyName")):
            continue
        value = json.loads(json.dumps(each))
        value["metadata"]["name"] += f"-{suffix}"
        if "policyName" in spec:
            value["spec"]["policyName"] += f"-{suffix}"
            matched = value["spec"].setdefault("matchResources", {})
            matched["namespaceSelector"] = moved(matched.get("namespaceSelector", {}), names)
            if not matched["namespaceSelector"]:
                matched["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        objects.append(value)
    text = rendering.dump(objects)
    applied = kubectl("apply", "--server-side", "-f", "-", input=text)
    assert not applied.returncode, applied.stderr
    try:
        refused = next(each for each in CASES if each.policy == name and not each.allowed)
        needs(refused)
        end = time.monotonic() + CATCHING_UP
        while not asked(refused, namespace).returncode:
            assert time.monotonic() < end, f"{name} refuses nothing after {CATCHING_UP:.0f} s"
            time.sleep(0.2)
        yield name
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", input=text)


def asked(case: admission.Case, namespace: str) -> "subprocess.CompletedProcess[str]":
    value = json.loads(json.dumps(case.object))
    if not (value["metadata"]["namespace"] == "default" and case.policy == "bpfleet-agent-pods"):
        value["metadata"]["namespace"] = namespace
    return kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(value))


def needs(case: admission.Case) -> None:
    version = str(case.object["apiVersion"])
    if "." in version and not served(version):
        pytest.skip(f"the cluster has no {version}")
    if minor() < case.since:
        pytest.skip(f"Kubernetes 1.{minor()} drops a field of it")


@cache
def minor() -> int:
    return int(re.sub(r"\D", "", json.loads(kubectl("get", "--raw", "/version").stdout)["minor"]))


@cache
def served(version: str) -> bool:
    return not kubectl("get", "--raw", f"/apis/{version}").returncode


@pytest.mark.parametrize(
    # One object for one name: pytest makes a fixture anew where its parameter is another object.
    ("policy", "case"),
    [pytest.param(sys.intern(each.policy), each, id=str(each)) for each in CASES],
    indirect=["policy"],
)
def test_a_case_is_allowed_or_refused_for_its_reason(case: admission.Case, policy: str, namespace: str) -> None:
    needs(case)
    answer = asked(case, namespace)

    assert (answer.returncode == 0) == case.allowed, answer.stderr
    assert case.message in answer.stderr and case.warning in answer.stderr
