"""One cluster for all tests of this directory: made from nothing, changed by pushes, and taken back.

The first directory of the suite: a node has one agent, and the others' pod stays until the end of the session."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.cluster.gitops import places, platforms, sources
from tests.cluster.gitops.api import Api
from tests.cluster.gitops.fleets import RELEASE, Fleet
from tests.cluster.gitops.places import Discord, Place
from tests.cluster.gitops.platforms import Platform, kubectl
from tests.image.conftest import BUILD, obstacle
from tests.support import images

TOOK: dict[str, float] = {}
"""Seconds that people ask for; no test asserts them."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TOOK:
        told = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in TOOK.items())
        terminalreporter.write_line(f"cluster: {told}")


OWN = ("flux-system", "monitoring", RELEASE[0])


@pytest.fixture(scope="package")
def api(kube: Any) -> Api:
    return Api(kube)


@pytest.fixture(scope="package")
def platform(kube: Any) -> Platform:
    found, reason = platforms.find()
    if found is None:
        pytest.skip(reason)
    there = {each.metadata.name for each in kube.client.CoreV1Api().list_namespace().items} & set(OWN)
    if there:
        pytest.skip(f"the cluster has {', '.join(sorted(there))} already")
    return found


@pytest.fixture(scope="package")
def loaded(
    platform: Platform, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """With the agent's image in the nodes, Flux, and the operator where the bundle expects one."""
    build: Any = pytestconfig.pluginmanager.get_plugin(BUILD)  # where the suite `image` runs, too
    if build:
        archive = build.archive()
    elif said := obstacle():
        pytest.skip(said)
    else:
        archive = tmp_path_factory.mktemp("image") / "image.tar"
        images.build(archive)
    platform.load(archive)
    try:
        platform.install()
        yield platform
    finally:
        platform.remove()


@pytest.fixture(scope="package")
def discord(kube: Any, loaded: Platform) -> Iterator[Discord]:
    with places.made(kube, "discord.yaml", 1) as namespace:
        yield Discord(kube.client.CoreV1Api(), namespace)


@pytest.fixture(scope="package")
def fleet(
    api: Api, loaded: Platform, discord: Discord, node: str, node_address: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleet]:  # fmt: skip
    """Green."""
    folder = tmp_path_factory.mktemp("fleet")
    with ExitStack() as stack:
        source = loaded.source(node_address, folder)
        stack.callback(source.close)
        fleet = Fleet(api, loaded, source, sources.copy_tree(folder / "tree"), TOOK)
        fleet.begin()
        kubectl("apply", "--filename=-", input="{apiVersion: v1, kind: Namespace, metadata: {name: monitoring}}")
        kubectl(
            "--namespace=monitoring", "create", "secret", "generic", "alertmanager-discord",
            f"--from-literal=page={discord.url}/page", f"--from-literal=ticket={discord.url}/ticket",
        )  # fmt: skip
        stack.callback(fleet.remove)
        fleet.start()
        yield fleet


@pytest.fixture(scope="package")
def shop(kube: Any, fleet: Fleet) -> Iterator[Place]:
    """A namespace of the tier `critical`."""
    with places.made(kube, "workloads.yaml", 3, "critical") as namespace:
        yield Place(namespace)


@pytest.fixture(scope="package")
def calm(kube: Any, fleet: Fleet) -> Iterator[Place]:
    """Its neighbour, of the default tier."""
    with places.made(kube, "workloads.yaml", 3) as namespace:
        yield Place(namespace)


@pytest.fixture
def settled(fleet: Fleet) -> Iterator[Fleet]:
    """A cluster that stands at the newest revision, and is taken back to it: what a test pushes it takes back."""
    yield fleet
    fleet.restore()
