"""bpfleet_container_info: which containers are there, on which node, from which image?

One line for each set of identity labels, or joins on it would fail: a StatefulSet's new pod has the old one's name and
takes its place at once. That of a container that ended stays as long as its last counts do.
"""

from collections.abc import Iterable

from agent.metrics import labels
from agent.metrics.hold import KEEP_INTERVALS
from agent.metrics.identities import Owner
from bpfleet import names
from bpfleet.catalogue import CONTAINER_INFO


class Containers:
    """limit: lines at most; interval: the scrape interval."""

    def __init__(self, limit: int, interval: float) -> None:
        self.limit, self._keep = limit, KEEP_INTERVALS * interval
        self._seen: dict[tuple[str, ...], tuple[float, str]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def refresh(self, living: Iterable[Owner], now: float) -> None:
        for owner in living:
            identity = tuple(map(labels.clean, owner.labels))
            if identity in self._seen or len(self._seen) < self.limit:
                values = (*identity, labels.clean(owner.node), labels.clean(owner.image))
                text = labels.pairs((*names.IDENTITY, *CONTAINER_INFO.labels), values)
                self._seen[identity] = (now, text)
        for identity in [identity for identity, (seen, _) in self._seen.items() if now - seen > self._keep]:
            del self._seen[identity]

    def texts(self) -> list[str]:
        return [text for _, text in self._seen.values()]
