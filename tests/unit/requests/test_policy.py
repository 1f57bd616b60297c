import logging
from datetime import timedelta

import pytest
from tests.unit.hostile import STRINGS
from tests.unit.requests.asked import NOW, Book, Clock, after

from agent.requests.policy import Policies, Policy
from agent.settings import Requests


class Bench:
    def __init__(self, **settings: object) -> None:
        self.book, self.clock = Book(), Clock()
        self.policies = Policies(Requests(**settings), self.book, self.clock)  # type: ignore[arg-type]

    def of(self, namespace: str = "shop") -> Policy:
        """As of the next drain."""
        self.policies.refresh()
        return self.policies.of(namespace)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture):
    """What the log has said since the last time."""
    caplog.set_level(logging.INFO)

    def lines() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return lines


def test_the_settings_hold_where_nobody_asks_for_anything_else() -> None:
    bench = Bench(log="errors", slow_seconds=0.5, namespaces=("lab=sampled/10", "db=off"))
    assert bench.of() == Policy("errors", 100, 0.5)
    assert bench.of("lab") == Policy("sampled", 10, 0.5)
    assert bench.of("db").mode == "off"


def test_the_agent_logs_no_request_unless_asked() -> None:
    assert Policies(Requests()).of("shop") == Policy("off", 100, 1.0)


def test_an_annotation_goes_over_the_settings_and_goes_again() -> None:
    bench = Bench(namespaces=("shop=errors",))
    bench.book.annotate("shop", mode="sampled", one_in="7")
    assert bench.of() == Policy("sampled", 7, 1.0)
    bench.book.annotate("shop", slow_seconds="2")
    assert bench.of() == Policy("errors", 100, 2.0)
    bench.book.given.clear()
    bench.book.version += 1
    assert bench.of() == Policy("errors", 100, 1.0)


def test_a_namespace_whose_annotations_may_still_come_is_silent() -> None:
    bench = Bench(log="all", namespaces=("lab=all",))
    bench.book.is_known = False
    assert {bench.of(each).mode for each in ("shop", "lab")} == {"off"}
    assert {bench.of(each).mode for each in ("", "_host")} == {"all"}
    bench.book.annotate("shop", mode="off")
    bench.book.is_known = True
    assert (bench.of("shop").mode, bench.of("lab").mode) == ("off", "all")


def test_annotations_that_change_without_end_are_read_once_a_drain() -> None:
    bench = Bench(log="all")
    bench.book.annotate("shop", queries_until=after(hours=1))
    bench.policies.refresh()
    looks = bench.book.looks
    for number in range(23):
        bench.book.annotate("shop", mode=("off", "errors")[number % 2])
        assert bench.policies.of("shop").queries
    assert bench.book.looks == looks
    bench.clock.pass_by(hours=2)
    assert not bench.policies.of("shop").queries
    assert bench.of().mode == "off"


def test_queries_and_paths_are_open_for_a_time_and_the_log_says_when(told) -> None:
    bench = Bench(log="all")
    bench.book.annotate("shop", queries_until=after(hours=1), paths_until=after(days=7))
    assert bench.of() == Policy("all", 100, 1.0, queries=True, raw_paths=True)
    assert bench.of("lab") == Policy("all", 100, 1.0)
    assert told() == [
        "namespace shop: raw paths of requests are recorded until 2026-11-28T17:00:00Z, redacted",
        "namespace shop: query strings of requests are recorded until 2026-11-21T18:00:00Z, redacted",
    ]
    assert bench.policies.standing() == (0, {"queries": 1, "paths": 1})
    bench.clock.pass_by(minutes=59, seconds=59.999)
    assert bench.of().queries and told() == []
    bench.clock.pass_by(seconds=0.001)
    assert not bench.of().queries and bench.of().raw_paths
    assert told() == ["namespace shop: query strings of requests are not recorded any more"]
    bench.clock.pass_by(days=7)
    bench.policies.refresh()
    assert told() == ["namespace shop: raw paths of requests are not recorded any more"]
    assert bench.of() == Policy("all", 100, 1.0)
    assert bench.policies.standing() == (0, {"queries": 0, "paths": 0})


def test_an_end_that_is_moved_and_an_annotation_that_is_taken_away_are_told(told) -> None:
    bench = Bench()
    bench.book.annotate("shop", queries_until=after(hours=1))
    bench.policies.refresh()
    bench.book.annotate("shop", queries_until=after(hours=2))
    bench.policies.refresh()
    bench.book.annotate("shop", mode="off")
    bench.policies.refresh()
    assert [line.partition("are ")[2] for line in told()] == [
        "recorded until 2026-11-21T18:00:00Z, redacted",
        "recorded until 2026-11-21T19:00:00Z, redacted",
        "not recorded any more",
    ]


