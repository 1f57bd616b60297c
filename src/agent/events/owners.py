"""What events need to know of identity; `agent.identity` provides it, tests fake it."""

from typing import Protocol, TypeVar

from bpfleet.metrics import Flow


class Owner(Protocol):
    """labels: values in the order of names.IDENTITY."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def node(self) -> str: ...


class Peer(Protocol):
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
    def owner(self, cgroup_id: int) -> OwnerT | None:
        """None: not known yet, ask again."""

    def final_owner(self, cgroup_id: int) -> OwnerT:
        """The best that is known."""

    def peer(self, flow: Flow, owner: OwnerT) -> Peer:
        """Who is at the flow's other side."""
