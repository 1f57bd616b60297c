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
from tests.support.cgroups import PREFIX
from tests.support.namespaces import Namespace
from tests.support.pages import Page

PACKAGES = ("docker.io", "docker-cli", "docker-compose")
PROGRAMS = ("usr/sbin/dockerd", "usr/sbin/docker-proxy", "usr/bin/docker-init", "usr/bin/docker", "usr/bin/containerd",
            "usr/bin/containerd-shim-runc-v2")  # fmt: skip
"""Without runc, which is the machine's own: Debian 12 cannot run the one of Debian 13."""

PLUGINS = "usr/libexec/docker/cli-plugins"
NEEDED = ("mmdebstrap", "buildah", "runc", "iptables", "nsenter", "setpriv", "curl")

START_SECONDS = 60.0
STOP_SECONDS = 30.0
RUN_SECONDS = 120.0
LOOK_SECONDS = 0.05


class Docker:
    """For the time of a `with`. network: the namespace of its bridges and published ports."""

    network: Namespace

    def __enter__(self) -> "Docker":
        root = debians.unpacked(*PACKAGES)
        self.folder = Path(tempfile.mkdtemp(prefix="bpfleet-docker-"))
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
        self.cgroup = f"{PREFIX}docker-{os.getpid()}-1"
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
                    raise OSError(f"no Docker daemon here:\n{(self.folder / 'log').read_text()[-2000:]}")
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
        for hierarchy in (Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()):
            for path in sorted((hierarchy / self.cgroup).glob("**/"), reverse=True):
                with contextlib.suppress(OSError):
                    path.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)

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


class Container:
    """One that was just started. port: of the agent's pages, published. seconds: from the start to its last answer."""

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
