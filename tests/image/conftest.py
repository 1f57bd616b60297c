"""The image, built once, and containers of it. The daemon is the tests' own and goes with them."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support import debians
from tests.support.agents import DRAIN_SECONDS, OTHERS_SECONDS, REPOSITORY, SCRAPE_SECONDS
from tests.support.cgroups import Cgroup, sweep, v2_root
from tests.support.dockers import NEEDED, Container, Docker
from tests.support.namespaces import Namespace

IMAGE = "bpfleet-agent:local"
NAME = "bpfleet-agent"
PORT = 9436

BUILD_SECONDS = 600.0
"""Debian's packages and LLVM among them come from elsewhere; with everything in the cache it is a tenth."""

STORAGE_BYTES = 6 << 30
"""Layers of earlier builds that are kept, so that a build takes seconds; past this they are made anew."""

AUTHORITIES = Path("/usr/local/share/ca-certificates")
"""A proxy's authority that this machine trusts: the build may have to, too."""

FAST = (
    f"--env BPFLEET_DRAIN_INTERVAL_SECONDS={DRAIN_SECONDS} --env BPFLEET_SCRAPE_INTERVAL_SECONDS={SCRAPE_SECONDS}"
    " --env BPFLEET_IDENTITY_KUBERNETES=off --health-interval 2s"
)

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
    here = Path(__file__).parent
    reason = obstacle()
    for item in items:
        if reason and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="package")
def docker() -> Iterator[Docker]:
    sweep()
    with Docker() as docker:
        yield docker


@pytest.fixture(scope="package")
def image(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built by `scripts/image` with buildah and loaded into the daemon, whose own network has no way out."""
    folder = tmp_path_factory.mktemp("image")
    built(folder / "image.tar")
    docker.docker("load", "--quiet", "--input", str(folder / "image.tar"))
    (folder / "image.tar").unlink()
    docker.docker("tag", f"localhost/{IMAGE}", IMAGE)
    return IMAGE


def built(archive: Path) -> None:
    storage = debians.cache() / "buildah"
    configuration = archive.with_name("storage.conf")
    configuration.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{storage}"\nrunroot = "{archive.parent}/buildah"\n'
    )
    environment = os.environ | {"CONTAINERS_STORAGE_CONF": str(configuration), "BUILDAH_ISOLATION": "chroot"}
    more = ["--network", "host", "--pull-never"]
    if AUTHORITIES.is_dir() and any(AUTHORITIES.iterdir()):
        more += ["--volume", f"{AUTHORITIES}:{AUTHORITIES}:ro"]

    def run(*argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """In a mount namespace of its own: buildah leaves a mount of its storage behind."""
        return subprocess.run(
            ["unshare", "--mount", *argv], cwd=REPOSITORY, env=environment | {"BUILDER": "buildah"}, text=True,
            capture_output=True, timeout=BUILD_SECONDS, check=check,
        )  # fmt: skip

    if (
        storage.exists()
        and int(run("du", "--summarize", "--block-size=1", str(storage)).stdout.split()[0]) > STORAGE_BYTES
    ):
        run("rm", "--recursive", str(storage))
    base = "docker.io/library/debian:trixie-slim"
    if run("buildah", "inspect", "--type", "image", base, check=False).returncode:
        container = run("buildah", "from", "scratch").stdout.strip()
        run("buildah", "add", container, str(debians.base_archive()), "/")
        run("buildah", "commit", "--quiet", "--rm", container, base)
    made = run("scripts/image", IMAGE, *more, check=False)
    assert made.returncode == 0, f"the image cannot be built:\n{made.stdout[-2000:]}{made.stderr[-4000:]}"
    run("buildah", "push", "--quiet", IMAGE, f"docker-archive:{archive}:{IMAGE}")


def documented() -> str:
    """The command that docs/container.md tells to run."""
    page = (REPOSITORY / "docs/container.md").read_text("utf-8")
    found = re.search(r"```sh\n(.*?)```", page, re.DOTALL)
    assert found
    return found[1]


class House:
    """One container at a time, and the documented one is kept while tests ask for no other."""

    def __init__(self, docker: Docker) -> None:
        self.docker = docker
        self._shared: Container | None = None
        self._last: Container | None = None

    def start(self, less: str = "", more: str = FAST, ready: int = 200) -> Container:
        """The documented command with `less` taken out and `more` put in, once /readyz has that status (0: at once)."""
        end = time.monotonic() + OTHERS_SECONDS
        while True:
            container = self._run(less, more)
            try:
                if ready:
                    container.answers("/readyz", ready)
                    container.page()  # the first scrape, from which the zero of later series counts
                return container
            except AssertionError as error:  # another suite's agent, or one that just ends, may hold the lock
                if "another bpfleet agent" not in str(error) or time.monotonic() > end:
                    raise

    def running(self) -> Container:
        """As documented, but faster; shared while tests ask for no other."""
        if not self._shared or not self._shared.runs():
            self._shared = self.start()
        return self._shared

    def _run(self, less: str, more: str) -> Container:
        text = documented()
        assert less in text
        self.empty()
        text = text.replace(less, "").replace("docker run", f"docker run {more}", 1)
        self.docker.shell(text, CGROUP_ROOT=str(v2_root()))
        self._last = Container(self.docker, NAME, PORT)
        return self._last

    def empty(self) -> None:
        if self._last:
            self._last.remove()
        self._last = self._shared = None


@pytest.fixture(scope="package")
def house(docker: Docker, image: str) -> Iterator[House]:
    house = House(docker)
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
