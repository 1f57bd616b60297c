"""Identity, policies and settings as the tests want them."""

import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.identity.model import NOBODY, Owner
from agent.identity.pods import NO_MARKS, Marks
from agent.security.scopes import Scopes
from agent.settings import Security
from bpfleet import documents
from bpfleet.errors import PolicyError
from bpfleet.events import Attribute, Record
from bpfleet.policies import reading
from bpfleet.policies.evaluation import Policies

WEB = Owner("shop", "web-1", "main", "web", "Deployment", "nginx:1.27", "node-1", key="web", pod_uid="u1")
DB = Owner("shop", "db-0", "postgres", "db", "StatefulSet", "postgres:17", "node-1", key="db", pod_uid="u2")
LAB = Owner("lab", "job-1", "main", "job", "Job", "busybox", "node-1", key="job", pod_uid="u3")
HOST = Owner("_host", workload="ssh.service", key="/system.slice/ssh.service")

WEB_ID, DB_ID, LAB_ID, HOST_ID, NEW_ID = 1, 2, 3, 4, 99


@dataclass
class Book:
    given: dict[str, Mapping[str, str]] = field(default_factory=lambda: {"shop": {"bpfleet.io/security": "on"}})
    version: int = 0

    def annotations(self) -> Mapping[str, Mapping[str, str]]:
        return dict(self.given)


@dataclass
class FakeIdentity:
    owners: dict[int, Owner] = field(default_factory=lambda: {WEB_ID: WEB, DB_ID: DB, LAB_ID: LAB, HOST_ID: HOST})
    book: Book | None = field(default_factory=Book)
    pods: dict[str, Marks] = field(default_factory=dict)
    at: dict[bytes, frozenset[str]] = field(default_factory=dict)
    version: int = 0

    @property
    def tree(self) -> "FakeIdentity":
        return self

    def living(self) -> Collection[int]:
        return [*self.owners, NEW_ID]

    def owner(self, cgroup_id: int) -> Owner | None:
        return self.owners.get(cgroup_id)

    def final_owner(self, cgroup_id: int) -> Owner:
        return self.owners.get(cgroup_id, NOBODY)

    def marks(self, owner: Owner) -> Marks:
        return self.pods.get(owner.pod_uid, NO_MARKS)

    def marked(self) -> int:
        return self.version

    def services(self, address: bytes) -> frozenset[str]:
        return self.at.get(address, frozenset())

    def addresses(self, is_wanted: Callable[[str], bool]) -> Iterable[bytes]:
        return [address for address, services in self.at.items() if any(map(is_wanted, services))]

    def reached(self) -> int:
        return self.version

    def annotations(self) -> Book | None:
        return self.book


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policies(*texts: str) -> Policies:
    """Each a policy: the head is added."""
    found = []
    for number, text in enumerate(texts):
        whole = f"version: 1\nname: p{number}\n{textwrap.dedent(text)}"
        for document in documents.parse(whole, Path(f"p{number}.yaml"), PolicyError):
            policy, problems = reading.parse(document)
            assert problems == []
            found.append(policy)
    return Policies(found)


SHELLS = """\
rules:
  - {name: shell, event: exec, severity: critical, match: {binary: [sh, bash]}}
"""


def scopes(found: Policies, identity: FakeIdentity | None = None, watch: str = "annotated") -> Scopes:
    made = Scopes(identity or FakeIdentity(), lambda: found, watch)
    made.refresh()
    return made


def settings(**values: Any) -> Security:
    return Security(**values)


def record(event: str = "exec", time_ns: int = 0, **attributes: Attribute) -> Record:
    """attributes: with `__` for a dot."""
    told = {name.replace("__", "."): value for name, value in attributes.items()}
    return Record(f"bpfleet.security.{event}", time_ns, {"k8s.namespace.name": "shop"}, told)


def run(path: str, time_ns: int = 0, **attributes: Attribute) -> Record:
    return record("exec", time_ns, process__executable__path=path, **attributes)