def test_an_end_in_the_past_opens_nothing(told) -> None:
    bench = Bench(log="all")
    bench.book.annotate("shop", queries_until=after(seconds=-1))
    assert not bench.of().queries
    assert told() == ["namespace shop: query strings until 2026-11-21T16:59:59Z: that has passed, and opens nothing"]
    assert bench.policies.standing().refused == 0


def test_an_end_that_is_too_far_away_opens_nothing_before_it_is_a_week_away(told) -> None:
    bench = Bench(log="all")
    bench.book.annotate("shop", queries_until=after(days=7, seconds=1))
    assert not bench.of().queries
    assert "more than 7 days away" in told()[0]
    assert bench.policies.standing().refused == 1
    bench.clock.pass_by(seconds=1)
    assert bench.of().queries
    assert told() == ["namespace shop: query strings of requests are recorded until 2026-11-28T17:00:01Z, redacted"]
    assert bench.policies.standing() == (0, {"queries": 1, "paths": 0})


def test_what_cannot_be_read_is_told_once_and_ignored(told) -> None:
    bench = Bench(log="errors")
    bench.book.annotate("shop", mode="evrything", one_in="7", queries_until="soon", querys_until="x")
    assert bench.of() == Policy("errors", 7, 1.0)
    lines = told()
    assert [line.partition(" is ignored: ")[0] for line in lines] == [
        "namespace shop: annotation bpfleet.io/request-log",
        "namespace shop: annotation bpfleet.io/request-log-queries-until",
        "namespace shop: annotation bpfleet.io/request-log-querys-until",
    ]
    assert "'evrything' is none of off, errors, sampled, all" in lines[0]
    assert "there is no such annotation" in lines[2]
    assert bench.policies.standing().refused == 3
    bench.book.version += 1
    bench.policies.refresh()
    assert told() == []
    bench.book.annotate("shop", mode="all")
    assert bench.of().mode == "all" and bench.policies.standing().refused == 0


def test_a_mode_that_differs_is_told_when_it_begins_and_ends(told) -> None:
    bench = Bench(log="errors", namespaces=("db=off",))
    assert told() == ["namespace db: the request log is off"]
    bench.book.annotate("shop", mode="sampled", one_in="7")
    bench.policies.refresh()
    bench.book.given.clear()
    bench.book.version += 1
    bench.policies.refresh()
    assert told() == [
        "namespace shop: the request log is sampled, one in 7",
        "namespace shop: the request log is errors and requests of 1 s or more, as everywhere",
    ]


def test_a_clock_that_is_set_back_opens_again_what_it_had_closed() -> None:
    bench = Bench(queries=("shop=" + after(hours=1),))
    bench.clock.pass_by(hours=2)
    assert not bench.of().queries
    bench.clock.now = NOW
    assert bench.of().queries
    bench.clock.now = NOW - timedelta(days=7)
    assert not bench.of().queries


def test_new_settings_hold_at_once(told) -> None:
    bench = Bench(queries=("shop=" + after(hours=1),))
    assert bench.of().queries
    told()
    bench.policies.adjust(Requests(log="all"))
    assert bench.of() == Policy("all", 100, 1.0)
    assert told() == ["namespace shop: query strings of requests are not recorded any more"]


def test_whose_requests_nobody_knows_are_off_unless_named() -> None:
    bench = Bench(log="all")
    assert bench.of("_unknown").mode == bench.of("_other").mode == "off"
    assert bench.of("_host").mode == "all"


def test_hostile_annotations_leave_the_log_inert(told) -> None:
    bench = Bench()
    for text in STRINGS:
        bench.book.given[text] = {"bpfleet.io/request-log": text, f"bpfleet.io/request-log{text}": text}
    bench.book.version += 1
    bench.policies.refresh()
    lines = told()
    assert 1 < len(lines) <= 100 and all(line.isprintable() for line in lines)
    assert bench.policies.standing().refused >= len(STRINGS)


def test_ten_thousand_namespaces_cost_a_look_only_when_something_changes() -> None:
    bench = Bench()
    for number in range(10_000):
        bench.book.given[f"n-{number}"] = {"bpfleet.io/request-log": "all"}
    bench.book.version += 1
    assert bench.of("n-7").mode == "all"
    before = bench.policies._of
    for number in range(10_000):
        bench.of(f"n-{number}")
    assert bench.policies._of is before
