"""One collector in the kernel, for tests of plugins (bpfleet.testing) and for `bpfleet collector check`."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

from agent.kernel import facts
from agent.kernel.door import Door, KernelDoor, KernelSettings, Loaded
from agent.settings import Settings
from bpfleet.api import Collector, Histogram, Maps
from bpfleet.errors import LoadError
from bpfleet.testing import Books


class Trial:
    """As bpfleet.testing.Programs has it."""

    def __init__(self, collector: Collector, loaded: Loaded, cgroup_root: Path) -> None:
        self._collector, self._loaded = collector, loaded
        self.cgroup_root = cgroup_root

    @property
    def maps(self) -> Maps:
        return self._loaded.maps(self._collector.name)

    @property
    def hooks(self) -> tuple[str, ...]:
        return self._loaded.outcomes[self._collector.name].hooks

    def names(self) -> Iterable[str]:
        """Of its maps."""
        return [row.name for row in self._loaded.tables()]

    def begin(self) -> None:
        self._loaded.begin_drain()

    def books(self) -> Mapping[str, Books]:
        rows, delivered = self._loaded.books(), self._loaded.delivered()
        runs, left_out = self._loaded.runs(), self._loaded.left_out()
        books = {}
        for channel in self._collector.channels:
            row = rows.get(channel.name, ())
            seen, lost = (sum(runs[each][0] for each in channel.seen_by), row) if channel.seen_by else (row[0], row[1:])
            reasons = dict(zip(channel.lost, lost, strict=True))
            if channel.runs:
                reasons["left_out"] = sum(left_out.get(name, 0) for name in channel.runs)
                seen += reasons["left_out"]
            books[channel.name] = Books(seen, delivered.get(channel.name, 0), reasons)
        return books

    def close(self) -> None:
        self._loaded.close()


def load(collector: Collector, door: Door | None = None, settings: KernelSettings | None = None) -> Trial:
    """Raises BpfleetError with the reason where it cannot run."""
    settings = settings or of_defaults(collector)
    loaded = (door or KernelDoor()).load([collector], settings)
    outcome = loaded.outcomes[collector.name]
    if not outcome.up:
        loaded.close()
        raise LoadError(outcome.reason)
    return Trial(collector, loaded, Path(settings.cgroup_root or facts.gather().cgroup_root))


def of_defaults(collector: Collector) -> KernelSettings:
    """With the default settings and the bounds that it brings."""
    defaults = Settings()
    own = {each.bounds: each.buckets for each in collector.metrics if isinstance(each, Histogram) and each.buckets}
    return KernelSettings(limits=asdict(defaults.limits), bounds=asdict(defaults.histograms) | own)
