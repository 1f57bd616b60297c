"""Sinks as the agent makes them from settings, behind the agent's own queue, and events to send."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from agent.events import records
from agent.events.delivery import Delivery, Standing
from agent.settings import Sinks
from agent.sinks import BUILT_IN
from bpfleet.api import Retry, Sink
from bpfleet.events import Attribute, Record

EVENT = "bpfleet.http.request"
TIME_NS = 1_795_282_465_000_000_007
PATIENCE_SECONDS = 30.0
BRISK = Retry(first_seconds=0.02, longest_seconds=0.1, give_up_seconds=60.0)


def sink(name: str, retry: Retry = BRISK, **options: str | int | float) -> Sink:
    """options: of the settings, by the last part of their names; the others have their defaults."""
    defaults = asdict(Sinks())[name]
    assert options.keys() <= defaults.keys()
    made = BUILT_IN[name](defaults | options)
    assert made
    made.retry = retry
    return made


def event(number: int, workload: str = "web", **more: Attribute) -> Record:
    """One that is told from all others by its attribute `n`. Text is cleaned as on its way through the agent."""
    resource = {
        "k8s.namespace.name": "shop",
        "k8s.pod.name": f"{workload}-{number % 3}",
        "bpfleet.workload.name": workload,
        "bpfleet.workload.kind": "Deployment",
        "k8s.node.name": "node-1",
    }
    attributes = {name: records.clean(value) for name, value in more.items()}
    return Record(EVENT, TIME_NS + number, resource, {"n": number, **attributes})


class Sending:
    """A sink behind its queue."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.delivery = Delivery(sink, [EVENT], time.monotonic, random.Random(23).random)

    def put(self, *events: Record) -> None:
        self.delivery.put(events)

    def standing(self) -> Standing:
        """And holds the books to their balance."""
        found = self.delivery.standing()
        assert found.account.seen == found.account.delivered + sum(found.account.lost.values()) + found.waiting
        return found

    def settled(self) -> dict[str, int]:
        """What became of everything, when nothing waits."""
        end = time.monotonic() + PATIENCE_SECONDS
        while (found := self.standing()).waiting:
            assert time.monotonic() < end, found
            time.sleep(0.005)
        return {outcome: count for (_, outcome), count in found.counts.items() if count}

    def postponed(self) -> None:
        """Waits until the other end could not be reached, or was busy."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.standing().writes["postponed"]:
            assert time.monotonic() < end
            time.sleep(0.005)


@contextmanager
def sending(name: str, retry: Retry = BRISK, **options: str | int | float) -> Iterator[Sending]:
    made = Sending(sink(name, retry, **options))
    try:
        yield made
    finally:
        made.delivery.close(seconds=0.0)
