"""What `bpfleet bundle render` prints, asked of a real API server: its schemas, with their rules in CEL, take it all.
Nothing is made: each request is a dry run, and what belongs to a namespace goes to one of the test's own."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from tests.cluster.conftest import made_namespace
from tests.support import trees

from bundle import tools
from bundle.flux import clusters

CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}


@cache
def objects() -> dict[str, list[dict[str, Any]]]:
    """Of all clusters, by the version of their API; what several have is there once."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in trees.CLUSTERS:
        own = [each.value for each in clusters.load(trees.ROOT, name).own]
        for value in [*own, *trees.rendered(name).all()]:
            found.setdefault(value["apiVersion"], {})[json.dumps(value, sort_keys=True)] = value
    return {version: list(values.values()) for version, values in found.items()}


@pytest.fixture(scope="module")
def namespace(kube: Any, kinds: None) -> Iterator[str]:
    with made_namespace(kube) as name:
        yield name


@pytest.mark.parametrize("version", sorted(objects()))
def test_the_api_server_takes_every_object(version: str, namespace: str) -> None:
    if "." in version and tools.ask("kubectl", "get", "--raw", f"/apis/{version}").returncode:
        pytest.skip(f"the cluster has no {version}")
    moved = json.loads(json.dumps(objects()[version]))
    for value in moved:
        if value["kind"] not in CLUSTER_WIDE:
            value["metadata"]["namespace"] = namespace
    text = "".join(f"---\n{json.dumps(each)}\n" for each in moved)
    answer = tools.ask(
        "kubectl",
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "-f",
        "-",
        input=text,
    )

    assert not answer.returncode, answer.stderr
    assert len(answer.stdout.splitlines()) == len(moved)
