"""Everything that has a limit is full at once: is each event in the books, once, at any moment?"""

import random
from collections.abc import Sequence
from typing import ClassVar

from tests.unit.events.fakes import FakePeer, ListSink
from tests.unit.security.bench import (
    DB,
    DB_ID,
    LAB_ID,
    SHELLS,
    WEB,
    WEB_ID,
    Clock,
    FakeIdentity,
    policies,
    scopes,
    settings,
)

from agent.events.delivery import Delivery
from agent.events.pending import HELD_SECONDS, MAX_HELD
from agent.events.routing import Router
from agent.identity.model import Owner
from agent.security.folding import MAX_KEYS
from agent.security.stage import SecurityStage
from bpfleet.api import Retry, Sink, Unavailable
from bpfleet.events import Event
from bpfleet.metrics import Flow

EXEC, EGRESS = "bpfleet.security.exec", "bpfleet.security.egress"
EVERYTHING = """\
rules:
  - {name: shell, event: exec, severity: critical, match: {binary: [sh, bash]}}
  - {name: anywhere, event: egress, severity: warning, match: everything}
"""
SECOND = 1_000_000_000
PER_SECOND = 1_500
LOUD = 1_500
PER_DRAIN = 4_000
DRAINS = 7
LATE_ID, NEVER_ID = 50, 51


class Known(FakeIdentity):
    def peer(self, flow: Flow, owner: Owner) -> FakePeer:
        return FakePeer()


class Away(Sink):
    """Its other end does not answer; what waits for it soon finds no room. is_over: and never will."""

    name = "away"
    retry: ClassVar[Retry] = Retry(first_seconds=60.0, longest_seconds=60.0, give_up_seconds=3600.0)

    def __init__(self) -> None:
        self.is_over = False

    def encode(self, record: object) -> bytes:
        return b"x" * 4_000

    def write(self, items: Sequence[bytes]) -> int:
        raise OSError(5, "Input/output error") if self.is_over else Unavailable("connection refused")


class Books:
    def __init__(self, rule_burst: int, per_second: int) -> None:
        self.identity, self.clock = Known(), Clock()
        self.sink, self.away = ListSink(), Away()
        self.found = policies(EVERYTHING)
        self.scopes = scopes(self.found, self.identity)
        self.scopes._ask = lambda: self.found
        chosen = settings(rule_per_second=200.0, rule_burst=rule_burst, fold_seconds=5.0)
        self.stage = SecurityStage(self.scopes, chosen, self.clock)
        self.deliveries = [Delivery(sink, [EXEC, EGRESS], self.clock) for sink in (self.sink, self.away)]
        stages = {EXEC: self.stage, EGRESS: self.stage}
        self.router = Router(
            self.identity, self.deliveries, [EXEC, EGRESS], per_second, self.clock, give_way=lambda: None, stages=stages
        )
        self.seen, self.matched, self.reasons = 0, 0.0, set[str]()

    def drain(self, events: Sequence[Event]) -> None:
        self.clock.now += 1.0
        self.scopes.refresh()
        self.router.begin()
        self.router.take("exec", events[::2])
        self.router.take("egress", events[1::2])
        self.seen += len(events)

    def balance(self) -> None:
        standing = self.router.standing()
        account = standing.accounts["events"]
        waiting = standing.waiting["owner"] + standing.waiting["fold"]
        assert account.seen == self.seen == account.delivered + sum(account.lost.values()) + waiting
        assert sum(standing.events.values()) + waiting == self.seen
        for name in ("list", "away"):
            sink = standing.accounts[f"sink_{name}"]
            assert sink.seen == account.delivered == sink.delivered + sum(sink.lost.values()) + standing.waiting[name]
        self.matched += sum(sample.value for sample in self.stage.samples() if isinstance(sample.value, int))
        self.reasons |= {reason for reason, count in account.lost.items() if count}


