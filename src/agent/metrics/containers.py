"""bpfleet_container_info: which containers are there, on which node, from which image?

One line for each set of identity labels, or joins on it would fail: a StatefulSet's new pod has the old one's name and
takes its place at once. That of a container that ended stays as long as its last counts do.
"""

from collections.abc import Iterable

from agent.metrics import labels
from agent.metrics.hold import KEEP_INTERVALS
from agent.metrics.identities import Owner, OwnerT
from agent.metrics.series import Workload
from bpfleet import names
from bpfleet.catalogue import CONTAINER_INFO


class Containers:
    """limit: lines at most; interval: the scrape interval."""

    def __init__(self, limit: int, interval: float) -> None:
        self.adjust(limit, interval)
        self._seen: dict[tuple[str, ...], tuple[float, Owner, str]] = {}

    def adjust(self, limit: int, interval: float) -> None:
        self.limit, self._keep = limit, KEEP_INTERVALS * interval

    def __len__(self) -> int:
        return len(self._seen)

    def refresh(self, met: Iterable[tuple[OwnerT, Workload[OwnerT]]], now: float) -> None:
        """met: those who live, each with its workload."""
        for owner, workload in met:
            seen = self._seen.get(workload.labels)
            if seen and seen[1] is owner:
                self._seen[workload.labels] = (now, owner, seen[2])
            elif seen or len(self._seen) < self.limit:
                values = (*workload.labels, labels.clean(owner.node), labels.clean(owner.image))
                text = labels.pairs((*names.IDENTITY, *CONTAINER_INFO.labels), values)
                self._seen[workload.labels] = (now, owner, text)
        for identity in [identity for identity, (seen_at, *_) in self._seen.items() if now - seen_at > self._keep]:
            del self._seen[identity]

    def texts(self) -> list[str]:
        return [text for *_, text in self._seen.values()]
