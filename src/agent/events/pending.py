"""Events of cgroups that nobody knows yet: held in their order until the owner is known, or for so long.

As agent.metrics.pending has it for counts: a container's first events come before the Kubernetes API has told whose it
is.
"""

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
        self.size = 0

    def hold(self, event: Event, now: float) -> bool:
        """False where there is no room."""
        if self.size >= MAX_HELD:
            return False
        self._since.setdefault(event.cgroup_id, now)
        self._events.setdefault(event.cgroup_id, []).append(event)
        self.size += 1
        return True

    def waiting(self, now: float) -> list[tuple[int, bool]]:
        """Every cgroup, and whether it has waited long enough."""
        return [(cgroup_id, now - since >= HELD_SECONDS) for cgroup_id, since in self._since.items()]

    def release(self, cgroup_id: int) -> list[Event]:
        del self._since[cgroup_id]
        events = self._events.pop(cgroup_id)
        self.size -= len(events)
        return events
