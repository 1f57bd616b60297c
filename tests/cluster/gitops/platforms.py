"""What a cluster has before the bundle comes: Flux and the agent's image; where there are no charts the operator, too.

Local is the cluster of ../shared/cluster with the programs of its platform, Hosted any other with a registry beside it
(kind's, in the hosted run), which takes charts and images from where they are published.
"""

import base64
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any, Protocol

import yaml
from tests.cluster import pods
from tests.cluster.gitops import sources
from tests.cluster.gitops.sources import ROOT, Git, Oci, Source
from tests.support import certificates, images
from tests.support.cgroups import v2_root

from bpfleet.documents import parse
from bundle import tools

TOOL = ROOT.parent / "shared" / "cluster" / "cluster"
PLATFORM = TOOL.parent / "platform"
AGENT = "ghcr.io/bpfleet/agent:local"
"""As the tree names it: loaded under its public name, it is never pulled."""

FLUX = ("source-controller", "kustomize-controller", "helm-controller", "notification-controller")
MONITORING = (
    "prometheus-operator", "prometheus-config-reloader", "prometheus-admission-webhook", "prometheus", "alertmanager",
    "kube-state-metrics", "node-exporter",
)  # fmt: skip
WEBHOOK = Path(__file__).with_name("webhook.yaml")
STARTED = "180s"
RUN_SECONDS = 600.0

SOON = ("--requeue-dependency=2s", "--feature-gates=CancelHealthCheckOnNewRevision=true")
"""Flux looks again after 30 s whether the step before is ready, and a step that waits for what is broken takes no
repair before its time-out; docs/gitops.md tells how to set both."""


class Platform(Protocol):
    path: str
    enforces: bool
    """Whether its network heeds NetworkPolicies."""

    def source(self, node: str, folder: Path) -> Source: ...

    def variables(self, source: Source) -> dict[str, str]: ...

    def load(self, archive: Path) -> None:
        """The agent's image, into the nodes."""

    def nginx(self) -> str:
        """An image that has it, and the programs of a small Debian."""

    def install(self) -> None:
        """Flux, and what the bundle expects to be there; until it is ready."""

    def remove(self) -> None:
        """Told, not awaited: nothing of the other tests depends on it."""


def run(*command: str | Path) -> str:
    """What it prints. Raises AssertionError with what it says of its failure."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    said = done.stderr.strip() or done.stdout.strip()
    assert not done.returncode, f"{' '.join(map(str, command))}: exit status {done.returncode}: {said}"
    return done.stdout


def kubectl(*words: str | Path, input: str | None = None) -> str:
    return tools.run("kubectl", *words, input=input)


def soon(text: str) -> str:
    """Flux's manifests with a kustomize-controller that asks often."""
    made = []
    for document in parse(text, Path("flux.yaml")):
        value = document.value
        if value["kind"] == "Deployment" and value["metadata"]["name"] == "kustomize-controller":
            value["spec"]["template"]["spec"]["containers"][0]["args"].extend(SOON)
        made.append(value)
    return yaml.safe_dump_all(made)


def available(namespace: str, *names: str) -> None:
    """Until these Deployments are."""
    deployments = [f"deployment/{name}" for name in names]
    kubectl(f"--namespace={namespace}", "wait", "--for=condition=Available", f"--timeout={STARTED}", *deployments)


