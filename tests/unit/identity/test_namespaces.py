"""What namespaces ask for: by the book alone, and through a watch on a scripted API server."""

import pytest
from tests.unit.identity import recordings

from agent.identity.cluster import GRACE_SECONDS, Cluster
from agent.identity.fake import FakeApi, listing
from agent.identity.model import Peer
from agent.identity.namespaces import MAX_ANNOTATIONS, MAX_VALUE, Namespaces
from agent.identity.watches import Expired, Forbidden
from bpfleet.metrics import Flow

LOG = "bpfleet.io/request-log"


def namespace(name: str, **annotations: str) -> dict[str, object]:
    given = {LOG if key == "mode" else f"{LOG}-{key}": value for key, value in annotations.items()}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "9", "annotations": given}}


def test_only_our_annotations_are_kept() -> None:
    book = Namespaces()
    book.put({"metadata": {"name": "shop", "annotations": {LOG: "all", "kubectl/last-applied": "x" * 100_000}}})
    book.put({"metadata": {"name": "plain"}})
    book.put({"metadata": {"name": "none", "annotations": None}})
    assert book.annotations() == {"shop": {LOG: "all"}}
    assert len(book) == 3


def test_what_is_kept_of_a_namespace_is_bounded() -> None:
    book = Namespaces()
    book.put({"metadata": {"name": "shop", "annotations": {f"{LOG}-{n}": "x" * 10_000 for n in range(1000)}}})
    (found,) = book.annotations().values()
    assert len(found) == MAX_ANNOTATIONS and {len(value) for value in found.values()} == {MAX_VALUE + 1}


def test_the_version_changes_when_something_that_matters_does() -> None:
    book = Namespaces()
    book.put(namespace("shop", mode="all"))
    assert book.version == 1
    book.put(namespace("shop", mode="all"))
    book.put(namespace("plain"))
    book.remove(namespace("plain"))
    book.keep({"shop"})
    assert book.version == 1
    book.put(namespace("shop", mode="off"))
    assert (book.version, book.annotations()["shop"][LOG]) == (2, "off")
    book.remove(namespace("shop"))
    assert (book.version, book.annotations(), len(book)) == (3, {}, 0)
    book.put(namespace("shop", mode="off"))
    book.keep({"other"})
    assert (book.annotations(), len(book)) == ({}, 0)


@pytest.mark.parametrize(
    "item", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"name": "a", "annotations": ["x"]}}]
)
def test_a_strange_object_raises_what_a_book_may(item: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Namespaces().put(item)
    assert Namespaces().annotations() == {}


def watched(answers: dict[str, list[object]], clock) -> Cluster:
    return Cluster(FakeApi(answers), "node0", clock, jitter=lambda: 1.0, annotated=True)  # type: ignore[arg-type]


def test_a_watch_follows_the_annotations(clock) -> None:
    answers = recordings.answers() | {
        "namespaces": [
            listing("7", namespace("shop", mode="errors"), namespace("lab"), {"metadata": 7}),
            [
                {"type": "MODIFIED", "object": namespace("shop", mode="all")},
                {"type": "ADDED", "object": namespace("new", mode="off")},
                {"type": "DELETED", "object": namespace("lab")},
                {"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}},
            ],
            listing("12", namespace("new", mode="sampled")),
            [Expired("410 again")],
        ]
    }
    cluster = watched(answers, clock)
    (watch,) = [each for each in cluster.watches if each.resource.name == "namespaces"]
    assert cluster.namespaces is not None
    assert watch.step() > 0.0
    assert cluster.namespaces.annotations() == {"shop": {LOG: "all"}, "new": {LOG: "off"}}
    assert watch.strange == 1
    watch.step()
    assert cluster.namespaces.annotations() == {"new": {LOG: "sampled"}}
    assert cluster.status()["namespaces"]["lists"] == 2


def test_nothing_is_named_before_it_is_known_what_its_namespace_asks_for(clock) -> None:
    cluster = watched(recordings.answers() | {"namespaces": [listing("7"), []]}, clock)
    for watch in cluster.watches:
        if watch.resource.name != "namespaces":
            watch.step()
    assert not cluster.is_ready()
    clock.pass_by(GRACE_SECONDS)
    assert cluster.is_ready()
    assert cluster.namespaces is not None and not cluster.namespaces.is_known
    cluster.watches[-1].step()
    assert cluster.is_ready() and cluster.namespaces.is_known


def test_a_missing_permission_costs_the_annotations_and_nothing_else(clock) -> None:
    cluster = watched(recordings.answers() | {"namespaces": [Forbidden("403 namespaces is forbidden")]}, clock)
    for watch in cluster.watches:
        watch.step()
    cluster.refresh()
    assert cluster.is_ready()
    assert cluster.namespaces is not None and cluster.namespaces.is_known
    flow = Flow(bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1)), 443, "tcp")
    owner = next(iter(cluster.pods._containers.values()))
    assert cluster.peer(flow, owner) == Peer("external")
    assert cluster.status()["namespaces"]["error"] == "403 namespaces is forbidden"


def test_without_being_asked_for_there_is_no_watch(clock) -> None:
    cluster = Cluster(FakeApi({}), "node0", clock)
    assert cluster.namespaces is None
    assert "namespaces" not in cluster.status()
