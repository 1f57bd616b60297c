"""The image, built once, and containers of it. The daemon is the tests' own and goes with them."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from tests.support import images
from tests.support.cgroups import Cgroup, sweep, v2_root
from tests.support.dockers import NEEDED, Container, Docker
from tests.support.images import House
from tests.support.marks import skip_below
from tests.support.namespaces import Namespace

UNIT, SINKS = Path(__file__).parents[1] / "unit", Path(__file__).parents[1] / "sinks"
BUILD = "the image's build"
Start = Callable[..., Container]


def obstacle() -> str:
    """Why no container can be had on this machine, in one line; empty if one can."""
    if os.geteuid() != 0:
        return "needs root"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    absent = [one for one in NEEDED if not any(Path(folder, one).exists() for folder in path.split(":"))]
    if absent:
        return f"not installed: {', '.join(absent)}"
    try:
        v2_root()
    except LookupError as error:
        return str(error)
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skip_below(Path(__file__).parent, items, obstacle())


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    sweep()
    try:
        docker = Docker().__enter__()
    except OSError as error:
        pytest.skip(str(error))
    yield docker
    docker.__exit__()


class Build:
    """The image, built beside the unit tests, which need one processor and send nothing, or beside those of sinks: they
    count what they themselves receive."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bpfleet-image-"))
        self._builder = ThreadPoolExecutor(1)
        self._built = self._builder.submit(images.build, self._folder / "image.tar")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Other suites count what this host sends: none of it is the build's."""
        if not {UNIT, SINKS} & set(item.path.parents):
            wait([self._built])

    def archive(self) -> Path:
        """Once it is there. Raises what building raised."""
        self._built.result()
        return self._folder / "image.tar"

    def pytest_unconfigure(self) -> None:
        self._builder.shutdown()
        shutil.rmtree(self._folder)


def pytest_collection_finish(session: pytest.Session) -> None:
    wanted = [item for item in session.items if Path(__file__).parent in item.path.parents]
    if wanted and not obstacle() and not session.config.option.collectonly:
        session.config.pluginmanager.register(Build(), BUILD)


@pytest.fixture(scope="session")
def image(docker: Docker, pytestconfig: pytest.Config) -> str:
    build = pytestconfig.pluginmanager.get_plugin(BUILD)
    assert isinstance(build, Build)
    try:
        images.load(docker, build.archive())
    except OSError as error:
        pytest.skip(str(error))
    return images.IMAGE


HOUSES: list[House] = []


def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """The agent ends with the last test of this directory: other suites' agents need the node for themselves."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        for house in HOUSES:
            house.empty()


@pytest.fixture(scope="session")
def house(docker: Docker, image: str) -> Iterator[House]:
    house = House(docker)
    HOUSES.append(house)
    yield house
    house.empty()


@pytest.fixture
def start(house: House) -> Start:
    """start(...): the documented command, changed."""
    return house.start


@pytest.fixture
def running(house: House) -> Container:
    """The agent as documented, shared."""
    return house.running()


@pytest.fixture
def client() -> Iterator[Cgroup]:
    """A workload of this host in a network of its own, in which only it is."""
    with Namespace("host") as namespace, Cgroup("client", namespace) as cgroup:
        yield cgroup
