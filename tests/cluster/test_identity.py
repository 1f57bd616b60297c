"""Identity against a real API server and real pods: names are right, and stay so while the server is away."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import IMAGE, eventually, running
from tests.cluster.gates import Gate

from agent.identity import addresses
from agent.identity.cgroups import CgroupTree
from agent.identity.cluster import Cluster
from agent.identity.host import Docker, Host
from agent.identity.kubernetes import KubernetesApi
from agent.identity.model import OTHER, Owner, Peer
from agent.identity.peers import HostPeers
from agent.identity.resolver import Resolver
from bpfleet.metrics import Flow

pytestmark = [
    # the whole client keeps its connections, and watch threads end with their process
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KINDS = {
    "server": ("web", "Deployment"),
    "sidecar": ("web", "Deployment"),
    "db": ("db", "StatefulSet"),
    "exporter": ("exporter", "DaemonSet"),
    "migrate": ("migrate-20261121", "Job"),
    "backup": ("backup", "CronJob"),
    "shell": ("debug", "Pod"),
}


class Agent:
    """The identity of an agent on this machine."""

    def __init__(self, node: str, kubeconfig: str) -> None:
        self.tree = CgroupTree(cgroup_root(), time.monotonic)
        self.cluster = Cluster(KubernetesApi(kubeconfig), node, time.monotonic)
        self.resolver = Resolver(
            self.tree,
            Host(Docker(), time.monotonic, node),
            HostPeers(set, time.monotonic, node),
            self.cluster,
            node=node,
        )
        self.cluster.start()

    def synced(self) -> bool:
        return all(watch.synced for watch in self.cluster.watches)

    def lists(self) -> set[int]:
        return {watch.lists for watch in self.cluster.watches}

    def owners(self) -> dict[str, Owner]:
        """By container id."""
        self.tree.scan()
        self.resolver.refresh()
        return {owner.key: owner for owner in self.resolver.living()}


def cgroup_root() -> Path:
    """Of the v2 hierarchy."""
    lines = Path("/proc/self/mountinfo").read_text("ascii").splitlines()
    return Path(next(line.split()[4] for line in lines if " - cgroup2 " in line))


@pytest.fixture
def agent(node: str, kubeconfig: Callable[[], str]) -> Iterator[Agent]:
    agent = Agent(node, kubeconfig())
    eventually(agent.synced, "all lists arrived", seconds=10)
    yield agent
    agent.cluster.stop()


def test_every_container_has_the_names_that_the_api_tells(kube: Any, namespace: str, node: str, agent: Agent) -> None:
    expected = {
        container_id: (namespace, pod, container, *KINDS[container])
        for container_id, (_, pod, container) in running(kube, namespace).items()
    }
    eventually(lambda: expected.keys() <= agent.owners().keys(), "the agent knows all containers", seconds=10)
    owners = agent.owners()
    assert {key: owners[key].labels for key in expected} == expected
    assert {(owners[key].image, owners[key].node) for key in expected} == {(IMAGE, node)}
    assert len(expected) == 9 and {labels[4] for labels in expected.values()} == {kind for _, kind in KINDS.values()}


def test_every_address_has_the_peer_that_the_api_tells(kube: Any, namespace: str, node: str, agent: Agent) -> None:
    core = kube.client.CoreV1Api()
    service = core.read_namespaced_service("web", namespace)
    pods = core.list_namespaced_pod(namespace, label_selector="app in (web, db)").items
    expected = {service.spec.cluster_ip: Peer("service", namespace, "web")}
    expected |= {pod.status.pod_ip: Peer("pod", namespace, pod.metadata.name) for pod in pods}
    addresses_of_node = core.read_node(node).status.addresses
    expected |= {each.address: Peer("node", "", node) for each in addresses_of_node if each.type == "InternalIP"}
    agent.resolver.refresh()
    for address, peer in expected.items():
        packed = addresses.parse(address)
        assert packed
        assert agent.resolver.peer(Flow(packed, 80, "tcp"), OTHER)._replace(zone="") == peer


def test_a_server_that_is_away_takes_no_names_with_it(kube: Any, namespace: str, agent: Agent, gate: Gate) -> None:
    before = agent.owners()
    gate.shut()
    eventually(lambda: not any(watch.synced for watch in agent.cluster.watches), "the agent notices", seconds=10)
    pod = {"metadata": {"name": "meanwhile"}, "spec": {"containers": [{"name": "shell", "image": IMAGE}]}}
    kube.client.CoreV1Api().create_namespaced_pod(namespace, pod)
    eventually(lambda: any(pod == "meanwhile" for _, pod, _ in running(kube, namespace).values()), "the pod runs")
    attempts = gate.connections
    time.sleep(10)
    assert gate.connections - attempts <= 4 * 5
    assert {key: owner.labels for key, owner in agent.owners().items() if key in before} == {
        key: owner.labels for key, owner in before.items()
    }
    gate.open()
    eventually(lambda: any(owner.pod == "meanwhile" for owner in agent.owners().values()), "the new pod is known")
    eventually(agent.synced, "all watches go on")
    assert agent.lists() == {1}
    kube.client.CoreV1Api().delete_namespaced_pod("meanwhile", namespace, grace_period_seconds=0)


def test_an_agent_may_start_before_its_server(node: str, kubeconfig: Callable[[], str], gate: Gate) -> None:
    file = kubeconfig()
    gate.shut()
    agent = Agent(node, file)
    eventually(lambda: all(watch.failures for watch in agent.cluster.watches), "the agent has tried", seconds=10)
    assert agent.owners() == {}
    gate.open()
    eventually(agent.synced, "all lists arrived", seconds=40)
    assert agent.owners()
    agent.cluster.stop()


def test_a_server_that_hangs_holds_nothing_up(agent: Agent, gate: Gate) -> None:
    before = agent.owners()
    gate.hold()
    started = time.monotonic()
    assert agent.owners().keys() >= before.keys()
    assert time.monotonic() - started < 1
    gate.open()
    eventually(agent.synced, "all watches go on")


def test_a_token_that_is_not_valid_any_more_is_read_again(
    node: str, kubeconfig: Callable[[str], str], gate: Gate
) -> None:
    agent = Agent(node, kubeconfig("not.a.token"))
    eventually(lambda: all("401" in watch.error for watch in agent.cluster.watches), "the server refuses", seconds=10)
    kubeconfig("")
    eventually(agent.synced, "the new token is in use", seconds=40)
    agent.cluster.stop()
