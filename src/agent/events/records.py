"""An event, its owner and its peer as the record that sinks get: OpenTelemetry's names, the time of day, clean text."""

from collections.abc import Mapping

from agent.events.owners import Owner, Peer
from agent.identity import model
from bpfleet import names
from bpfleet.events import Attribute, Event, Record

IDENTITY = tuple(names.OPENTELEMETRY[label] for label in names.IDENTITY)
NODE = names.OPENTELEMETRY["node"]
PEER = tuple(names.OPENTELEMETRY[label] for label in ("peer_kind", "peer_namespace", "peer_name", "peer_zone"))


def resource(owner: Owner) -> dict[str, str]:
    """Whose it is; what does not exist is left out."""
    return _named((*IDENTITY, NODE), (*owner.labels, owner.node))


def peer_attributes(peer: Peer) -> dict[str, str]:
    """Who is at the other side; what is not known is left out."""
    return _named(PEER, (peer.kind, peer.namespace, peer.name, peer.zone))


def record(event: Event, time_ns: int, owner: Mapping[str, str], peer: Mapping[str, str]) -> Record:
    """time_ns: since 1970. owner, peer: as resource() and peer_attributes() have them."""
    attributes: dict[str, Attribute] = {name: clean(value) for name, value in event.attributes.items()}
    attributes.update(peer)
    return Record(event.name, time_ns, owner, attributes)


def clean(value: Attribute) -> Attribute:
    if not isinstance(value, str) or (len(value) <= model.MAX_LABEL and value.isascii()):
        return value
    return model.text(value)


def _named(keys: tuple[str, ...], values: tuple[str, ...]) -> dict[str, str]:
    return {key: model.text(value) for key, value in zip(keys, values, strict=True) if value}
