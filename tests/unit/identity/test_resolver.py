"""From a directory of cgroups and a script of API answers to owners and peers."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.unit.identity import recordings

from agent.identity import addresses, resolver, static
from agent.identity.cgroups import CgroupTree
from agent.identity.cluster import GRACE_SECONDS, Cluster
from agent.identity.fake import FakeApi
from agent.identity.host import Docker, Host
from agent.identity.model import NOBODY, OTHER, Owner, Peer
from agent.identity.netns import KERNEL_THREAD
from agent.identity.peers import HostPeers
from agent.identity.resolver import Resolver
from bpfleet.errors import SettingsError
from bpfleet.metrics import Flow, NetworkNamespace

WEB = "d6556dcb-28bc-47aa-99e3-6e7a24ef957b"
NGINX = "0e1d3c4c6a3c20c1fba72b742a707d8c5bd782b8fb204a2ad8f0b822aafd8f10"
SANDBOX = "bb0a920443fee734807ba77999ce6c5c5f19526516969f31702512afe72403d0"


class Node:
    """A machine: cgroups in a directory, and a cluster that answers by the recordings once connect() was called."""

    def __init__(self, root: Path, clock, cluster: bool = True, rules: tuple[static.Rule, ...] = ()) -> None:
        self.root = root
        self.api = FakeApi({})
        self.cluster = Cluster(self.api, "node0", clock, jitter=lambda: 1.0) if cluster else None
        docker = Docker(root / "no-docker", root / "no.sock")
        self.resolver = Resolver(
            CgroupTree(root / "cgroup", clock),
            Host(docker, clock, "node0"),
            HostPeers(lambda: set(addresses.parse_all(["10.89.0.1"])), clock, "node0"),
            self.cluster,
            rules,
            "node0",
        )

    def make(self, path: str) -> int:
        directory = self.root / "cgroup" / path.lstrip("/")
        directory.mkdir(parents=True)
        cgroup_id = directory.stat().st_ino
        self.resolver.tree.made(cgroup_id, path)
        return cgroup_id

    def remove(self, path: str, cgroup_id: int) -> None:
        (self.root / "cgroup" / path.lstrip("/")).rmdir()
        self.resolver.tree.removed(cgroup_id)

    def connect(self) -> None:
        assert self.cluster
        self.api.answers = recordings.answers()
        for watch in self.cluster.watches:
            watch.step()
        self.resolver.refresh()


@pytest.fixture
def node(tmp_path: Path, clock: Callable[[], float]) -> Node:
    (tmp_path / "cgroup").mkdir()
    return Node(tmp_path, clock)


@pytest.fixture
def host(tmp_path: Path, clock: Callable[[], float]) -> Node:
    (tmp_path / "cgroup").mkdir()
    return Node(tmp_path, clock, cluster=False)


def test_a_container_of_a_pod_has_all_that_the_api_tells(node: Node) -> None:
    cgroup_id = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    node.connect()
    owner = node.resolver.owner(cgroup_id)
    assert owner == Owner(
        namespace="shop",
        pod="web-99b876dc4-4wqmg",
        container="nginx",
        workload="web",
        workload_kind="Deployment",
        image="registry.k8s.io/pause:3.10",
        node="node0",
        zone="zone-b",
        key=NGINX,
        pod_uid=WEB,
    )
    assert node.resolver.owner(cgroup_id) is owner


def test_a_pod_is_asked_for_again_until_the_api_has_told_of_it(node: Node, clock) -> None:
    cgroup_id = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    clock.pass_by(GRACE_SECONDS)
    node.resolver.refresh()
    assert node.resolver.owner(cgroup_id) is None
    final = node.resolver.final_owner(cgroup_id)
    assert final.labels == ("_unknown", WEB, NGINX[:12], WEB, "Pod") and not final.settled
    node.connect()
    assert node.resolver.owner(cgroup_id).labels == ("shop", "web-99b876dc4-4wqmg", "nginx", "web", "Deployment")
    assert node.resolver.ended(final)


def test_a_container_that_is_in_no_pods_status_counts_for_its_pod(node: Node) -> None:
    cgroup_id = node.make(f"/kubepods/burstable/pod{WEB}/{SANDBOX}")
    node.connect()
    assert node.resolver.owner(cgroup_id) is None
    final = node.resolver.final_owner(cgroup_id)
    assert final.labels == ("shop", "web-99b876dc4-4wqmg", "", "web", "Deployment")
    assert not final.settled and not node.resolver.ended(final)
    assert list(node.resolver.living()) == []


def test_nothing_is_named_before_the_lists_arrived_or_the_grace_is_over(node: Node, clock) -> None:
    cgroup_id = node.make("/system.slice/nginx.service")
    assert node.resolver.owner(cgroup_id) is None
    clock.pass_by(GRACE_SECONDS)
    assert node.resolver.owner(cgroup_id).labels == ("_host", "", "", "nginx.service", "SystemdUnit")


def test_identities_outlive_the_server_the_pod_and_the_cgroup(node: Node, clock) -> None:
    path = f"/kubepods/burstable/pod{WEB}/{NGINX}"
    cgroup_id = node.make(path)
    node.connect()
    before = node.resolver.owner(cgroup_id)
    node.remove(path, cgroup_id)
    while clock.now < 1300:
        clock.pass_by(30)
        assert {watch.step() > 0 for watch in node.cluster.watches} == {True}
        node.resolver.refresh()
        assert node.resolver.owner(cgroup_id) == before and node.resolver.ended(before)
    clock.pass_by(30)
    node.resolver.refresh()
    assert node.resolver.owner(cgroup_id) is None
    assert node.resolver.final_owner(cgroup_id) == NOBODY


def test_a_node_that_moves_takes_its_owners_along(node: Node) -> None:
    cgroup_id = node.make("/system.slice/nginx.service")
    node.connect()
    assert node.resolver.owner(cgroup_id).zone == "zone-b"
    moved = {"metadata": {"name": "node0", "labels": {"topology.kubernetes.io/zone": "zone-c"}}}
    node.cluster.peers.nodes.put(moved)
    node.resolver.refresh()
    assert node.resolver.owner(cgroup_id).zone == "zone-c"


def test_living_containers_are_listed_once_each(node: Node) -> None:
    path = f"/kubepods/burstable/pod{WEB}/{NGINX}"
    ids = [node.make(each) for each in (path, f"{path}/init.scope", "/system.slice/nginx.service")]
    node.connect()
    assert [owner.container for owner in node.resolver.living()] == ["nginx"]
    owner = node.resolver.owner(ids[0])
    node.remove(f"{path}/init.scope", ids[1])
    node.resolver.refresh()
    assert not node.resolver.ended(owner)
    node.remove(path, ids[0])
    node.resolver.refresh()
    assert node.resolver.ended(owner) and not list(node.resolver.living())


def test_what_the_kernel_could_not_tell_apart_never_ends(node: Node) -> None:
    for owner, cgroup_id in ((OTHER, 0), (NOBODY, 10**12)):
        assert node.resolver.final_owner(cgroup_id) == owner
        assert not node.resolver.ended(owner)
    assert node.resolver.owner(0) == OTHER
    assert node.resolver.owner(10**12) is None
    assert OTHER.labels == ("_other", "", "", "_other", "")


def test_on_a_host_every_cgroup_has_an_owner_at_once(host: Node) -> None:
    paths = {
        "/": ("_host", "", "", "/", "Cgroup"),
        "/system.slice/nginx.service": ("_host", "", "", "nginx.service", "SystemdUnit"),
        f"/docker/{NGINX}": ("_host", "", NGINX[:12], NGINX[:12], "Container"),
        f"/kubepods/burstable/pod{WEB}/{NGINX}": ("_host", "", NGINX[:12], NGINX[:12], "Container"),
        "/tenants/a": ("_host", "", "", "/tenants/a", "Cgroup"),
    }
    ids = {path: (host.root / "cgroup").stat().st_ino if path == "/" else host.make(path) for path in paths}
    assert {path: host.resolver.owner(ids[path]).labels for path in paths} == paths
    host.resolver.refresh()
    assert [owner.workload for owner in host.resolver.living()] == [NGINX[:12]]


def test_on_a_host_peers_are_this_machine_or_another(host: Node) -> None:
    host.resolver.refresh()
    me = host.resolver.owner(0)
    for address, expected in (("10.89.0.1", Peer("host", "", "node0")), ("192.0.2.1", Peer("external"))):
        assert host.resolver.peer(Flow(addresses.parse(address), 80, "tcp"), me) == expected


def test_networks_with_a_name_are_peers_where_there_is_no_other(host: Node) -> None:
    me = host.resolver.owner(host.make("/system.slice/sshd.service"))
    host.resolver.refresh()
    host.resolver.adjust((), 300.0, ("box=10.0.0.0/8", "metadata=169.254.169.254", "partner=203.0.113.0/24@eu-2"))
    found = {
        "10.89.0.1": Peer("host", "", "node0"),  # its own
        "10.89.0.2": Peer("external", "", "box"),
        "169.254.169.254": Peer("external", "", "metadata"),
        "203.0.113.7": Peer("external", "", "partner", "eu-2"),
        "8.8.8.8": Peer("external"),
        "224.0.0.1": Peer("unknown"),
    }
    for address, expected in found.items():
        assert host.resolver.peer(Flow(addresses.parse(address), 80, "tcp"), me) == expected
    host.resolver.adjust((), 300.0)
    assert host.resolver.peer(Flow(addresses.parse("10.89.0.2"), 80, "tcp"), me) == Peer("external")


def test_in_a_cluster_networks_have_names_once_its_own_are_known(node: Node) -> None:
    node.resolver.adjust((), 300.0, ("all=0.0.0.0/0",))
    flow = Flow(addresses.parse("203.0.113.7"), 80, "tcp")
    assert node.resolver.peer(flow, NOBODY) == Peer("unknown")
    node.connect()
    assert node.resolver.peer(flow, NOBODY) == Peer("external", "", "all")


def test_a_zone_given_by_hand_is_that_of_all_that_runs_here(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("- {cgroup: /tenants/a, workload: a}\n")
    (tmp_path / "tenants/a").mkdir(parents=True)
    made = resolver.assemble(
        tmp_path, node="box", kubernetes="off", proc=tmp_path, static_file=str(rules), docker=False, zone="eu-1"
    )
    made.refresh()
    named, plain = (made.owner(path.stat().st_ino) for path in (tmp_path / "tenants/a", tmp_path / "tenants"))
    assert named and plain and (named.zone, plain.zone) == ("eu-1", "eu-1")
    assert made.peer(Flow(addresses.parse("127.0.0.1"), 80, "tcp"), plain) == Peer("host", "", "box", "eu-1")


def test_names_given_by_hand_come_first(tmp_path: Path, clock) -> None:
    (tmp_path / "cgroup").mkdir()
    rule = static.Rule("/system.slice/nginx.*", {"namespace": "shop", "workload": "edge"})
    node = Node(tmp_path, clock, rules=(rule,))
    owner = node.resolver.owner(node.make("/system.slice/nginx.service"))
    assert owner.labels == ("shop", "", "", "edge", "")


def test_a_thousand_short_lived_cgroups_under_ten_names_are_never_confused(host: Node, clock) -> None:
    for cgroup_id in range(10**6, 10**6 + 1000):
        clock.pass_by(0.1)
        host.resolver.tree.made(cgroup_id, f"/jobs/{cgroup_id % 10}")
        host.resolver.tree.removed(cgroup_id)
    wrong = [
        cgroup_id
        for cgroup_id in range(10**6, 10**6 + 1000)
        if host.resolver.owner(cgroup_id).workload != f"/jobs/{cgroup_id % 10}"
    ]
    assert wrong == []


def test_rules_that_change_rename_who_lives_and_the_old_name_has_ended(host: Node) -> None:
    edge = static.Rule("/unit.service", {"namespace": "shop", "workload": "edge"})
    cgroup_id, other = host.make("/unit.service"), host.make("/other.service")
    before, kept = host.resolver.owner(cgroup_id), host.resolver.owner(other)
    host.resolver.refresh()
    assert host.resolver.adjust((edge,), 60.0)
    assert not host.resolver.adjust((edge,), 60.0), "the same rules are no change"
    after = host.resolver.owner(cgroup_id)
    assert after.labels == ("shop", "", "", "edge", "")
    host.resolver.refresh()
    assert host.resolver.ended(before) and not host.resolver.ended(after) and not host.resolver.ended(kept)
    assert host.resolver.adjust((), 60.0)
    assert host.resolver.owner(cgroup_id) == before


def test_names_are_kept_for_the_new_time(node: Node, clock) -> None:
    node.connect()
    cgroup_id = node.make("/unit.service")
    node.resolver.adjust((), 10.0)
    node.remove("/unit.service", cgroup_id)
    clock.pass_by(9)
    node.resolver.refresh()
    assert node.resolver.owner(cgroup_id) is not None
    clock.pass_by(2)
    node.resolver.refresh()
    assert node.resolver.owner(cgroup_id) is None
    assert node.cluster.pods.keep_seconds == node.cluster.peers.keep_seconds == 10.0


HOSTILE = ["a\nb", 'a"b\\', "\x1b[31m", "{}", "‮", "a" * 200, "𝕏", "%s%n", "$(reboot)", "pod", "..."]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_cgroup_names_are_only_names(host: Node, name: str) -> None:
    owner = host.resolver.owner(host.make(f"/{name}"))
    assert owner.labels == ("_host", "", "", f"/{name}", "Cgroup")


def test_the_state_is_told(node: Node) -> None:
    node.make("/system.slice/nginx.service")
    node.connect()
    status = node.resolver.status()
    assert status["cgroups"] == 3 and status["containers"] == 0
    assert status["kubernetes"]["pods"]["objects"] == 8
    assert status["service_backends_left_out"] == 0


def test_the_pods_behind_services_are_those_that_the_api_tells(node: Node) -> None:
    assert node.resolver.backends() == ()
    node.connect()
    assert sorted(node.resolver.backends()) == [
        ("kube-system", "kube-dns", "tcp", "53", "coredns-66dcfddf57-lphmv", "53"),
        ("kube-system", "kube-dns", "tcp", "9153", "coredns-66dcfddf57-lphmv", "9153"),
        ("kube-system", "kube-dns", "udp", "53", "coredns-66dcfddf57-lphmv", "53"),
        ("shop", "web", "tcp", "80", "web-99b876dc4-lm6lb", "8080"),
    ]


def test_a_real_machine_is_put_together_from_settings(tmp_path: Path) -> None:
    (tmp_path / "unit.service").mkdir()
    built = resolver.assemble(tmp_path, node="box", kubernetes="off", proc=tmp_path)
    built.refresh()
    owner = built.owner((tmp_path / "unit.service").stat().st_ino)
    assert owner.labels == ("_host", "", "", "unit.service", "SystemdUnit") and owner.node == "box"
    built.stop()


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="node_name"):
        resolver.assemble(tmp_path, node="", kubernetes="on")
    with pytest.raises(SettingsError, match="absent"):
        resolver.assemble(tmp_path, node="box", kubernetes="off", static_file=str(tmp_path / "absent"))


def test_the_api_being_away_at_the_start_is_no_error(node: Node, clock) -> None:
    for watch in node.cluster.watches:
        assert watch.step() == 1.0
    node.resolver.refresh()
    assert node.resolver.status()["kubernetes"]["pods"]["error"] == "the server is away"


class Process(NamedTuple):
    namespace: int
    cgroup_id: int
    number: int = 4711


HOST_NETWORK, POD_NETWORK = NetworkNamespace(3), NetworkNamespace(7)


def live(node: Node, *cgroups: int, in_host: tuple[int, ...] = ()) -> None:
    """These cgroups have a process each in the pod's network."""
    processes = [Process(3, node.resolver.tree.scan() or 1, KERNEL_THREAD), *(Process(3, each) for each in in_host)]
    node.resolver.namespaces.follow(lambda: [*processes, *(Process(7, each) for each in cgroups)])
    node.resolver.refresh()


