from collections.abc import Iterator
from functools import partial

import pytest
from tests.unit.events.fakes import EVENT, NOBODY, Bench, FakeOwner, FakePeer, FakeStage, ListSink, event

from agent.events import records
from agent.events.pending import HELD_SECONDS, MAX_HELD
from agent.events.routing import BATCH, NAMELESS
from agent.security.folding import Held
from bpfleet.events import Event, Record
from bpfleet.metrics import Flow

DB = Flow(bytes(10) + b"\xff\xff" + bytes((198, 51, 100, 2)), 5432, "tcp")


def balanced(bench: Bench) -> dict[str, int]:
    """Outcomes of the router's own stage, whose books are held to their balance; what passed is what the sinks saw."""
    standing = bench.router.standing()
    account = standing.accounts["events"]
    assert account.seen == account.delivered + sum(account.lost.values()) + standing.waiting["owner"]
    for each in bench.deliveries:
        assert standing.accounts[f"sink_{each.name}"].seen == account.delivered
    return {outcome: count for (_, outcome), count in standing.events.items() if count}


def test_an_event_gets_its_owner_its_peer_and_the_time_of_day() -> None:
    bench = Bench()
    bench.identity.peers[DB.address] = FakePeer("service", "shop", "db")
    bench.drain(event(1, bench.monotonic.now - 7, DB, text="x"))
    (told,) = bench.ended()
    assert told.time_ns == bench.wall.now - 7
    assert told.resource == records.resource(FakeOwner())
    assert told.attributes == {
        "text": "x",
        "bpfleet.peer.kind": "service",
        "bpfleet.peer.namespace": "shop",
        "bpfleet.peer.name": "db",
    }
    assert balanced(bench) == {"passed": 1}


def test_a_step_of_the_clock_shows_in_the_next_drain() -> None:
    bench = Bench()
    bench.drain(event())
    bench.wall.now += 3600 * 10**9
    bench.drain(event())
    first, second = bench.ended()
    assert second.time_ns - first.time_ns == 3600 * 10**9


def test_events_wait_for_their_owner_in_their_order() -> None:
    bench = Bench()
    bench.drain(event(7, 1), event(1, 2), event(7, 3))
    assert bench.router.standing().waiting["owner"] == 2
    assert balanced(bench) == {"passed": 1}
    bench.identity.owners[7] = FakeOwner(node="node-7")
    bench.drain(event(7, 4))
    told = bench.ended()
    assert [each.resource["k8s.node.name"] for each in told] == ["node-1", "node-7", "node-7", "node-7"]
    start = bench.wall.now - bench.monotonic.now
    assert [each.time_ns - start for each in told] == [2, 1, 3, 4]
    assert balanced(bench) == {"passed": 4}


def test_an_owner_that_stays_unknown_is_told_as_such_after_a_while() -> None:
    bench = Bench()
    bench.drain(event(7))
    bench.clock.now += HELD_SECONDS - 1
    bench.drain()
    assert balanced(bench) == {}
    bench.clock.now += 1
    bench.drain()
    assert balanced(bench) == {"passed": 1}
    (told,) = bench.ended()
    assert told.resource == records.resource(NOBODY)


def test_what_finds_no_room_to_wait_is_told_with_the_best_that_is_known() -> None:
    bench = Bench()
    bench.drain(*(event(number) for number in range(100, 100 + MAX_HELD + 23)))
    assert bench.router.standing().waiting["owner"] == MAX_HELD
    assert balanced(bench) == {"passed": 23}
    assert len(bench.ended()) == MAX_HELD + 23
    assert balanced(bench) == {"passed": MAX_HELD + 23}


def test_a_flood_of_one_that_nobody_knows_takes_no_others_wait() -> None:
    """Neither one that was there before it, nor one that comes when all is full."""
    bench = Bench()
    bench.drain(event(7, 1))
    bench.drain(*(event(8, 2 + number) for number in range(MAX_HELD + 1000)), event(9, 9_000))
    assert bench.router.standing().waiting["owner"] == MAX_HELD
    bench.identity.owners.update({7: FakeOwner(node="node-7"), 9: FakeOwner(node="node-9")})
    bench.drain()
    nodes = [each.resource.get("k8s.node.name") for each in bench.ended()]
    assert (nodes.count("node-7"), nodes.count("node-9"), len(nodes)) == (1, 1, MAX_HELD + 1002)
    assert balanced(bench) == {"passed": MAX_HELD + 1002}


def test_every_sink_gets_every_event() -> None:
    sinks = [ListSink(), ListSink()]
    sinks[1].name = "other"  # type: ignore[misc]
    bench = Bench(sinks=sinks)
    bench.drain(*(event() for _ in range(211)))
    bench.router.close()
    assert [len(sink.items) for sink in sinks] == [211, 211]
    sunk = bench.router.standing().sinks
    assert sunk["list", EVENT, "delivered"] == sunk["other", EVENT, "delivered"] == 211


