"""Events as a user's tools read them: a line of JSON each."""

import json
import re
import signal
import string
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.support.agents import Agent

Told = dict[str, Any]
INERT = set(string.printable) - set("\n\r\t\x0b\x0c")
"""What may stand in a line: nothing that does anything to a terminal."""

CHANNELS = ("tcp_state_events", "events", "sink_jsonl")
"""The stages of an event's way, each with its books."""

TRIES = 40
LAST = re.compile(r"sink jsonl: (?P<delivered>\d+) events delivered, lost: (?P<lost>.*)")


def parsed(text: str) -> list[Told]:
    """Raises ValueError or AssertionError for anything but whole lines of inert JSON."""
    assert not text or text.endswith("\n")
    lines = text.splitlines()
    assert not [line for line in lines if not set(line) <= INERT]
    return [json.loads(line, parse_constant=_refused) for line in lines]


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def of(events: Iterable[Told], workload: str) -> list[Told]:
    return [event for event in events if event["bpfleet.workload.name"] == workload]


def lost(agent: Agent, *channels: str) -> dict[str, int]:
    """By reason, where it is not 0."""
    rows = [(labels, value) for labels, value in agent.page().where("bpfleet_lost_total") if value]
    return {labels["reason"]: int(value) for labels, value in rows if labels["channel"] in channels}


class Books:
    """What one page says of the events' way. waiting: for their owner's name, which cgroups that this agent cannot see
    never get; after 15 seconds they are told without."""

    def __init__(self, agent: Agent) -> None:
        page = agent.page()

        def total(name: str, channel: str) -> int:
            return int(page.value(f"bpfleet_{name}_total", channel=channel))

        ring, stage, sink = CHANNELS
        self.seen, self.delivered = total("seen", ring), total("delivered", sink)
        self.lost = sum(total("lost", channel) for channel in CHANNELS)
        self.waiting = int(page.value("bpfleet_events_waiting", stage="owner"))
        self.queued = int(page.value("bpfleet_events_waiting", stage="jsonl"))
        assert total("seen", stage) == total("delivered", stage) + total("lost", stage) + self.waiting
        assert total("seen", sink) == total("delivered", sink) + total("lost", sink) + self.queued
        assert total("delivered", stage) == total("seen", sink)

    @property
    def balanced(self) -> bool:
        """Nothing is in the ring: all that was seen is delivered, lost or waits."""
        return self.seen == self.delivered + self.lost + self.waiting + self.queued


def at_rest(agent: Agent) -> Books:
    """The books at a moment when nothing comes between reading the ring and reading the kernel's own books; other
    sockets of this host may change their state at any time, so some tries are made. Raises AssertionError."""
    for _ in range(TRIES):
        agent.drained()
        books = Books(agent)
        if books.balanced:
            return books
    raise AssertionError(f"the books do not balance: {vars(books)}")


class Last(NamedTuple):
    """What an agent says when it has ended: its last word on a sink's books."""

    delivered: int
    lost: dict[str, int]


def stopped(agent: Agent) -> Last:
    """Ends the agent. Raises AssertionError."""
    agent.process.send_signal(signal.SIGTERM)
    status, said = agent.ended()
    assert status == 0, said
    told = LAST.search(said)
    assert told, said
    parts = [part.split() for part in told["lost"].split(", ") if part != "none"]
    return Last(int(told["delivered"]), {reason: int(count) for count, reason in parts})
