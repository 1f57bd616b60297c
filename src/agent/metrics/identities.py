"""What the metrics need to know of identity; `agent.identity` provides it, tests fake it."""

from collections.abc import Collection, Hashable
from typing import Protocol, TypeVar

from bpfleet.metrics import Flow, NetworkNamespace

Place = int | NetworkNamespace
"""Where something happened: a cgroup by its id, or a network namespace."""


class Owner(Protocol):
    """Whose a cgroup is. Several owners may carry the same labels: a container that restarted has a new key.

    labels: values in the order of names.IDENTITY. key: unique for the container or cgroup.
    settled: no label is still to come."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def key(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def settled(self) -> bool: ...


class Peer(Hashable, Protocol):
    """The other side of a flow, as far as it can be known."""

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def zone(self) -> str: ...


OwnerT = TypeVar("OwnerT", bound=Owner)


class Resolver(Protocol[OwnerT]):
    def owner(self, cgroup_id: Place) -> OwnerT | None:
        """None: not known yet, ask again."""

    def final_owner(self, cgroup_id: Place) -> OwnerT:
        """The best that is known."""

    def peer(self, flow: Flow, owner: OwnerT) -> Peer:
        """Who is at the flow's other side."""

    def living(self) -> Collection[OwnerT]:
        """The containers that run now."""

    def ended(self, owner: OwnerT) -> bool:
        """True when nothing can come from it any more."""
