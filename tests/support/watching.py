"""Security collectors in the kernel without an agent, and cgroups that they watch."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict
from typing import Any

from tests.support import fast_starts
from tests.support.cgroups import Cgroup, v2_root

from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.security.orders import Orders, Watch
from agent.settings import Settings
from bpfleet.api import Collector, Event
from bpfleet.testing import Books

PLENTY = Watch(per_second=100_000, burst=100_000)
ALL = b""
"""Every path is told."""


class Watching:
    """Several collectors, of which a test asks one at a time."""

    def __init__(self, loaded: Loaded, collectors: Iterable[Collector]) -> None:
        self._loaded = loaded
        self._collectors = {each.name: each for each in collectors}
        self._suppressed: dict[int, int] = {}

    def outcome(self, collector: str) -> Any:
        return self._loaded.outcomes[collector]

    def watch(self, collector: str, *places: Cgroup, names: Iterable[bytes] = (), by: Watch = PLENTY) -> None:
        """These and no others, from now on; what was told until now is let go."""
        watches = {place.path.stat().st_ino: by for place in places}
        orders = Orders({collector: watches}, {collector: frozenset(names)}, {})
        steered: Any = self._collectors[collector]
        assert steered.steer(self._loaded.maps(collector), orders) == 0
        self.events(collector)

    def events(self, collector: str) -> list[Event]:
        """Since the last call, of all cgroups."""
        self._loaded.begin_drain()
        return list(self._collectors[collector].events(self._loaded.maps(collector)))

    def told(self, collector: str) -> list[Mapping[str, Any]]:
        """Their attributes."""
        return [each.attributes for each in self.events(collector)]

    def suppressed(self, collector: str) -> dict[int, float]:
        """By cgroup, since the last call."""
        self._loaded.begin_drain()
        samples = self._collectors[collector].collect(self._loaded.maps(collector))
        return {each.cgroup_id: each.value for each in samples if isinstance(each.value, int | float)}

    def books(self, collector: str) -> Books:
        """Of the channel that is called like the collector, from the start."""
        (channel,) = (each for each in self._collectors[collector].channels if each.name == collector)
        seen, *lost = self._loaded.books()[collector]
        delivered = self._loaded.delivered().get(collector, 0)
        return Books(seen, delivered, dict(zip(channel.lost, lost, strict=True)))


@contextmanager
def watching(*collectors: Collector) -> Iterator[Watching]:
    settings = Settings()
    chosen = KernelSettings(
        cgroup_root=str(v2_root()),
        limits=asdict(settings.limits),
        bounds=asdict(settings.histograms),
        cache=str(fast_starts.programs()),
    )
    with closing(KernelDoor().load(collectors, chosen)) as loaded:
        down = {name: outcome.reason for name, outcome in loaded.outcomes.items() if not outcome.up}
        assert not down, down
        yield Watching(loaded, collectors)
