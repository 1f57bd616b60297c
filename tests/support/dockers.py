"""A Docker daemon for the time of a test: in a network and mount namespace of its own, so that its bridges, rules and
mounts go with it. Containers see the host's processes and cgroups all the same.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.support import debians
from tests.support.cgroups import PREFIX, Cgroup
from tests.support.namespaces import Namespace
from tests.support.pages import Page

PACKAGES = ("docker.io", "docker-cli", "docker-compose")
PROGRAMS = ("usr/sbin/dockerd", "usr/sbin/docker-proxy", "usr/bin/docker-init", "usr/bin/docker", "usr/bin/containerd",
            "usr/bin/containerd-shim-runc-v2")  # fmt: skip
"""Without runc, which is the machine's own: Debian 12 cannot run the one of Debian 13."""

PLUGINS = "usr/libexec/docker/cli-plugins"
NEEDED = ("mmdebstrap", "buildah", "runc", "iptables", "nsenter", "setpriv", "curl")

FOLDER = "bpfleet-docker-"
PLUGIN_SOCKETS = Path("/run/docker/plugins")
"""The one place that a daemon cannot be told to have elsewhere; another daemon's stays."""

CGROUPS = Path("/sys/fs/cgroup")
CGROUP = PREFIX + "docker-{}-1"

START_SECONDS = 60.0
STOP_SECONDS = 30.0
RUN_SECONDS = 120.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 20.0


class Docker:
    """For the time of a `with`; an OSError says in one line why there can be none.

    network: the namespace of its bridges and published ports."""

    network: Namespace

    def __enter__(self) -> "Docker":
        root = debians.unpacked(*PACKAGES)
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        programs = self.folder / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            (programs / Path(name).name).symlink_to(root / name)
        (self.folder / "client").mkdir()
        (self.folder / "client/config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(root / PLUGINS)]}))
        self.socket = self.folder / "socket"
        self.data = self.folder / "data"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "BPFLEET_"))}
        self.environment = inherited | {
            "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.folder / "client"),
        }
        self.cgroup = CGROUP.format(os.getpid())
        self.others = PLUGIN_SOCKETS.exists()
        self._start()
        return self

    def _start(self) -> None:
        daemon = ["dockerd", f"--host=unix://{self.socket}", f"--data-root={self.data}", "--log-level=warn",
                  f"--exec-root={self.folder}/run", f"--pidfile={self.folder}/pid",
                  f"--cgroup-parent=/{self.cgroup}/docker"]  # fmt: skip
        # It ends with the tests, also when they are killed.
        argv = ["setpriv", "--pdeathsig", "TERM", "unshare", "--net", "--mount", *daemon]
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                argv, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            end = time.monotonic() + START_SECONDS
            while self.docker("version", check=False).returncode:
                if self.process.poll() is not None or time.monotonic() > end:
                    said = (self.folder / "log").read_text().splitlines()
                    raise OSError(f"no Docker daemon can run here: {said[-1] if said else 'it says nothing'}")
                time.sleep(LOOK_SECONDS)
            self.network = Namespace("docker", made_by=self.process.pid).__enter__()
        except BaseException:
            self._end()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            if containers := self.docker("ps", "--all", "--quiet").stdout.split():
                self.docker("rm", "--force", *containers)
        finally:
            self.network.__exit__()
            self._end()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        remove(self.folder, self.cgroup)
        if not self.others:
            for path in (PLUGIN_SOCKETS, PLUGIN_SOCKETS.parent):
                with contextlib.suppress(OSError):
                    path.rmdir()

    def docker(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        defaults: dict[str, Any] = {"check": True, "text": True, "capture_output": True, "timeout": RUN_SECONDS}
        return subprocess.run(["docker", *arguments], env=self.environment, **(defaults | options))

    def shell(self, command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A command line as a user types it."""
        said = subprocess.run(
            ["sh", "-euc", command],
            env=self.environment | variables,
            text=True,
            capture_output=True,
            timeout=RUN_SECONDS,
        )
        assert said.returncode == 0, f"{command}\n{said.stderr}"
        return said

    def get(self, port: int, path: str) -> tuple[int, str]:
        """Status (0 if nobody answers) and body of a published port's page."""
        said = self.network.run(
            ["curl", "--silent", "--max-time", "10", "--write-out", "\n%{http_code}", f"http://127.0.0.1:{port}{path}"],
            check=False,
        ).stdout
        body, _, status = said.rpartition("\n")
        return int(status), body


def remove(folder: Path, cgroup: str) -> None:
    """A daemon's files and its cgroups, which on v1 and hybrid hosts are in every hierarchy."""
    for hierarchy in (CGROUPS, *filter(Path.is_dir, CGROUPS.iterdir())):
        for path in sorted((hierarchy / cgroup).glob("**/"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
    shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """What a run that was killed left behind: its process id is in the name."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*-*"):
        owner = folder.name.removeprefix(FOLDER).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            remove(folder, CGROUP.format(owner))


class Container:
    """One that is started next. port: of the agent's pages, published. seconds: from the start to its last answer."""

    def __init__(self, docker: Docker, name: str, port: int) -> None:
        self.docker, self.name, self.port = docker, name, port
        self.started = time.monotonic()
        self.seconds = 0.0

    def answers(self, path: str, wanted: int) -> None:
        """Wait for that status of a page. Raises AssertionError with the log."""
        end, found = time.monotonic() + START_SECONDS, 0
        while found != wanted:
            assert time.monotonic() < end and self.runs(), f"{path} answers {found}, not {wanted}:\n{self.log()}"
            time.sleep(LOOK_SECONDS)
            found = self.docker.get(self.port, path)[0]
        self.seconds = time.monotonic() - self.started

    def runs(self) -> bool:
        return self.state()["Running"] is True

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker.docker("inspect", self.name).stdout)[0]["State"]
        return found

    def log(self) -> str:
        said = self.docker.docker("logs", self.name)
        return said.stdout + said.stderr

    def run(self, *argv: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return self.docker.docker("exec", self.name, *argv, check=check)

    def page(self) -> Page:
        status, body = self.docker.get(self.port, "/metrics")
        assert status == 200, body
        return Page.parse(body)

    def settled(self, place: Cgroup) -> Page:
        """A workload's part of the page once everything is on it and it stands still."""
        end, before = time.monotonic() + SETTLE_SECONDS, Page()
        while True:
            self.drained()
            series = self.status()["series"]
            page = self.page().only(workload=place.workload)
            if page.samples and page == before and not (series["held"] or series["withheld"]):
                return page
            assert time.monotonic() < end, f"does not stand still: {series}\n{page}"
            before = page

    def drained(self) -> None:
        """All that has happened by now is read from the kernel: the drain under way and the next one are over."""
        wanted, end = self.status()["drains"] + 2, time.monotonic() + START_SECONDS
        while self.status()["drains"] < wanted:
            assert time.monotonic() < end, f"no two drains in time:\n{self.log()}"
            time.sleep(LOOK_SECONDS)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker.get(self.port, "/status")[1])
        return found

    def peak_bytes(self) -> int:
        """The most memory that it had at once, as the kernel charges it: on v1 or v2, whichever has the controller."""
        place = Path(f"/proc/{self.state()['Pid']}/cgroup").read_text().splitlines()
        for line in place:
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                return int(Path(f"/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes").read_text())
        return int(Path(f"/sys/fs/cgroup{place[-1].split(':', 2)[2]}/memory.peak").read_text())

    def remove(self) -> None:
        self.docker.docker("rm", "--force", self.name)
