"""The agent's image, built as `make image` builds it, and containers that run it as docs/container.md tells."""

import os
import re
import subprocess
import time
from pathlib import Path

from tests.support import debians
from tests.support.agents import DRAIN_SECONDS, OTHERS_SECONDS, REPOSITORY
from tests.support.cgroups import v2_root
from tests.support.dockers import Container, Docker

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
    f"--env BPFLEET_DRAIN_INTERVAL_SECONDS={DRAIN_SECONDS} --env BPFLEET_SCRAPE_INTERVAL_SECONDS=1"
    " --env BPFLEET_IDENTITY_KUBERNETES=off --health-interval 2s"
)

LEAN = f"{FAST} --env BPFLEET_COLLECTORS=-http"
"""Without the collector that takes as long to compile as all the others: for what is about something else."""


def load(docker: Docker, archive: Path) -> None:
    """Give it to the daemon, whose own network has no way out."""
    docker.docker("load", "--quiet", "--input", str(archive))
    docker.docker("tag", f"localhost/{IMAGE}", IMAGE)


def build(archive: Path) -> None:
    """Leaves a Docker archive. Raises AssertionError with what the builder said, OSError where there is no Debian."""
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

    used = run("du", "--summarize", "--block-size=1", str(storage), check=False).stdout.split()
    if used and int(used[0]) > STORAGE_BYTES:
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

    def start(self, less: str = "", more: str = LEAN, ready: int = 200) -> Container:
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
            self._shared = self.start(more=FAST)
        return self._shared

    def _run(self, less: str, more: str) -> Container:
        text = documented()
        assert less in text
        self.empty()
        text = text.replace(less, "").replace("docker run", f"docker run {more}", 1)
        self._last = Container(self.docker, NAME, PORT)
        self.docker.shell(text, CGROUP_ROOT=str(v2_root()))
        return self._last

    def empty(self) -> None:
        if self._last:
            self._last.remove()
        self._last = self._shared = None
