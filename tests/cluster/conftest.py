"""A real cluster, named by KUBECONFIG, whose only node is this machine. All is made in a namespace of its own."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pytest
import yaml
from tests.cluster.gates import Gate
from tests.cluster.pods import IMAGE as POD_IMAGE
from tests.cluster.pods import PACKAGES, TAG, Cluster, Pods
from tests.cluster.waiting import eventually
from tests.support import certificates, receivers
from tests.support.cgroups import v2_root
from tests.support.plugins import BROKEN, examples

IMAGE = os.environ.get("BPFLEET_TEST_IMAGE", "registry.k8s.io/pause:3.10")
"""Any image whose entry point stays: the default is on every node already, since pods consist of it."""

FOLDER = Path(__file__).parent
MANIFESTS = FOLDER / "workloads.yaml"
ROOT = Path(__file__).parents[2]
TOOL = ROOT.parent / "shared" / "cluster" / "cluster"
"""Makes an image of Debian plus packages and puts it into the cluster."""

ZONE_LABEL = "topology.kubernetes.io/zone"
OPTIONAL = ("http_log", "fsyncs")
"""Collectors that the agent's pod has beyond the default set."""

BROKEN_PLUGINS = tuple(each for each in BROKEN if each.off in ("syntax", "garbled", "counts"))
"""What Python, the compiler, and only the first reading find out."""

PARTNER = "203.0.113.2"
"""An address outside the cluster that the agent's settings name."""


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
        # Without one no pod is taken.
        eventually(lambda: bool(core.list_namespaced_service_account(name).items), f"{name} has its account")
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


# The agent in a pod, and what it watches


@pytest.fixture(scope="session")
def image(kube: Any) -> str:
    if not TOOL.exists():
        pytest.skip("no tool to make an image for this cluster")
    subprocess.run([TOOL, "base", TAG, *PACKAGES], check=True, capture_output=True, timeout=300)
    return POD_IMAGE


@pytest.fixture(scope="session")
def site(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's pinned requirements for the image's Python."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        pytest.skip("no uv beside this Python: run `make test`")
    target = tmp_path_factory.mktemp("site")
    target.parent.parent.chmod(0o755)
    command = [uv, "pip", "install", "--quiet", "--python-version", "3.13", "--target", target, "--require-hashes"]
    subprocess.run([*command, "--no-config", "-r", ROOT / "requirements" / "agent.txt"], check=True, timeout=300)
    return target


@pytest.fixture(scope="session")
def zone(kube: Any, node: str) -> Iterator[str]:
    """The node's zone, for the time of these tests."""
    core = kube.client.CoreV1Api()
    before = (core.read_node(node).metadata.labels or {}).get(ZONE_LABEL)
    core.patch_node(node, {"metadata": {"labels": {ZONE_LABEL: "zone-a"}}})
    yield "zone-a"
    core.patch_node(node, {"metadata": {"labels": {ZONE_LABEL: before}}})


@pytest.fixture(scope="session")
def node_address(kube: Any, node: str) -> str:
    """One that pods reach."""
    addresses = kube.client.CoreV1Api().read_node(node).status.addresses
    return next(str(each.address) for each in addresses if each.type == "InternalIP")


@pytest.fixture(scope="session")
def receiver(node_address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[receivers.Collector | str]:
    """An OpenTelemetry Collector on the node, or why there is none."""
    try:
        receivers.binary()
    except OSError as error:
        yield str(error)
        return
    folder = tmp_path_factory.mktemp("receiver")
    pairs = certificates.make(folder, "server"), certificates.make(folder, "client")
    made = receivers.Collector(folder, *pairs, host=node_address)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def pods(
    kube: Any, image: str, site: Path, zone: str, receiver: receivers.Collector | str, node_address: str
) -> Iterator[str]:
    """A namespace in which the agent, a server and a client are ready."""
    core = kube.client.CoreV1Api()
    endpoint = "" if isinstance(receiver, str) else f"http://{node_address}:{receiver.ports['http']}"
    plugins = {name: text for name, text in examples().items() if name.startswith("fsyncs.")}
    for broken in BROKEN_PLUGINS:
        plugins |= broken.files
    values = {"IMAGE": image, "SOURCE": ROOT, "SITE": site, "CGROUP": v2_root(), "ENDPOINT": endpoint}
    with made_namespace(kube) as namespace, agent_account(kube, namespace):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "plugins"}, "data": plugins})
        create(kube, namespace, FOLDER / "pods.yaml", **values, PARTNER=PARTNER)
        try:
            eventually(lambda: ready(kube, namespace, 3), "agent, server and client are ready")
        except AssertionError as error:
            log = core.read_namespaced_pod_log("agent", namespace)
            raise AssertionError(f"{error}; the agent says:\n{log}") from error
        yield namespace


def ready(kube: Any, namespace: str, count: int) -> bool:
    pods = kube.client.CoreV1Api().list_namespaced_pod(namespace).items
    statuses = [pod.status.container_statuses for pod in pods]
    return len(statuses) == count and all(each and all(one.ready for one in each) for each in statuses)


@pytest.fixture
def cluster(kube: Any, pods: str) -> Cluster:
    cluster = Cluster(kube, pods)
    cluster.page()  # the first scrape, from which the zero of new series counts
    return cluster


@pytest.fixture(scope="session")
def host_port(node: str) -> int:
    """Of the node, that nobody uses."""
    (port,) = receivers.free_ports(1)
    return port


@pytest.fixture(scope="session")
def shop(kube: Any, pods: str, image: str, host_port: int) -> Iterator[Pods]:
    """Another namespace, made when the agent runs: nginx and a client in the pod network, and both in the node's."""
    with made_namespace(kube) as namespace:
        create(kube, namespace, FOLDER / "shop.yaml", IMAGE=image, PORT=host_port)
        eventually(lambda: ready(kube, namespace, 4), "two servers and two clients are ready")
        made = Pods(kube, namespace)
        address = made.service("web")
        eventually(lambda: receivers.answers(80, address), "the Service answers")  # kube-proxy comes after the kubelet
        yield made