def test_the_network_of_one_pod_is_the_pods_and_no_containers(node: Node) -> None:
    pause = node.make(f"/kubepods/burstable/pod{WEB}/{SANDBOX}")
    nginx = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    below = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}/init.scope")
    node.connect()
    live(node, pause, nginx, below)
    owner = node.resolver.owner(POD_NETWORK)
    assert owner and owner.labels == ("shop", "web-99b876dc4-4wqmg", "", "web", "Deployment")
    assert owner.zone == "zone-b" and not node.resolver.ended(owner)
    for path, cgroup_id in (("/init.scope", below), ("", nginx)):
        node.remove(f"/kubepods/burstable/pod{WEB}/{NGINX}{path}", cgroup_id)
    node.remove(f"/kubepods/burstable/pod{WEB}/{SANDBOX}", pause)
    (node.root / "cgroup" / f"kubepods/burstable/pod{WEB}").rmdir()
    node.resolver.tree.scan()
    node.resolver.refresh()
    assert node.resolver.ended(owner)


def test_a_network_that_a_pod_shares_is_the_nodes(node: Node) -> None:
    nginx = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    shell = node.make("/user.slice/user-0.slice")
    node.connect()
    live(node, nginx, shell)
    assert node.resolver.owner(POD_NETWORK).labels == ("_host", "", "", "/", "Cgroup")
    live(node, nginx)
    assert node.resolver.final_owner(POD_NETWORK).pod == "web-99b876dc4-4wqmg"


