"""What the kernel tests share: one agent for all that can share it, namespaces and cgroups that always go away."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.support import fast_starts
from tests.support.agents import Agent, House
from tests.support.cgroups import Cgroup, sweep, v2_root
from tests.support.marks import skip_below
from tests.support.namespaces import Namespace, veth_pair
from tests.support.relay import Relay

from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.settings import Settings
from bpfleet.api import Collector

CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF = 12, 21, 39


def obstacle() -> str:
    """Why no kernel test can run on this machine, in one line; empty if they can."""
    if os.geteuid() != 0:
        return "needs root"
    status = Path("/proc/self/status").read_text()
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff"))
    for name, number in (("CAP_BPF", CAP_BPF), ("CAP_NET_ADMIN", CAP_NET_ADMIN), ("CAP_SYS_ADMIN", CAP_SYS_ADMIN)):
        if not effective >> number & 1:
            return f"needs {name}"
    try:
        root = v2_root()
    except LookupError as error:
        return str(error)
    if not os.access(root / "cgroup.procs", os.W_OK):
        return f"cannot make cgroups under {root}"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_below(Path(__file__).parent, items, obstacle())
    # Those first that share an agent: one start for all of them, instead of one after each test that wants none.
    ours = [index for index, item in enumerate(items) if Path(__file__).parent in item.path.parents]
    for index, item in zip(ours, sorted((items[index] for index in ours), key=starts_its_own), strict=True):
        items[index] = item


def starts_its_own(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    return "alone" in item.fixturenames or "agent" not in item.fixturenames or hasattr(item.module, "agent")


HOUSE = House()


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """The shared agent ends with the last test of this directory, not with the session: the cluster's agent needs the
    node for itself. (A fixture of this scope there is none: the directory is no package.)"""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        HOUSE.empty()


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    sweep()
    yield HOUSE
    HOUSE.empty()  # also when somebody interrupts


@pytest.fixture
def agent(house: House) -> Agent:
    """The shared agent: counters of a cgroup begin at 0 because every test makes its own cgroups."""
    return house.running()


@pytest.fixture
def alone(house: House) -> House:
    """No agent runs: the test starts what it needs."""
    house.empty()
    return house


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def place(stack: ExitStack) -> Callable[..., Cgroup]:
    """place("server", namespace): a cgroup for the time of the test."""
    return lambda name, namespace=None: stack.enter_context(Cgroup(name, namespace))


@pytest.fixture
def pair(stack: ExitStack) -> tuple[Namespace, Namespace]:
    """Two namespaces joined by veth: 192.0.2.1 and 2001:db8::1, 192.0.2.2 and 2001:db8::2. No ARP, no ND."""
    first, second = stack.enter_context(Namespace("a")), stack.enter_context(Namespace("b"))
    stack.enter_context(veth_pair(first, second))
    return first, second


@pytest.fixture
def relay(stack: ExitStack) -> Relay:
    """Two namespaces with the relay between them, perfect until told otherwise."""
    return stack.enter_context(Relay())


@pytest.fixture
def door(stack: ExitStack) -> Callable[..., Loaded]:
    """door(cgroup, *collectors): these in the kernel without an agent, for all beside and below that cgroup."""
    settings = Settings()

    def load(cgroup: Cgroup, *collectors: Collector) -> Loaded:
        chosen = KernelSettings(
            cgroup_root=str(cgroup.path.parent),
            limits=asdict(settings.limits),
            bounds=asdict(settings.histograms),
            cache=str(fast_starts.programs()),
        )
        return stack.enter_context(closing(KernelDoor().load(collectors, chosen)))

    return load
