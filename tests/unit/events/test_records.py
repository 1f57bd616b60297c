import pytest
from tests.unit.events.fakes import FakeOwner, FakePeer, event
from tests.unit.hostile import STRINGS

from agent.events import records
from agent.identity.model import MAX_LABEL
from bpfleet.events import Event, Record


def test_an_owner_has_opentelemetrys_names() -> None:
    assert records.resource(FakeOwner()) == {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "web-7d9f8b6c5d-x2x4z",
        "k8s.container.name": "main",
        "bpfleet.workload.name": "web",
        "bpfleet.workload.kind": "Deployment",
        "k8s.node.name": "node-1",
    }


def test_what_does_not_exist_is_left_out() -> None:
    assert records.resource(FakeOwner(("_host", "", "", "nginx.service", "SystemdUnit"), "")) == {
        "k8s.namespace.name": "_host",
        "bpfleet.workload.name": "nginx.service",
        "bpfleet.workload.kind": "SystemdUnit",
    }
    assert records.peer_attributes(FakePeer()) == {"bpfleet.peer.kind": "external"}


def test_a_record_has_the_events_attributes_and_the_peers() -> None:
    peer = records.peer_attributes(FakePeer("service", "shop", "db", "zone-a"))
    told = Event("test.happened", 7, 1, {"count": 23, "share": 0.5, "known": True, "text": "x"})
    assert records.record(told, 1_000, {"k8s.node.name": "node-1"}, peer) == Record(
        "test.happened",
        1_000,
        {"k8s.node.name": "node-1"},
        {
            "count": 23,
            "share": 0.5,
            "known": True,
            "text": "x",
            "bpfleet.peer.kind": "service",
            "bpfleet.peer.namespace": "shop",
            "bpfleet.peer.name": "db",
            "bpfleet.peer.zone": "zone-a",
        },
    )


@pytest.mark.parametrize("text", STRINGS)
def test_hostile_text_is_valid_unicode_of_bounded_length(text: str) -> None:
    (found,) = records.record(event(text=text), 0, {}, {}).attributes.values()
    named = records.resource(FakeOwner((text,) * 5, text))
    for value in (found, *named.values()):
        assert isinstance(value, str)
        value.encode()
        assert len(value) <= MAX_LABEL * len(r"\udc80")
    if len(text) <= MAX_LABEL and not any("\ud800" <= character <= "\udfff" for character in text):
        assert found == text
