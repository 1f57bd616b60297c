"""Events of cgroups that nobody knows yet: held in their order until the owner is known, or for so long.

As agent.metrics.pending has it for counts: a container's first events come before the Kubernetes API has told whose it
is. Where there is no more room, whoever has most of it gives some up: a flood costs only its own share.
"""

from agent.events.shares import Shares
from bpfleet.events import Event

HELD_SECONDS = 15.0
"""A pod is on the watch within a second or two. After this the API is away, and an event without a full name is worth
more than none."""

MAX_HELD = 4096
"""About 4 MiB. A pod's first seconds have some dozens."""


class Pending:
    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._events: dict[int, list[Event]] = {}
        self._shares = Shares[int]()
        self.size = 0

    def hold(self, event: Event, now: float) -> Event | None:
        """The one that finds no room: this one, or the last of a cgroup that has more."""
        left_over = None
        if self.size >= MAX_HELD:
            greedier = self._shares.greedier(event.cgroup_id)
            if greedier is None:
                return event
            left_over = self._events[greedier].pop()  # not its only one: it has more than this one will have
            self._shares.add(greedier, -1)
            self.size -= 1
        self._since.setdefault(event.cgroup_id, now)
        self._events.setdefault(event.cgroup_id, []).append(event)
        self._shares.add(event.cgroup_id)
        self.size += 1
        return left_over

    def waiting(self, now: float) -> list[tuple[int, bool]]:
        """Every cgroup, and whether it has waited long enough."""
        return [(cgroup_id, now - since >= HELD_SECONDS) for cgroup_id, since in self._since.items()]

    def release(self, cgroup_id: int) -> list[Event]:
        del self._since[cgroup_id]
        events = self._events.pop(cgroup_id)
        self._shares.add(cgroup_id, -len(events))
        self.size -= len(events)
        return events
