"""What is known of an event when a policy decides about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from bpfleet.events import Attribute

NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Owner:
    """Whose event it is. What does not exist is empty: a process of a host has no container and no pod."""

    namespace: str = ""
    workload: str = ""
    workload_kind: str = ""
    container: str = ""
    image: str = ""
    pod: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True)
class Facts:
    """event: without `bpfleet.security.`. attributes: as collectors name them. services: `namespace/name` of those that
    are reached at the peer's address."""

    event: str
    attributes: Mapping[str, Attribute]
    owner: Owner = Owner()
    services: frozenset[str] = frozenset()

    def text(self, name: str) -> str:
        """Empty where it is not known."""
        value = self.attributes.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        value = self.attributes.get(name)
        return int(value) if isinstance(value, int) else None