def test_without_a_sink_events_are_counted_and_nothing_waits() -> None:
    bench = Bench(sinks=[])
    bench.drain(event(1), event(7))
    assert balanced(bench) == {"no_sink": 2}
    assert bench.router.standing().waiting == {"owner": 0}


def test_without_a_sink_a_stage_sees_its_events_all_the_same() -> None:
    """Alerts are made of what it counts."""
    stage = FakeStage(None, "policy")
    bench = Bench(sinks=[], stages={EVENT: stage})
    bench.drain(event(1), event(1), event(7))
    bench.router.close()
    assert len(stage.asked) == 3
    assert balanced(bench) == {"no_sink": 2, "policy": 1}


def test_each_collector_has_a_limit_of_its_own() -> None:
    bench = Bench(per_second=23)
    bench.drain(*(event() for _ in range(100)), collector="loud")
    bench.drain(*(event() for _ in range(7)), collector="quiet")
    assert balanced(bench) == {"passed": 23 + 7, "rate_limit": 77}
    assert len(bench.ended()) == 30


def test_what_one_tells_beyond_a_collectors_limit_takes_no_others_place() -> None:
    bench = Bench(per_second=1_000)
    bench.identity.owners[2] = FakeOwner(node="node-2")
    bench.drain(*(event(1) for _ in range(5_000)), *(event(2) for _ in range(10)))
    assert balanced(bench) == {"passed": 1_010, "rate_limit": 4_000}
    assert [each.resource["k8s.node.name"] for each in bench.ended()].count("node-2") == 10


def test_a_declared_event_is_there_before_it_happens() -> None:
    standing = Bench().router.standing()
    assert standing.events == {(EVENT, outcome): 0 for outcome in ("passed", "rate_limit", "no_sink", "invalid")}
    assert {name for _, name, _ in standing.sinks} == {EVENT}


def test_where_identity_fails_events_wait_and_then_go_without_a_name() -> None:
    bench = Bench()
    bench.identity.broken = OSError(5, "Input/output error")
    bench.drain(event(flow=DB))
    bench.clock.now += HELD_SECONDS
    with pytest.raises(OSError, match="Input/output error"):
        bench.router.begin()
    bench.identity.broken = None
    bench.router.begin()
    (told,) = bench.ended()
    assert told.resource == NAMELESS
    assert balanced(bench) == {"passed": 1}


def test_an_event_that_is_none_costs_itself_only() -> None:
    bench = Bench()
    strange = Event(EVENT, 0, 1, None)  # type: ignore[arg-type]
    bench.drain(event(), strange, event())
    with pytest.raises(AttributeError):
        bench.router.begin()
    assert len(bench.ended()) == 2
    assert balanced(bench) == {"passed": 2, "invalid": 1}


def test_what_came_before_a_collector_failed_is_on_its_way() -> None:
    bench = Bench()

    def broken() -> Iterator[Event]:
        yield event()
        raise ValueError("a strange record")

    bench.router.begin()
    with pytest.raises(ValueError, match="a strange record"):
        bench.router.take("broken", broken())
    assert len(bench.ended()) == 1
    assert balanced(bench) == {"passed": 1}


def test_in_a_burst_the_sinks_have_their_turn() -> None:
    bench = Bench()
    bench.drain(*(event() for _ in range(10 * BATCH)))
    assert bench.gave_way == 10
    bench.router.close()


def test_a_stage_decides_about_its_events_when_their_owner_is_known() -> None:
    stage = FakeStage(None, "policy", None)
    bench = Bench(stages={EVENT: stage})
    bench.drain(event(7), event(1), event(1), event(1, name="test.else"))
    assert stage.asked == [(FakeOwner().labels, 1)] * 2
    bench.identity.owners[7] = FakeOwner(("lab", "", "", "db", "StatefulSet"))
    bench.drain()
    assert stage.asked[2:] == [(("lab", "", "", "db", "StatefulSet"), 7)]
    counts = bench.router.standing().events
    assert (counts[EVENT, "passed"], counts[EVENT, "policy"], counts["test.else", "passed"]) == (2, 1, 1)
    assert [told.attributes for told in bench.ended()] == [{"data": "staged"}, {}, {"data": "staged"}]
    assert stage.begun == 2


def test_the_reasons_of_a_stage_are_in_the_books_from_the_start() -> None:
    standing = Bench(stages={EVENT: FakeStage()}).router.standing()
    assert standing.accounts["events"].lost == dict.fromkeys(("rate_limit", "no_sink", "invalid", "policy", "other"), 0)
    assert standing.events[EVENT, "policy"] == 0


