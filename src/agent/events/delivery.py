"""One sink behind a bounded queue, on a thread of its own: whatever the sink does, the drain does not wait.

Every event that is put is entered in the books once: as delivered, or as lost with the reason.
"""

import errno
import logging
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from agent.events.ledgers import Account, Ledger
from agent.throttle import Throttle
from bpfleet.api import Sink, Unavailable, Written
from bpfleet.events import Record

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 8 << 20
"""Some 11,000 events: one second of the rated 10,000, and less than what an agent may grow by because a sink's other
end is away (10 MiB), with what a write holds besides."""

ITEM_BYTES = 128
"""What Python takes for an item in the queue besides its data."""

FLUSH_SECONDS = 2.0
"""For what is queued when the agent ends; the kubelet kills after 30 s, an impatient user earlier."""

LEAVE_SECONDS = 1.0
"""In which a write returns, by the contract of bpfleet.api.Sink."""

LAST_PAUSE_SECONDS = 0.25
"""Longest time between two attempts when the agent ends."""

MAX_DOUBLINGS = 30
"""Of the pause; any sensible longest one is reached before."""

DELIVERED = "delivered"
REASONS = (
    *("queue_full", "disk_full", "closed", "failed", "invalid", "ending"),
    *("unavailable", "rejected", "unanswered"),
)
WRITES = ("done", "postponed", "lost")
"""What becomes of an attempt to send. lost: of at least one of its events."""

_BY_ERROR = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EPIPE: "closed",
    errno.ECONNRESET: "closed",
    errno.ENXIO: "closed",  # a named pipe that nobody reads
}

Item = tuple[str, bytes]
"""An event's name and its data."""


class Standing(NamedTuple):
    """counts: by event and outcome. waiting: events in the queue. writes: attempts to send, by what became of them."""

    account: Account
    counts: Mapping[tuple[str, str], int]
    waiting: int
    writes: Mapping[str, int]


