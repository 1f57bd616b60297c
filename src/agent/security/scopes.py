"""Who is watched, and which rules are about them? By the owner of a cgroup, followed from drain to drain.

A namespace asks for it (`bpfleet.io/security: "on"`), or a pod of its own; a pod cannot take back what its namespace
asked for. On machines outside Kubernetes nobody can ask: there `security.watch: all` watches everything.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple, Protocol

from agent.identity.model import Owner
from agent.identity.namespaces import PREFIX
from agent.identity.pods import Marks
from agent.security.orders import WATCH
from bpfleet.policies import facts
from bpfleet.policies.evaluation import Policies, Scoped

ANNOTATION: Final = PREFIX + "security"
ON: Final = "on"

OFF, ANNOTATED, ALL = WATCH

MAX_REMEMBERED = 8192
"""Owners, within one state of the policies and of the cluster: twice the cgroups that the kernel's maps hold."""


class Tree(Protocol):
    def living(self) -> Collection[int]: ...


class Annotations(Protocol):
    """agent.identity.namespaces.Namespaces."""

    @property
    def version(self) -> int: ...
    def annotations(self) -> Mapping[str, Mapping[str, str]]: ...


class Identity(Protocol):
    """agent.identity.resolver.Resolver."""

    @property
    def tree(self) -> Tree: ...
    def owner(self, cgroup_id: int) -> Owner | None: ...
    def final_owner(self, cgroup_id: int) -> Owner: ...
    def marks(self, owner: Owner) -> Marks: ...
    def marked(self) -> int: ...
    def services(self, address: bytes) -> frozenset[str]: ...
    def addresses(self, is_wanted: Callable[[str], bool]) -> Iterable[bytes]: ...
    def reached(self) -> int: ...
    def annotations(self) -> Annotations | None: ...


class Found(NamedTuple):
    """Of an owner. scoped: the rules about it, none where it is not watched."""

    owner: facts.Owner
    scoped: Scoped
    is_watched: bool


NOBODY: Final = Scoped({})


class Scopes:
    """Used from one thread. watch: one of WATCH. policies: those in force, asked once a drain."""

    def __init__(self, identity: Identity, policies: Callable[[], Policies], watch: str) -> None:
        self.identity = identity
        self._ask, self._watch = policies, watch
        self.policies = Policies()
        self.version = 0
        """Changes with whatever this depends on besides the owner."""
        self._seen: tuple[object, ...] = ()
        self._annotated: Mapping[str, Mapping[str, str]] = {}
        self._found: dict[Owner, Found] = {}

    @property
    def is_active(self) -> bool:
        """Whether somebody may be watched at all."""
        return self._watch != OFF and any(self.policies.by_event.values())

    def adjust(self, watch: str) -> None:
        self._watch = watch

    def refresh(self) -> None:
        """Once a drain, before anything is asked."""
        book, policies = self.identity.annotations(), self._ask()
        seen = (policies, self._watch, book.version if book else 0, self.identity.marked())
        if seen != self._seen:
            self._seen, self.policies = seen, policies
            self._annotated = book.annotations() if book else {}
            self._found.clear()
            self.version += 1

    def of(self, owner: Owner) -> Found:
        found = self._found.get(owner)
        if found is None:
            if len(self._found) >= MAX_REMEMBERED:
                self._found.clear()
            found = self._found[owner] = self._find(owner)
        return found

    def _find(self, owner: Owner) -> Found:
        marks = self.identity.marks(owner)
        told = facts.Owner(
            owner.namespace, owner.workload, owner.workload_kind, owner.container, owner.image, owner.pod, marks.labels
        )
        is_watched = self._is_watched(owner, marks)
        return Found(told, self.policies.scoped(told) if is_watched else NOBODY, is_watched)

    def _is_watched(self, owner: Owner, marks: Marks) -> bool:
        if self._watch != ANNOTATED:
            return self._watch == ALL
        asked = self._annotated.get(owner.namespace, {}).get(ANNOTATION)
        return ON in (asked, marks.annotations.get(ANNOTATION))
