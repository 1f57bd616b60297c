"""One sink behind a bounded queue, on a thread of its own: whatever the sink does, the drain does not wait.

Every event that is put is entered in the books once: as delivered, or as lost with the reason.
"""

import errno
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from agent.events.ledgers import Account, Ledger
from agent.throttle import Throttle
from bpfleet.api import Sink
from bpfleet.events import Record

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 8 << 20
"""Some 15,000 events: more than one second of the rated 10,000, and less than what an agent may grow by because a
sink's other end is away (10 MiB)."""

ITEM_BYTES = 128
"""What Python takes for an item in the queue besides its data."""

BATCH = 512
"""Items of one write: 200 KiB, so that it costs little however many threads want to run."""

FLUSH_SECONDS = 2.0
"""For what is queued when the agent ends; the kubelet kills after 30 s, an impatient user earlier."""

LEAVE_SECONDS = 1.0
"""In which a write returns, by the contract of bpfleet.api.Sink."""

DELIVERED = "delivered"
REASONS = ("queue_full", "disk_full", "closed", "failed", "invalid", "ending")

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
    """counts: by event and outcome. waiting: events in the queue."""

    account: Account
    counts: Mapping[tuple[str, str], int]
    waiting: int


class Delivery:
    """events: names that are declared. clock: monotonic seconds, for the log's silence."""

    def __init__(self, sink: Sink, events: Iterable[str], clock: Callable[[], float]) -> None:
        self.name = sink.name
        self._sink = sink
        self._ledger = Ledger(DELIVERED, REASONS, events)
        self._throttle = Throttle(clock)
        self._queue: deque[Item] = deque()
        self._changed = threading.Condition()
        self._queued_bytes = self._seen = 0
        self._closing = self._abandoned = False
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
            return Standing(self._ledger.account(self._seen), self._ledger.counts(), len(self._queue))

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Wait so long for what is queued; the rest is lost. The log has the last word on the books."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join(seconds)
            self._abandoned = True
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
            try:
                through, outcome = self._sink.write([data for _, data in batch]), DELIVERED
            except Exception as error:  # one sink's failure is its own
                through, outcome = len(batch), reason(error)
                self._tell(outcome, through, error)
            with self._changed:
                self._settle(through, outcome)

    def _next(self) -> list[Item]:
        """The oldest items, which stay in the queue until their outcome is known; none when it is time to end."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            return [] if self._abandoned else list(islice(self._queue, BATCH))

    def _settle(self, count: int, outcome: str) -> None:
        """Of the oldest ones; of none where close() has given them up already."""
        for _ in range(min(count, len(self._queue))):
            name, data = self._queue.popleft()
            self._queued_bytes -= len(data) + ITEM_BYTES
            self._ledger.enter(name, outcome)

    def _tell(self, outcome: str, count: int, error: Exception) -> None:
        if self._throttle.allows(outcome):
            log.warning("sink %s: %d events are lost (%s): %s", self.name, count, outcome, error)


def reason(error: Exception) -> str:
    return _BY_ERROR.get(error.errno or 0, "failed") if isinstance(error, OSError) else "failed"
