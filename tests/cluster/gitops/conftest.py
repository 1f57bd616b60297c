"""One cluster for all tests of this directory: made from nothing, changed by pushes, and taken back.

The first directory of the suite: a node has one agent, and the others' pod stays until the end of the session."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from tests.cluster.gitops import places, platforms, sources
from tests.cluster.gitops.api import Api
from tests.cluster.gitops.fleets import RELEASE, Fleet
from tests.cluster.gitops.places import ONE_IN, Discord, Place
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
def image(
    platform: Platform, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], None]]:
    """The agent's, on its way into the nodes; gives what waits until it is there, and raises what kept it away."""
    build: Any = pytestconfig.pluginmanager.get_plugin(BUILD)  # where the suite `image` runs, too
    archive = tmp_path_factory.mktemp("image") / "image.tar"

    def bring() -> None:
        if build:
            platform.load(build.archive())
        else:
            images.build(archive)
            platform.load(archive)

    if not build and (said := obstacle()):
        yield lambda: pytest.skip(said)
        return
    with ThreadPoolExecutor(1) as beside:
        brought = beside.submit(bring)
        yield brought.result


@pytest.fixture(scope="package")
def installed(platform: Platform, image: Callable[[], None]) -> Iterator[Platform]:
    """Flux, and the operator where the bundle expects one."""
    try:
        platform.install()
        yield platform
    finally:
        platform.remove()


@pytest.fixture(scope="package")
def kinds(request: pytest.FixtureRequest) -> None:
    """Those of Flux and of the operator, where they can be had, before any policy of the bundle judges them."""
    with suppress(pytest.skip.Exception):
        request.getfixturevalue("installed")


@pytest.fixture(scope="package")
def loaded(installed: Platform, image: Callable[[], None]) -> Platform:
    """With the agent's image in the nodes, too."""
    image()
    return installed


@pytest.fixture(scope="package")
def discord(kube: Any, loaded: Platform) -> Iterator[Discord]:
    with places.made(kube, "discord.yaml") as namespace:
        yield Discord(kube.client.CoreV1Api(), namespace)


@pytest.fixture(scope="package")
def starting(kube: Any, loaded: Platform) -> Iterator[tuple[Place, Place]]:
    """Namespaces whose pods start while the bundle does: shop and calm."""
    with places.made(kube, "workloads.yaml", "critical") as shop, places.made(kube, "workloads.yaml") as calm:
        yield Place(shop), Place(calm)


@pytest.fixture(scope="package")
def fleet(
    kube: Any, api: Api, loaded: Platform, discord: Discord, starting: tuple[Place, Place], node_address: str,
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
        places.run(kube, discord.namespace, 1)
        yield fleet


@pytest.fixture(scope="package")
def shop(kube: Any, starting: tuple[Place, Place], fleet: Fleet) -> Place:
    """A namespace of the tier `critical`."""
    places.run(kube, starting[0].namespace, 3)
    return starting[0]


@pytest.fixture(scope="package")
def calm(kube: Any, starting: tuple[Place, Place], fleet: Fleet) -> Place:
    """Its neighbour, of the default tier."""
    places.run(kube, starting[1].namespace, 3)
    return starting[1]


@pytest.fixture(scope="package")
def burning(fleet: Fleet, shop: Place, calm: Place) -> None:
    """Errors of shop, where there were none. Rules look back over a minute and routes wait: other tests run meanwhile,
    and test_errors looks."""
    for place in (shop, calm):
        ratio = place.error_ratio
        fleet.until(lambda ratio=ratio: fleet.prometheus.value(ratio) == 0, f"{ratio} is 0")
    assert not {namespace for _, namespace in fleet.prometheus.firing()} & {shop.namespace, calm.namespace}
    tier = f'slo:namespace_tier:info{{namespace="{shop.namespace}",tier="critical"}}'
    assert fleet.prometheus.query(tier)
    shop.errors(ONE_IN)


@pytest.fixture(scope="module")
def settled(fleet: Fleet) -> Fleet:
    """A cluster that stands at what was pushed first."""
    fleet.restore()
    return fleet


@pytest.fixture
def edited(settled: Fleet) -> Iterator[Fleet]:
    """What a test edits it takes back in the tree: the cluster gets that by the next push."""
    yield settled
    settled.undo()
