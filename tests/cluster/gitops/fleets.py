"""The bundle in a cluster, and the tree that the cluster follows."""

import shutil
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.gitops import sources
from tests.cluster.gitops.api import REQUESTED, Api, condition
from tests.cluster.gitops.platforms import Platform, kubectl
from tests.cluster.gitops.prometheus import Alertmanager, Prometheus
from tests.cluster.waiting import eventually

GREEN_SECONDS = 600.0
"""From nothing; on an idle machine it takes a minute."""

CHANGED_SECONDS = 240.0

LOOK_SECONDS = 0.4
"""Several questions to an API server that has two processors with all others."""

STEPS = ("crds", "admission", "controllers", "configs", "policies", "apps")
OVERLAY = "apps/agent/kind"
NAMESPACES = ("monitoring", "bpfleet")
KEPT = "monitoring"
"""The one that Flux does not prune, because its disks would go with it."""

USUAL_GRACE_SECONDS = 30
RELEASE = ("bpfleet", "bpfleet-agent")


class Fleet:
    def __init__(
        self, api: Api, platform: Platform, source: sources.Source, tree: Path, took: dict[str, float]
    ) -> None:
        self.api, self.platform, self.source, self.tree = api, platform, source, tree
        self.prometheus, self.alertmanager = Prometheus(api), Alertmanager(api)
        self.took = took
        self._pristine = tree.with_name("pristine")
        self._changed = False

    # The tree

    def begin(self) -> None:
        """This cluster's own variables, as anybody who starts one writes them."""
        self.source.adapt(self.tree)

        def more(value: dict[str, Any]) -> None:
            value["data"] |= self.platform.variables(self.source)

        self.edit(f"{self.platform.path}/vars.yaml", more)
        shutil.copytree(self.tree, self._pristine, ignore=shutil.ignore_patterns(".git"))

    def undo(self) -> None:
        """What tests have edited is taken back: in the tree, not in the cluster."""
        shutil.copytree(self._pristine, self.tree, dirs_exist_ok=True)

    def restore(self) -> None:
        """What tests have pushed is taken back."""
        if self._changed:
            self.undo()
            self.push()
            self.until(lambda: self.applied(*STEPS) and self.is_green(), "everything is as before")
            self._changed = False

    def edit(self, file: str, change: Callable[[dict[str, Any]], None]) -> None:
        """A YAML file of one document."""
        path = self.tree / file
        value = yaml.safe_load(path.read_text("utf-8"))
        change(value)
        path.write_text(yaml.safe_dump(value, sort_keys=False), "utf-8")

    def push(self) -> None:
        """Tell Flux at once, as a Git server's webhook does; until it has it, where it is there already."""
        self._changed, before = True, self.revision()
        self.source.push(self.tree)
        for kind in ("GitRepository", "OCIRepository"):
            for item in self.api.all(kind):
                if item["metadata"]["name"] in (sources.NAME, "bpfleet"):
                    self.reconcile(kind, item["metadata"]["namespace"], item["metadata"]["name"])
        if before:
            self.until(lambda: self.revision() != before, "Flux has the new revision")

    # Flux

    def reconcile(self, kind: str, namespace: str, name: str) -> None:
        """`flux reconcile`."""
        change = {"metadata": {"annotations": {REQUESTED: datetime.now(UTC).isoformat()}}}
        self.api.patch(kind, namespace, name, change)

    def start(self) -> None:
        began = time.monotonic()
        self.push()
        objects = sources.bootstrap(self.source, self.platform.path)
        kubectl("apply", "--filename=-", input=yaml.safe_dump_all(objects))
        self.until(lambda: self.is_green() and not self.unready(), "everything is ready", GREEN_SECONDS)
        self.took["from one Kustomization to green"] = time.monotonic() - began
        self._changed = False

    def remove(self) -> None:
        """Everything that Flux has made, and then what it is told to do. Nothing, where that has been done."""
        if not self.api.get("Kustomization", sources.NAME, sources.NAME):
            return
        waiting = self.unready()
        self.api.delete("Kustomization", sources.NAME, sources.NAME)
        if waiting:  # a step is not pruned before its wait is over, which may take its whole time-out
            kubectl("--namespace=flux-system", "delete", "pod", "--selector=app=kustomize-controller")
        self.until(lambda: not self.api.all("Kustomization") + self.api.all("HelmRelease"), "Flux has pruned all")
        self.api.delete(self.source.kind, sources.NAME, sources.NAME)
        assert self.api.ask("GET", f"/api/v1/namespaces/{KEPT}"), "Flux has pruned what holds the disks"
        # A namespace with a pod that may take minutes to end is looked at again after half of them.
        self.until(lambda: not self._patient(), "Prometheus and Alertmanager have ended")
        self.api.ask("DELETE", f"/api/v1/namespaces/{KEPT}")
        for name in NAMESPACES:
            self.until(lambda name=name: not self.api.ask("GET", f"/api/v1/namespaces/{name}"), f"{name} is gone")

    def _patient(self) -> list[Any]:
        """Pods that may take longer to end than others."""
        pods = self.api.all("Pod", KEPT)
        return [each for each in pods if each["spec"]["terminationGracePeriodSeconds"] > USUAL_GRACE_SECONDS]

    def unready(self) -> dict[str, str]:
        """Kustomizations and HelmReleases that are not, with what they say."""
        return {
            f"{kind} {each['metadata']['name']}": condition(each)[1] or "nothing yet"
            for kind in ("Kustomization", "HelmRelease")
            for each in self.api.all(kind)
            if condition(each)[0] != "True"
        }

    def is_green(self) -> bool:
        """The last step has been made, and its release is out."""
        return condition(self.api.get("HelmRelease", *RELEASE))[0] == "True"

    def revision(self) -> str:
        """The newest that Flux has; empty where it has none."""
        found = self.api.get(self.source.kind, sources.NAME, sources.NAME) or {}
        return str(found.get("status", {}).get("artifact", {}).get("revision", ""))

    def step(self, name: str) -> Any:
        return self.api.get("Kustomization", sources.NAME, name)

    def applied(self, *names: str) -> bool:
        """Whether these steps have come to the newest revision, and to its being ready. (Ready itself comes and goes
        with each interval.)"""
        newest = self.revision()
        return all(self.step(name)["status"].get("lastAppliedRevision") == newest for name in names)

    def until(self, condition: Callable[[], object], what: str, seconds: float = CHANGED_SECONDS) -> None:
        """Raises AssertionError with what Flux says."""
        try:
            eventually(lambda: bool(condition()), what, seconds, LOOK_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.unready()}; {self._events()}") from error

    @staticmethod
    def _events() -> str:
        words = ("--all-namespaces", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")
        return "\n".join(kubectl("get", "events", *words).splitlines()[-15:])

    def nudged(
        self, condition: Callable[[], bool], namespace: str = "monitoring", name: str = "prometheus"
    ) -> Callable[[], bool]:
        """The same, with the kubelet made to look at the files of an application's pods each time."""

        def asked() -> bool:
            for pod in self.api.all("Pod", namespace):
                if pod["metadata"]["labels"].get("app.kubernetes.io/name") == name:
                    change = {"metadata": {"annotations": {"bpfleet.dev/looked-at": datetime.now(UTC).isoformat()}}}
                    self.api.patch("Pod", namespace, pod["metadata"]["name"], change)
            return condition()

        return asked

    # The agent

    def daemon_set(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.api.get("DaemonSet", *RELEASE)
        return found

    def settings(self, **changes: Any) -> None:
        """Of the agent, in the tree."""

        def change(value: dict[str, Any]) -> None:
            value["spec"]["values"]["settings"].update(changes)

        self.edit(f"{OVERLAY}/release.yaml", change)

    def agent_is(self, **settings: Any) -> bool:
        """Whether every node's agent runs with these settings, and the release says so."""
        found = self.daemon_set()
        status = found["status"]
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return False
        wanted = status["desiredNumberScheduled"]
        if not wanted or status.get("updatedNumberScheduled") != wanted or status.get("numberReady") != wanted:
            return False
        written = self.api.ask("GET", f"/api/v1/namespaces/{RELEASE[0]}/configmaps/{RELEASE[1]}")
        return settings.items() <= yaml.safe_load(written["data"]["agent.yaml"]).items()

    def agents(self) -> list[Any]:
        """Their pods."""
        pods = self.api.all("Pod", RELEASE[0])
        return [each for each in pods if each["metadata"]["labels"].get("app.kubernetes.io/component") == "agent"]