class Delivery:
    """events: names that are declared. clock: monotonic seconds, for the log's silence and for how long the same events
    are offered. chance: from 0 to below 1."""

    def __init__(
        self,
        sink: Sink,
        events: Iterable[str],
        clock: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.name = sink.name
        self._sink = sink
        self._ledger = Ledger(DELIVERED, REASONS, events)
        self._clock, self._chance = clock, chance
        self._throttle = Throttle(clock)
        self._queue: deque[Item] = deque()
        self._changed = threading.Condition()
        self._queued_bytes = self._seen = 0
        self._closing = self._abandoned = False
        self._failures = 0  # in a row
        self._writes = Counter(dict.fromkeys(WRITES, 0))
        self._thread: threading.Thread | None = None

    def declare(self, events: Iterable[str]) -> None:
        """More names that may come."""
        with self._changed:
            self._ledger.declare(events)

    def put(self, records: Sequence[Record]) -> None:
        """Never waits, never fails."""
        items = [item for record in records if (item := self._encoded(record))]
        with self._changed:
            self._seen += len(records)
            for name, data in items:
                self._append(name, data)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"sink-{self.name}", daemon=True)
            self._thread.start()

    def _encoded(self, record: Record) -> Item | None:
        try:
            return record.name, self._sink.encode(record)
        except Exception as error:  # one event's failure is its own
            with self._changed:
                self._ledger.enter(record.name, "invalid")
            self._tell("invalid", 1, error)
            return None

    def _append(self, name: str, data: bytes) -> None:
        size = len(data) + ITEM_BYTES
        if self._closing or self._queued_bytes + size > MAX_QUEUED_BYTES:
            self._ledger.enter(name, "ending" if self._closing else "queue_full")
            return
        self._queued_bytes += size
        self._queue.append((name, data))

    def standing(self) -> Standing:
        """All of one moment, so that it always balances."""
        with self._changed:
            return Standing(
                self._ledger.account(self._seen), self._ledger.counts(), len(self._queue), dict(self._writes)
            )

    def end(self) -> None:
        """Nothing more is taken; what is queued is sent without waiting for more."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait so long for what is queued; the rest is lost. The log has the last word on the books."""
        self.end()
        if self._thread:
            self._thread.join(seconds)
            with self._changed:
                self._abandoned = True
                self._changed.notify()
            self._thread.join(LEAVE_SECONDS)
        with self._changed:
            left = len(self._queue)
            self._settle(left, "ending")
        if self._seen:
            account = self.standing().account
            lost = ", ".join(f"{count} {reason}" for reason, count in account.lost.items() if count)
            level = logging.WARNING if left else logging.INFO
            log.log(level, "sink %s: %d events delivered, lost: %s", self.name, account.delivered, lost or "none")
        try:
            self._sink.close()
        except Exception:  # what was written is written
            log.exception("sink %s cannot be closed", self.name)

    # On the sink's thread

    def _run(self) -> None:
        while batch := self._next():
            self._send(batch)

    def _next(self) -> list[Item]:
        """The oldest items, which stay in the queue until their outcome is known; none when it is time to end."""
        wanted = self._sink.batch
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if wanted.seconds:
                self._changed.wait_for(self._is_enough, wanted.seconds)
            return [] if self._abandoned else self._oldest()

    def _is_enough(self) -> bool:
        wanted = self._sink.batch
        return self._closing or len(self._queue) >= wanted.items or self._queued_bytes >= wanted.size_bytes

    def _oldest(self) -> list[Item]:
        wanted = self._sink.batch
        batch: list[Item] = []
        size = 0
        for item in self._queue:
            size += len(item[1])
            if batch and (len(batch) >= wanted.items or size > wanted.size_bytes):
                break
            batch.append(item)
        return batch

    def _send(self, batch: list[Item]) -> None:
        """Until something became of it, or nobody waits any more."""
        data = [data for _, data in batch]
        give_up = self._clock() + self._sink.retry.give_up_seconds
        while not self._abandoned:
            try:
                self._enter(self._sink.write(data))
            except Unavailable as error:
                if self._clock() < give_up:
                    self._postpone(error)
                    continue
                self._lose(len(batch), "unavailable", error)
            except Exception as error:  # one sink's failure is its own
                self._lose(len(batch), reason(error), error)
            return

    def _enter(self, written: int | Written) -> None:
        told = written if isinstance(written, Written) else Written(written)
        lost = {"rejected": told.rejected, "unanswered": told.unanswered}
        with self._changed:
            self._settle(told.delivered, DELIVERED)
            for outcome, count in lost.items():
                self._settle(count, outcome)
            if told.delivered or any(lost.values()):
                self._writes["lost" if any(lost.values()) else "done"] += 1
        self._failures = self._failures + 1 if told.unanswered else 0
        for outcome, count in lost.items():
            if count:
                self._tell(outcome, count, told.why)
        if told.unanswered:
            self._pause(0.0)

    def _lose(self, count: int, outcome: str, error: Exception) -> None:
        with self._changed:
            self._settle(count, outcome)
            self._writes["lost"] += 1
        self._tell(outcome, count, error)

    def _postpone(self, error: Unavailable) -> None:
        with self._changed:
            self._writes["postponed"] += 1
        if self._throttle.allows("postponed"):
            log.warning("sink %s: nothing is lost yet, it is tried again: %s", self.name, error)
        self._failures += 1
        self._pause(error.after_seconds)

    def _pause(self, at_least: float) -> None:
        """Random, so that the agents of a cluster do not come back at one moment (full jitter). Never longer than the
        same events are offered at all, whatever the other end says."""
        retry = self._sink.retry
        longest = min(retry.longest_seconds, retry.first_seconds * 2 ** min(self._failures - 1, MAX_DOUBLINGS))
        seconds = min(max(0.0, at_least) + self._chance() * longest, retry.give_up_seconds)
        with self._changed:
            if not self._closing:
                self._changed.wait_for(lambda: self._closing, seconds)
            if self._closing:
                self._changed.wait_for(lambda: self._abandoned, min(seconds, LAST_PAUSE_SECONDS))

    def _settle(self, count: int, outcome: str) -> None:
        """Of the oldest ones; of none where close() has given them up already."""
        for _ in range(min(count, len(self._queue))):
            name, data = self._queue.popleft()
            self._queued_bytes -= len(data) + ITEM_BYTES
            self._ledger.enter(name, outcome)

    def _tell(self, outcome: str, count: int, why: object) -> None:
        if self._throttle.allows(outcome):
            log.warning("sink %s: %d events are lost (%s): %s", self.name, count, outcome, why)


def reason(error: Exception) -> str:
    return _BY_ERROR.get(error.errno or 0, "failed") if isinstance(error, OSError) else "failed"
