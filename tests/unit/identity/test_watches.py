"""Conversations with an API server, as scripts."""

import itertools
import logging

import pytest

from agent.identity import watches
from agent.identity.fake import Answer, FakeApi, listing
from agent.identity.listings import Json
from agent.identity.watches import Expired, Forbidden, Refused, Resource, Silent, Unauthorized, Watch
from bpfleet.errors import ClusterError

THINGS = Resource("things", "/api/v1/things")


class Shelf:
    """A book that keeps names."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def key(self, item: Json) -> str:
        return str(item["metadata"]["name"])

    def put(self, item: Json) -> None:
        self.names.add(self.key(item))

    def remove(self, item: Json) -> None:
        self.names.discard(self.key(item))

    def keep(self, keys: set[str]) -> None:
        self.names &= keys

    def __len__(self) -> int:
        return len(self.names)


def thing(name: str, version: int = 0) -> Json:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> Json:
    return {"type": kind, "object": thing(name, version)}


def bookmark(version: int) -> Json:
    return {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(version)}}}


def error(code: int) -> Json:
    return {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "R", "message": "m"}}


class Scene:
    def __init__(self, clock, *answers: Answer, jitter: float = 1.0) -> None:
        self.clock = clock
        self.api = FakeApi({"things": list(answers)})
        self.shelf = Shelf()
        self.watch = Watch(self.api, THINGS, self.shelf, clock, lambda: jitter)

    def steps(self, count: int) -> list[float]:
        """The delays of some steps; time passes by them."""
        delays = []
        for _ in range(count):
            delays.append(self.watch.step())
            self.clock.pass_by(delays[-1])
        return delays

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(verb, detail) for _, verb, detail in self.api.asked]


def test_a_list_and_the_events_after_it_fill_the_book(clock) -> None:
    events = [event("ADDED", "b", 8), event("MODIFIED", "b", 9), event("DELETED", "a", 10), bookmark(23)]
    scene = Scene(clock, listing("7", thing("a")), events, [bookmark(24)])
    assert scene.steps(2) == [0, 0]
    assert scene.shelf.names == {"b"}
    assert scene.asked == [("list", ""), ("watch", "7"), ("watch", "23")]
    assert scene.watch.synced and scene.watch.answered and scene.watch.lists == 1


def test_a_list_may_have_pages(clock) -> None:
    scene = Scene(clock, listing("7", thing("a"), token="next"), listing("7", thing("b")), [bookmark(8)])
    scene.steps(1)
    assert scene.shelf.names == {"a", "b"}
    assert scene.asked[:2] == [("list", ""), ("list", "next")]


def test_pages_without_an_end_are_refused(clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MAX_PAGES", 23)
    scene = Scene(clock, *[listing("7", token="next")] * 30)
    assert scene.steps(1) == [1.0]
    assert len(scene.asked) == 23


def test_410_as_an_event_or_as_an_answer_causes_one_list_after_a_delay(clock) -> None:
    for gone in ([event("ADDED", "b", 8), error(410)], Expired("410 too old")):
        scene = Scene(clock, listing("7", thing("a")), gone, listing("90", thing("c")), [bookmark(91)])
        assert scene.steps(2) == [1.0, 0]
        assert scene.shelf.names == {"c"}
        assert scene.asked == [("list", ""), ("watch", "7"), ("list", ""), ("watch", "90")]


def test_a_server_that_says_410_for_ever_is_asked_for_a_list_twice_a_minute_at_most(clock) -> None:
    answers: list[Answer] = list(itertools.chain(*[[listing("7"), [error(410)]] for _ in range(40)]))
    scene = Scene(clock, *answers)
    scene.steps(40)
    assert clock.now - 1000 > 1000
    assert scene.watch.lists == 40


def test_ten_minutes_without_a_server_lose_nothing_and_cause_no_list(clock) -> None:
    scene = Scene(clock, listing("7", thing("a")), [bookmark(8)])
    scene.steps(1)
    delays = []
    while clock.now < 1600:
        delays += scene.steps(1)
    assert delays[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert len(delays) < 26
    assert scene.shelf.names == {"a"} and not scene.watch.synced
    scene.api.answers["things"] = [[event("ADDED", "b", 9)]]
    assert scene.steps(1) == [0]
    assert scene.shelf.names == {"a", "b"} and scene.watch.synced
    assert scene.asked[-1] == ("watch", "8") and scene.watch.lists == 1


def test_a_server_that_is_away_at_the_start_is_found_later(clock) -> None:
    scene = Scene(clock)
    scene.steps(5)
    assert not scene.watch.answered and scene.watch.failures == 5
    scene.api.answers["things"] = [listing("7", thing("a")), [bookmark(8)]]
    scene.steps(1)
    assert scene.shelf.names == {"a"} and scene.watch.answered


def test_delays_have_jitter_and_start_anew_after_a_quiet_minute(clock) -> None:
    assert Scene(clock, jitter=0).steps(3) == [0.5, 1, 2]
    scene = Scene(clock, listing("7"), [bookmark(8), ClusterError("broken")], [bookmark(9), ClusterError("broken")])
    assert scene.steps(2) == [1, 2]
    scene.api.answers["things"] = [[bookmark(10), ClusterError("broken")]]
    clock.pass_by(61)
    assert scene.steps(1) == [1]


def test_a_server_that_asks_for_patience_gets_it(clock) -> None:
    assert Scene(clock, Refused("429", retry_after=23.0)).steps(1) == [23.0]


def test_credentials_are_read_again_after_401(clock) -> None:
    scene = Scene(clock, listing("7"), Unauthorized("401"), [bookmark(8)])
    assert scene.steps(2) == [1.0, 0]
    assert scene.api.reconnects == 1
    assert scene.asked == [("list", ""), ("watch", "7"), ("watch", "7")]


def test_credentials_that_cannot_be_read_are_tried_again_too(clock) -> None:
    scene = Scene(clock, *[Unauthorized("401")] * 3, listing("7"), [bookmark(8)])

    def refuse() -> None:
        raise ClusterError("no token file")

    scene.api.reconnect = refuse
    assert scene.steps(4) == [1, 2, 4, 0]


def test_a_missing_permission_is_an_answer(clock) -> None:
    scene = Scene(clock, Forbidden("403 nodes is forbidden"))
    scene.steps(1)
    assert scene.watch.answered and not scene.watch.synced
    assert scene.watch.error == "403 nodes is forbidden"


def test_a_version_that_is_refused_again_and_again_is_given_up(clock) -> None:
    scene = Scene(clock, listing("700"), *[[error(504)]] * 4, listing("7"), [bookmark(8)])
    scene.steps(5)
    assert scene.asked[-2:] == [("list", ""), ("watch", "7")]
    assert scene.watch.lists == 2


def test_two_silent_watches_weigh_as_much(clock) -> None:
    scene = Scene(clock, listing("700"), *[[Silent("timed out")]] * 2, listing("7"), [bookmark(8)])
    scene.steps(3)
    assert scene.asked[-2:] == [("list", ""), ("watch", "7")]


def test_events_prove_that_the_version_is_good(clock) -> None:
    broken = [bookmark(8), Refused("500")]
    scene = Scene(clock, listing("7"), *[broken] * 9)
    scene.steps(9)
    assert scene.watch.lists == 1


def test_a_watch_that_is_closed_at_once_is_not_repeated_at_once(clock) -> None:
    scene = Scene(clock, listing("7"), [], [], [])
    assert scene.steps(3) == [1, 2, 4]


def test_a_list_that_breaks_off_ends_nothing(clock) -> None:
    scene = Scene(clock, listing("7", thing("a"), thing("b")), [error(410)], listing("8", thing("c"))[:-1])
    scene.steps(2)
    assert scene.shelf.names == {"a", "b", "c"}
    assert scene.watch.lists == 1


STRANGE = [{}, {"metadata": {}}, {"metadata": None}, {"metadata": []}, {"metadata": "x"}]


@pytest.mark.parametrize("item", STRANGE)
def test_an_object_that_makes_no_sense_is_left_out(clock, item: Json) -> None:
    kinds = ("ADDED", "DELETED", "MODIFIED", "WHATEVER")
    events = [*({"type": kind, "object": item} for kind in kinds), event("ADDED", "b", 9)]
    scene = Scene(clock, listing("7", item, thing("a")), events)
    assert scene.steps(1) == [0]
    assert scene.shelf.names == {"a", "b"} and scene.watch.strange == 4


@pytest.mark.parametrize("item", [{}, {"type": "ADDED"}, {"type": "ADDED", "object": [1]}, {"type": "ERROR"}])
def test_an_event_that_makes_no_sense_breaks_the_watch_off(clock, item: Json) -> None:
    scene = Scene(clock, listing("7"), [item])
    assert scene.steps(1) == [1.0]
    assert "without an object" in scene.watch.error


def test_a_lasting_failure_is_logged_once_per_growing_delay(clock, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        Scene(clock).steps(23)
    assert len(caplog.records) == 5


def test_a_fault_of_our_own_does_not_end_the_thread(clock, caplog: pytest.LogCaptureFixture) -> None:
    class Stop:
        waited: list[float] = []

        def is_set(self) -> bool:
            return len(self.waited) == 2

        def wait(self, seconds: float) -> None:
            self.waited.append(seconds)

    scene = Scene(clock)
    scene.api.list = lambda resource, token: 1 / 0
    watches.run(scene.watch, Stop())
    assert Stop.waited == [30, 30]
    assert "ZeroDivisionError" in caplog.text