def flood(dice: random.Random, second: int) -> list[Event]:
    """More than anything has room for, of a pod that is known, one that nobody knows yet, and one that nobody asked
    about; what others do meanwhile is among it."""
    cgroups = [WEB_ID] * 6 + [LATE_ID] * 6 + [NEVER_ID, DB_ID, LAB_ID]
    told = []
    for number in range(PER_DRAIN):
        time_ns = second * SECOND + number * SECOND // PER_DRAIN
        path = f"/{dice.randrange(3_000)}/{dice.choice(('sh', 'bash', 'ls'))}"
        if number % 2:
            attributes = {"network.peer.address": f"192.0.2.{dice.randrange(256)}", "process.executable.path": path[:9]}
            told.append(Event(EGRESS, time_ns, dice.choice(cgroups), attributes))
        else:
            line = "sh -c 'mysql -phunter2'"
            attributes = {"process.executable.path": path, "process.command_line": line}
            told.append(Event(EXEC, time_ns, dice.choice(cgroups), attributes))
    return told


def test_the_books_balance_while_every_limit_is_exceeded_and_the_policies_change() -> None:
    dice, books = random.Random(23), Books(5_000, PER_SECOND)
    most_waiting = most_open = 0
    for second in range(DRAINS):
        if second == DRAINS - 3:
            books.found = policies(SHELLS)
        if second == DRAINS - 2:
            books.found = policies(EVERYTHING, SHELLS)
            books.identity.owners[LATE_ID] = WEB
        books.drain(flood(dice, second))
        books.balance()
        most_waiting = max(most_waiting, books.router.standing().waiting["owner"])
        most_open = max(most_open, len(books.stage._folding._open))
    books.clock.now += HELD_SECONDS
    books.drain([])
    books.balance()
    books.away.is_over = True
    books.router.close()
    books.balance()

    standing = books.router.standing()
    account = standing.accounts["events"]
    assert (most_waiting, most_open) == (MAX_HELD, MAX_KEYS)
    assert books.reasons == {"rate_limit", "unwatched", "unmatched", "folded", "suppressed"}
    assert standing.sinks["away", EXEC, "queue_full"] and standing.sinks["away", EXEC, "failed"]
    assert standing.waiting == {"owner": 0, "fold": 0, "list": 0, "away": 0}
    stands_for = sum(int(each.attributes.get("bpfleet.security.repeats", 1)) for each in books.sink.records)
    assert len(books.sink.records) == account.delivered
    assert stands_for == account.delivered + account.lost["folded"]
    assert books.matched >= stands_for + account.lost["suppressed"]  # one that two rules matched counts for each
    assert not any("hunter2" in str(each.attributes) for each in books.sink.records)


def test_what_one_pod_does_changes_nothing_of_what_is_told_of_another() -> None:
    """The same few events of a pod, once alone and once among a flood of others: the same records."""
    told = []
    for loud in (0, LOUD):
        books = Books(1_000_000, 10_000)
        for second in range(DRAINS):
            paths = [f"/{second}/{number}/sh" for number in range(loud)]
            events = [Event(EXEC, second * SECOND, WEB_ID, {"process.executable.path": path}) for path in paths]
            if second >= 3:  # from then on the loud one has all the room for folds
                paths = [f"/{number % 7}/sh" for number in range(23)]
                events += [Event(EXEC, second * SECOND, DB_ID, {"process.executable.path": path}) for path in paths]
            books.clock.now += 1.0
            books.router.begin()
            books.router.take("exec", events)
        assert len(books.stage._folding._open) == (MAX_KEYS if loud else 7)
        books.away.is_over = True
        books.router.close()
        of_db = [each.attributes for each in books.sink.records if each.resource["k8s.pod.name"] == DB.pod]
        told.append([(each["process.executable.path"], each.get("bpfleet.security.repeats")) for each in of_db])
    assert told[0] == told[1] and sum(int(count or 1) for _, count in told[0]) == 23 * (DRAINS - 3)
