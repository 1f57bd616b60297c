"""Namespaces with something to watch, and one in which messages arrive."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.conftest import create, made_namespace, ready
from tests.cluster.gitops.platforms import AGENT, kubectl
from tests.cluster.waiting import eventually

FOLDER = Path(__file__).parent
TIER = "bpfleet.dev/slo-tier"
ONE_IN = 5
"""Of so many requests one fails, where some do."""


class Place(NamedTuple):
    """web is visited all the time, till only by `ask`."""

    namespace: str

    @property
    def error_ratio(self) -> str:
        return f'slo:sli_error:ratio_rate5m{{namespace="{self.namespace}",sli="availability"}}'

    def errors(self, one_in: int) -> None:
        self._visitor("sh", "-c", f"echo {one_in} >/tmp/one_in")

    def ask(self, count: int) -> None:
        self._visitor("python3", "/programs/teller.py", "till", str(count))

    def _visitor(self, *command: str) -> None:
        kubectl(f"--namespace={self.namespace}", "exec", "deployment/visitor", "--", *command)


class Message(NamedTuple):
    path: str
    title: str


class Discord(NamedTuple):
    core: Any
    namespace: str

    @property
    def url(self) -> str:
        return f"http://discord.{self.namespace}.svc"

    def messages(self) -> list[Message]:
        raw = self.core.read_namespaced_pod_log("discord", self.namespace, _preload_content=False).data.decode()
        told = [json.loads(line) for line in raw.splitlines()]
        return [Message(each["path"], each["body"]["embeds"][0]["title"]) for each in told]


@contextmanager
def made(kube: Any, manifests: str, tier: str = "") -> Iterator[str]:
    """A namespace in which these start."""
    core = kube.client.CoreV1Api()
    programs = {each.name: each.read_text("utf-8") for each in (FOLDER / "programs").glob("*.py")}
    with made_namespace(kube) as namespace:
        if tier:
            core.patch_namespace(namespace, {"metadata": {"labels": {TIER: tier}}})
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "programs"}, "data": programs})
        create(kube, namespace, FOLDER / manifests, IMAGE=AGENT)
        yield namespace


def run(kube: Any, namespace: str, pods: int) -> None:
    """Until so many are ready."""
    eventually(lambda: ready(kube, namespace, pods), f"{namespace}: its pods are ready", 120)