def test_the_hosts_network_is_the_nodes_also_for_a_pod_in_it(node: Node) -> None:
    nginx = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    node.connect()
    live(node, in_host=(nginx,))
    owner = node.resolver.owner(HOST_NETWORK)
    assert owner and owner.labels == ("_host", "", "", "/", "Cgroup")
    assert owner.node == "node0" and not node.resolver.ended(owner)


def test_the_network_of_a_pod_waits_until_the_api_has_told_of_it(node: Node, clock) -> None:
    nginx = node.make(f"/kubepods/burstable/pod{WEB}/{NGINX}")
    clock.pass_by(GRACE_SECONDS)
    live(node, nginx)
    assert node.resolver.owner(POD_NETWORK) is None
    assert node.resolver.final_owner(POD_NETWORK).labels == ("_unknown", WEB, "", WEB, "Pod")


def test_outside_kubernetes_a_network_is_its_one_workloads(host: Node) -> None:
    first, second = host.make("/tenants.service/a"), host.make("/tenants.service/b")
    live(host, first, second)
    assert host.resolver.owner(POD_NETWORK).labels == ("_host", "", "", "tenants.service", "SystemdUnit")
    live(host, first, host.make("/other.service"))
    assert host.resolver.owner(POD_NETWORK).workload == "/"


def test_a_pod_is_one_workload_also_where_the_api_is_not_asked(host: Node) -> None:
    containers = [host.make(f"/kubepods/burstable/pod{WEB}/{each}") for each in (SANDBOX, NGINX)]
    live(host, *containers)
    assert host.resolver.owner(POD_NETWORK).workload == f"/kubepods/burstable/pod{WEB}"


def test_a_packet_that_tells_no_network_is_nobodys(host: Node) -> None:
    live(host)
    assert host.resolver.owner(NetworkNamespace(0)) is NOBODY
    host.resolver.namespaces.follow(None)
    assert host.resolver.owner(POD_NETWORK) is NOBODY