@pytest.mark.parametrize(
    ("answer", "raised"), [(OSError(5, "Input/output error"), OSError), ("unheard of", ValueError)]
)
def test_what_a_stage_raises_or_makes_up_costs_that_event_only(
    answer: str | Exception, raised: type[Exception]
) -> None:
    bench = Bench(stages={EVENT: FakeStage(None, answer, "other", None)})
    bench.drain(*(event() for _ in range(4)))
    with pytest.raises(raised):
        bench.router.begin()
    assert balanced(bench) == {"passed": 2, "invalid": 1, "other": 1}


def test_a_stage_that_cannot_begin_decides_as_before() -> None:
    stage = FakeStage()
    bench = Bench(stages={EVENT: stage})
    stage.broken = OSError(5, "Input/output error")
    with pytest.raises(OSError, match="Input/output"):
        bench.router.begin()
    bench.router.take("test", [event()])
    assert balanced(bench) == {"passed": 1}


def test_where_identity_fails_a_stage_gets_an_owner_that_nobody_knows() -> None:
    stage = FakeStage()
    bench = Bench(stages={EVENT: stage})
    bench.identity.broken = OSError(5, "Input/output error")
    bench.drain(event())
    bench.clock.now += HELD_SECONDS
    with pytest.raises(OSError, match="Input/output"):
        bench.router.begin()
    assert stage.asked == [(("_other", "", "", "_other", ""), 1)]


class Keeper(FakeStage):
    """Keeps every record until it is asked often enough. broken_due, broken_make: what that and each of them raises."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds, self.kept, self.looks = rounds, list[Record](), 0
        self.broken_due: Exception | None = None
        self.broken_make: Exception | None = None

    @property
    def waiting(self) -> int:
        return len(self.kept)

    def __call__(self, record: Record, labels: tuple[str, ...], cgroup_id: int) -> Record | str | None:  # type: ignore[override]
        self.kept.append(record)
        return None

    def due(self, is_end: bool) -> Iterator[Held]:
        self.looks += 1
        if self.broken_due:
            raise self.broken_due
        while self.kept and (is_end or self.looks > self.rounds):
            kept = self.kept.pop(0)
            yield Held(kept.name, partial(self._made, kept))

    def _made(self, record: Record) -> Record:
        if self.broken_make:
            raise self.broken_make
        return record


def test_a_stage_may_hold_events_and_let_them_go_later() -> None:
    keeper = Keeper(rounds=2)
    bench = Bench(stages={EVENT: keeper})
    for number in range(3):
        bench.drain(event(1, number))
        standing = bench.router.standing()
        account = standing.accounts["events"]
        assert account.seen == account.delivered + sum(account.lost.values()) + sum(
            standing.waiting[stage] for stage in ("owner", "fold")
        )
    assert bench.router.standing().waiting["fold"] == 1  # the first two went when the third drain began
    assert len(bench.ended()) == 3
    assert bench.router.standing().waiting["fold"] == 0
    assert balanced(bench) == {"passed": 3}


def test_a_stage_that_decides_about_several_events_begins_once_a_drain() -> None:
    stage = FakeStage()
    bench = Bench(stages={EVENT: stage, "test.other": stage})
    bench.drain(event())
    assert stage.begun == 1


def test_a_stage_that_cannot_let_go_is_told_of_and_the_rest_goes_on() -> None:
    keeper = Keeper(rounds=0)
    bench = Bench(stages={EVENT: keeper})
    bench.drain(event())
    keeper.broken_due = RuntimeError("stuck")
    with pytest.raises(RuntimeError, match="stuck"):
        bench.router.begin()
    bench.router.take("test", [event()])
    keeper.broken_due = None
    assert len(bench.ended()) == 2


def test_what_waited_and_can_be_told_no_more_is_in_the_books() -> None:
    keeper = Keeper(rounds=0)
    bench = Bench(stages={EVENT: keeper})
    bench.drain(*(event() for _ in range(3)))
    keeper.broken_make = RecursionError("names within names")
    with pytest.raises(RecursionError):
        bench.router.begin()
    keeper.broken_make = None
    bench.drain(event())
    assert len(bench.ended()) == 1
    assert balanced(bench) == {"passed": 1, "invalid": 3}


def test_reasons_of_a_stage_are_those_of_its_events_only() -> None:
    bench = Bench(stages={"test.other": FakeStage()})
    bench.router.declare(["test.other"])
    outcomes = {outcome for (name, outcome) in bench.router.standing().events if name == EVENT}
    assert outcomes == {"passed", "rate_limit", "no_sink", "invalid"}
    others = {outcome for (name, outcome) in bench.router.standing().events if name == "test.other"}
    assert others == outcomes | {"policy", "other"}
