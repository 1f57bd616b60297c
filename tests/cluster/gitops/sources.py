"""Where Flux takes the tree from. Tests push; how it gets there is this module's."""

import http.client
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Protocol

import yaml
from tests.cluster.waiting import eventually
from tests.support import receivers

from bundle import tools

ROOT = Path(__file__).parents[3]
NAME = "flux-system"
INTERVAL = "10s"
BRANCH = "main"
IDENTITY = ("-c", "user.name=bpfleet", "-c", "user.email=bpfleet@localhost", "-c", "commit.gpgsign=false")

PUSHED_TO, PULLED_FROM = "localhost:5000", "registry:5000"
"""One registry: this machine's port, and its name in the network of kind's nodes."""


class Source(Protocol):
    kind: str
    address: str

    def adapt(self, tree: Path) -> None:
        """Change the tree so that it takes itself from here."""

    def push(self, tree: Path) -> None: ...

    def close(self) -> None: ...


def copy_tree(folder: Path) -> Path:
    """What is in Git's sight here, uncommitted changes included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


class Git:
    """A bare repository, served to pods over HTTP by `server`."""

    kind = "GitRepository"

    def __init__(self, server: Path, node: str, folder: Path) -> None:
        (port,) = receivers.free_ports(1)
        self._bare = folder / "served" / "fleet.git"
        _git(folder, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(self._bare))
        with (folder / "git-server.log").open("w") as log:
            command = [server, self._bare.parent, f"{node}:{port}"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self.address = f"http://{node}:{port}/fleet.git"
        eventually(lambda: receivers.answers(port, node), "the git server answers", 20)

    def adapt(self, tree: Path) -> None:
        _git(tree, "init", "--quiet", f"--initial-branch={BRANCH}")

    def push(self, tree: Path) -> None:
        _git(tree, "add", "--all")
        _git(tree, "commit", "--quiet", "--allow-empty", "--message=change")
        _git(tree, "push", "--quiet", str(self._bare), f"HEAD:{BRANCH}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *IDENTITY, *words], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


class Oci:
    """Artifacts in a registry beside the cluster, by `flux push artifact`; the agent's chart is one of its own."""

    kind = "OCIRepository"
    address = f"oci://{PULLED_FROM}/bpfleet/fleet"
    chart = f"oci://{PULLED_FROM}/bpfleet/bpfleet-agent"

    def adapt(self, tree: Path) -> None:
        for file in (tree / "clusters").glob("*/*.yaml"):
            file.write_text(file.read_text("utf-8").replace("kind: GitRepository", "kind: OCIRepository"), "utf-8")
        base = tree / "apps/agent/base"
        layer = {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"}
        chart = _source("OCIRepository", "bpfleet", "bpfleet", self.chart, {"semver": "*"})
        chart["spec"]["layerSelector"] = layer
        _write(base / "source.yaml", chart)
        release = yaml.safe_load((base / "release.yaml").read_text("utf-8"))
        del release["spec"]["chart"]
        release["spec"]["chartRef"] = {"kind": "OCIRepository", "name": "bpfleet"}
        _write(base / "release.yaml", release)

    def push(self, tree: Path) -> None:
        target = self.address.replace(PULLED_FROM, PUSHED_TO)
        command = ["flux", "push", "artifact", f"{target}:{BRANCH}", f"--path={tree}", "--insecure-registry"]
        said = subprocess.run([*command, "--source=local", f"--revision={BRANCH}"], capture_output=True, text=True)
        assert not said.returncode, said.stderr
        with tempfile.TemporaryDirectory() as folder:
            tools.run("helm", "package", tree / "apps/agent/chart", "--destination", folder)
            (archive,) = Path(folder).glob("*.tgz")
            tools.run("helm", "push", archive, f"oci://{PUSHED_TO}/bpfleet", "--plain-http")

    def close(self) -> None:
        """Nothing of ours runs."""


def registry_answers() -> bool:
    connection = http.client.HTTPConnection(PUSHED_TO, timeout=2)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _source(kind: str, name: str, namespace: str, url: str, ref: dict[str, str]) -> dict[str, Any]:
    spec = {"url": url, "ref": ref, "interval": INTERVAL, "timeout": "1m"}
    if kind == "OCIRepository":
        spec["insecure"] = True
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def _write(file: Path, value: Any) -> None:
    file.write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")


def bootstrap(source: Source, path: str) -> list[dict[str, Any]]:
    """What `flux bootstrap --path` puts into the cluster besides Flux."""
    ref = {"branch": BRANCH} if source.kind == "GitRepository" else {"tag": BRANCH}
    spec = {
        "sourceRef": {"kind": source.kind, "name": NAME},
        "path": path,
        "interval": "1m",
        "retryInterval": "5s",
        "prune": True,
        "wait": True,
        "timeout": "10m",
    }
    return [
        _source(source.kind, NAME, NAME, source.address, ref),
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": {"name": NAME, "namespace": NAME},
            "spec": spec,
        },
    ]
