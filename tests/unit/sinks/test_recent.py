import json

import pytest
from tests.unit.events.fakes import Bench, event
from tests.unit.hostile import STRINGS

from agent.sinks.jsonl import Jsonl
from agent.sinks.recent import MAX_KEPT, MAX_KEPT_BYTES, Look, Recent
from bpfleet.events import HTTP_REQUEST, Record


def request(path: str = "/", **attributes: float) -> Record:
    return Record(HTTP_REQUEST, 0, {"k8s.namespace.name": "shop"}, {"url.path": path, **attributes})


def filled(count: int) -> Recent:
    sink = Recent(lambda: "all", "a1")
    sink.write([sink.encode(request(f"/{number}")) for number in range(1, count + 1)])
    return sink


def paths(look: Look) -> list[str]:
    return [json.loads(line)["url.path"] for line in look.requests]


def test_an_agent_without_requests_has_none() -> None:
    assert Recent(lambda: "errors", "a1").look(0, 10) == Look("errors", "a1", 0, 0, 0, [])
    assert Recent(lambda: "errors", "a1").look(10**18, 10) == Look("errors", "a1", 0, 0, 0, [])


def test_who_asks_again_gets_what_came_since() -> None:
    sink = filled(5)
    first = sink.look(0, 3)
    assert (paths(first), first.next, first.last, first.missed) == (["/1", "/2", "/3"], 3, 5, 0)
    second = sink.look(first.next, 3)
    assert (paths(second), second.next, second.last, second.missed) == (["/4", "/5"], 5, 5, 0)
    third = sink.look(second.next, 3)
    assert (paths(third), third.next, third.missed) == ([], 5, 0)


def test_what_fell_out_before_it_was_asked_for_is_told_by_number() -> None:
    sink = filled(MAX_KEPT + 23)
    look = sink.look(7, 2)
    assert (paths(look), look.missed, look.next) == (["/24", "/25"], 16, 25)
    assert sink.look(23, 1).missed == 0
    assert len(sink.look(0, 10**6).requests) == MAX_KEPT


def test_memory_is_bounded_however_long_requests_are() -> None:
    sink = Recent(lambda: "all", "a1")
    item = sink.encode(request("/" + "x" * 10_000))
    for _ in range(MAX_KEPT):
        sink.write([item])
    look = sink.look(0, MAX_KEPT)
    assert len(look.requests) == MAX_KEPT_BYTES // len(item)
    assert look.missed + len(look.requests) == look.last == MAX_KEPT
    sink.write([b"x" * (MAX_KEPT_BYTES + 1)])
    assert sink.look(0, MAX_KEPT) == Look("all", "a1", MAX_KEPT + 1, MAX_KEPT + 1, MAX_KEPT + 1, [])


def test_a_request_is_the_line_that_json_lines_has_whatever_is_in_it() -> None:
    sink = Recent(lambda: "all", "a1")
    records = [request(text, **{"bpfleet.duration": 0.25}) for text in STRINGS]
    sink.write([sink.encode(record) for record in records])
    assert sink.look(0, len(STRINGS)).requests == [Jsonl("").encode(record).rstrip(b"\n") for record in records]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused(value: float) -> None:
    with pytest.raises(ValueError):
        Recent(lambda: "all", "a1").encode(request("/", **{"bpfleet.duration": float("nan")}))


def test_other_events_are_taken_and_not_kept() -> None:
    """So that this sink's books are like any other's."""
    sink = Recent(lambda: "all", "a1")
    bench = Bench(sinks=[sink])
    bench.drain(event(), event(name=HTTP_REQUEST, **{"url.path": "/x"}), event())
    bench.router.close()
    assert paths(sink.look(0, 10)) == ["/x"]
    account = bench.router.standing().accounts["sink_recent"]
    assert (account.seen, account.delivered) == (3, 3)
