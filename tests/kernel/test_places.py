"""Are the places in which workloads run what the other tests take them for?"""

from collections.abc import Callable

from tests.support.cgroups import Cgroup, tell
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]


def test_a_workload_runs_in_its_own_cgroup_and_namespace(place: Place, pair: tuple[Namespace, Namespace]) -> None:
    client = place("client", pair[0])
    shown = client.run(["sh", "-c", "cat /proc/self/cgroup; ip -brief address show veth0"]).stdout
    assert f"0::{client.workload}\n" in shown
    assert "198.51.100.1/24" in shown


def test_a_quiet_link_carries_nothing(pair: tuple[Namespace, Namespace], place: Place) -> None:
    before = [side.interface("veth0") for side in pair]
    place("client", pair[0]).run(["sleep", "1"])
    assert [side.interface("veth0") for side in pair] == before


def test_a_connection_has_the_packets_that_it_must_have(place: Place, pair: tuple[Namespace, Namespace]) -> None:
    server, client = place("server", pair[1]), place("client", pair[0])
    server.serve("198.51.100.2", 5001, mode="hold")
    before = pair[0].interface("veth0")
    held = client.begin("hold", "198.51.100.2", 5001, count=3)
    assert (pair[0].interface("veth0") - before).tx_packets == 6  # SYN and ACK of each
    assert len(pair[0].sockets("state", "established")) == 3
    tell(held, "close", "closed")
    assert pair[0].counters()["TcpActiveOpens"] == 3
    assert pair[1].counters()["TcpPassiveOpens"] == 3


def test_nothing_stays_of_a_cgroup(place: Place) -> None:
    with Cgroup("short") as cgroup:
        sleeper = cgroup.start(["sleep", "60"])
        assert cgroup.path.is_dir()
    assert not cgroup.path.exists()
    assert sleeper.poll() is not None
