"""A real cluster, named by KUBECONFIG, whose only node is this machine. All is made in a namespace of its own."""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from tests.cluster.gates import Gate

IMAGE = os.environ.get("BPFLEET_TEST_IMAGE", "registry.k8s.io/pause:3.10")
"""Any image whose entry point stays: the default is on every node already, since pods consist of it."""

MANIFESTS = Path(__file__).with_name("workloads.yaml")


@pytest.fixture(scope="session")
def kube() -> Any:
    """The whole official client, as a second witness beside the agent's."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no cluster: KUBECONFIG is not set")
    kubernetes = pytest.importorskip("kubernetes")
    kubernetes.config.load_kube_config()
    return kubernetes


@pytest.fixture(scope="session")
def node(kube: Any) -> str:
    names = [each.metadata.name for each in kube.client.CoreV1Api().list_node().items]
    if len(names) != 1:
        pytest.skip(f"the cluster has {len(names)} nodes, and which of them is this machine is not known")
    return str(names[0])


@contextmanager
def made_namespace(kube: Any) -> Iterator[str]:
    core, name = kube.client.CoreV1Api(), f"bpfleet-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    try:
        yield name
    finally:
        core.delete_namespace(name)


def create(kube: Any, namespace: str, manifests: Path, **values: object) -> None:
    """The documents of a file, with $NAME in it replaced."""
    text = Template(manifests.read_text("utf-8")).substitute(values)
    for document in yaml.safe_load_all(text):
        kube.utils.create_from_dict(kube.client.ApiClient(), document, namespace=namespace)


@pytest.fixture(scope="session")
def namespace(kube: Any) -> Iterator[str]:
    """With one workload of each kind, running."""
    with made_namespace(kube) as name:
        create(kube, name, MANIFESTS, IMAGE=IMAGE)
        eventually(lambda: len(running(kube, name)) == 9, "nine containers run")
        yield name


@pytest.fixture(scope="session")
def account(kube: Any, namespace: str) -> Iterator[Callable[[], str]]:
    """Tokens of an account that may do what the agent's may, and nothing else."""
    with agent_account(kube, namespace) as token:
        yield token


@contextmanager
def agent_account(kube: Any, namespace: str) -> Iterator[Callable[[], str]]:
    """The ServiceAccount `agent` with the agent's rights; gives tokens of it."""
    core, rbac = kube.client.CoreV1Api(), kube.client.RbacAuthorizationV1Api()
    rules = [
        {"apiGroups": [""], "resources": ["pods", "nodes", "services", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    subject = {"kind": "ServiceAccount", "name": "agent", "namespace": namespace}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": namespace}
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "agent"}})
    rbac.create_cluster_role({"metadata": {"name": namespace}, "rules": rules})
    rbac.create_cluster_role_binding({"metadata": {"name": namespace}, "subjects": [subject], "roleRef": role})
    try:
        yield lambda: str(core.create_namespaced_service_account_token("agent", namespace, {"spec": {}}).status.token)
    finally:
        rbac.delete_cluster_role_binding(namespace)
        rbac.delete_cluster_role(namespace)


@pytest.fixture
def gate(kube: Any) -> Iterator[Gate]:
    """Between the agent and the API server."""
    configuration = kube.client.Configuration.get_default_copy()
    with Gate(configuration.host) as gate:
        yield gate


@pytest.fixture
def kubeconfig(kube: Any, gate: Gate, account: Callable[[], str], tmp_path: Path) -> Callable[[str], str]:
    """Writes a kubeconfig that goes through the gate with a token, a good one unless given."""
    authority = kube.client.Configuration.get_default_copy().ssl_ca_cert
    cluster = {"server": gate.url, "certificate-authority": authority, "tls-server-name": gate.host}

    def write(token: str = "") -> str:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": token or account()}}],
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        return str(file)

    return write


def running(kube: Any, namespace: str) -> dict[str, tuple[str, str, str]]:
    """Container id -> pod uid, pod, container; as the API tells."""
    pods = kube.client.CoreV1Api().list_namespaced_pod(namespace).items
    return {
        status.container_id.partition("://")[2]: (pod.metadata.uid, pod.metadata.name, status.name)
        for pod in pods
        for status in pod.status.container_statuses or ()
        if status.state.running
    }


def eventually(condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