class Local:
    path = "./clusters/operator"
    enforces = False

    def __init__(self) -> None:
        self._cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cluster"
        self._tags = {
            name: (self._cache / "images" / f"{name}.tar.ref").read_text().split()[0] for name in (*FLUX, *MONITORING)
        }
        self._folder = tempfile.TemporaryDirectory()

    @staticmethod
    def obstacle() -> str:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cluster"
        if not PLATFORM.is_dir() or subprocess.run([TOOL, "status"], capture_output=True).returncode:
            return "not the cluster whose platform is here"
        absent = [name for name in (*FLUX, *MONITORING) if not (cache / "images" / f"{name}.tar.ref").exists()]
        if absent or not (cache / "manifests/prometheus-operator.yaml").exists():
            return f"the platform is not built (scripts/test does it): {', '.join(absent) or 'no manifests'}"
        return ""

    def source(self, node: str, folder: Path) -> Source:
        return Git(PLATFORM / "git-server", node, folder)

    def variables(self, source: Source) -> dict[str, str]:
        found = {
            "agent_tag": AGENT.rpartition(":")[2],
            "cgroup_root": str(v2_root()),
            "git_prefix": "http",
            "git_url": source.address,
            "kube_state_metrics_image": self._tags["kube-state-metrics"],
        }
        for name in ("prometheus", "alertmanager"):
            found |= {f"{name}_image": self._tags[name], f"{name}_version": self._tags[name].rpartition(":")[2]}
        return found

    def load(self, archive: Path) -> None:
        run(TOOL, "load", archive)
        run(TOOL, "ctr", "images", "tag", "--force", f"docker.io/library/{images.IMAGE}", AGENT)

    def nginx(self) -> str:
        subprocess.run([TOOL, "base", pods.TAG, *pods.PACKAGES], check=True, capture_output=True, timeout=300)
        return pods.IMAGE

    def install(self) -> None:
        run(PLATFORM / "load", *FLUX, *MONITORING)
        objects = "\n---\n".join(self._manifests())
        kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=objects)
        kubectl("wait", "--for=condition=Established", f"--timeout={STARTED}", "crd", "--all")
        available("flux-system", *FLUX)
        available("monitoring", "prometheus-operator", "rule-webhook")

    def remove(self) -> None:
        objects = "\n---\n".join(reversed(self._manifests()))
        kubectl("delete", "--ignore-not-found", "--wait=false", "--filename=-", input=objects)
        self._folder.cleanup()

    def _manifests(self) -> list[str]:
        made = {name: (self._cache / f"manifests/{name}.yaml").read_text("utf-8")
                for name in ("flux", "prometheus-operator", "node-exporter")}  # fmt: skip
        return [soon(made["flux"]), made["prometheus-operator"], self._webhook(), made["node-exporter"]]

    def _webhook(self) -> str:
        folder = Path(self._folder.name)
        pair = certificates.Pair(folder / "webhook.crt", folder / "webhook.key")
        if not pair.chain.exists():
            certificates.make(folder, "webhook", "subjectAltName=DNS:rule-webhook.monitoring.svc")
        coded: Mapping[str, Any] = {
            "CERTIFICATE": base64.b64encode(pair.chain.read_bytes()).decode(),
            "KEY": base64.b64encode(pair.key.read_bytes()).decode(),
            "IMAGE": self._tags["prometheus-admission-webhook"],
        }
        return Template(WEBHOOK.read_text("utf-8")).substitute(coded)


class Hosted:
    """The chart of kube-prometheus-stack brings the operator and its webhook."""

    path = "./clusters/kind"
    enforces = True

    @staticmethod
    def obstacle() -> str:
        if subprocess.run(["sh", "-c", "command -v flux kind docker"], capture_output=True).returncode:
            return "flux, kind or docker is not installed"
        return "" if sources.registry_answers() else f"no registry answers at {sources.PUSHED_TO}"

    def source(self, node: str, folder: Path) -> Source:
        return Oci()

    def variables(self, source: Source) -> dict[str, str]:
        place = source.address.rpartition("/")[0]
        return {"agent_tag": AGENT.rpartition(":")[2], "sources_prefix": f"{place}/"}

    def load(self, archive: Path) -> None:
        run("docker", "load", "--quiet", "--input", archive)
        run("docker", "tag", images.IMAGE, AGENT)
        run("kind", "load", "docker-image", "--name=bpfleet", AGENT)

    def nginx(self) -> str:
        return "docker.io/library/nginx:1.28"

    def install(self) -> None:
        kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", input=self._manifests())
        available("flux-system", *FLUX)

    def remove(self) -> None:
        kubectl("delete", "--ignore-not-found", "--wait=false", "--filename=-", input=self._manifests())

    @staticmethod
    def _manifests() -> str:
        return soon(run("flux", "install", "--export"))


def find() -> "tuple[Platform | None, str]":
    """With why there is none."""
    reasons = []
    for kind in (Local, Hosted):
        if said := kind.obstacle():
            reasons.append(f"{kind.__name__.lower()}: {said}")
        else:
            return kind(), ""
    return None, "; ".join(reasons)
