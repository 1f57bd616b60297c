"""Which requests is the kernel to record of each cgroup? The policy of its namespace, once a drain.

A cgroup whose owner is not known yet is as all others: the first requests of a new pod in a namespace that asks for
more than the settings do may go unrecorded, up to the drain after its name is known. Where it asks for less, what was
recorded until then is left to who looks at the records by their owner.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from agent.collectors.http_log import HttpLog, Mode
from agent.requests.policy import Policy
from agent.requests.wishes import Settings
from bpfleet.api import Collector, Maps


class Asked(Settings, Protocol):
    """The settings' `requests`. per_second: records of each cgroup at most."""

    @property
    def per_second(self) -> int: ...


class Policies(Protocol):
    def of(self, namespace: str) -> Policy:
        """Of the empty name: what is in force where nobody asked for anything else."""

    def refresh(self) -> None: ...

    def adjust(self, settings: Asked) -> None: ...


class Owner(Protocol):
    @property
    def namespace(self) -> str: ...


class Steering:
    def __init__(self, policies: Policies, settings: Asked) -> None:
        self._policies, self._per_second = policies, settings.per_second

    def adjust(self, settings: Asked) -> None:
        """As when it was made."""
        self._policies.adjust(settings)
        self._per_second = settings.per_second

    def modes(self, living: Iterable[int], owner: Callable[[int], Owner | None]) -> tuple[Mode, dict[int, Mode]]:
        """Of all others, and by cgroup where it is another. owner: None where it is not known yet."""
        self._policies.refresh()
        others = self._mode("")
        named = {cgroup_id: found for cgroup_id in living if (found := owner(cgroup_id)) is not None}
        by_namespace = {namespace: self._mode(namespace) for namespace in {each.namespace for each in named.values()}}
        modes = {cgroup_id: by_namespace[each.namespace] for cgroup_id, each in named.items()}
        return others, {cgroup_id: mode for cgroup_id, mode in modes.items() if mode != others}

    def _mode(self, namespace: str) -> Mode:
        policy = self._policies.of(namespace)
        return Mode(policy.mode, policy.one_in, policy.slow_seconds, self._per_second)


Modes = Callable[[], tuple[Mode, Mapping[int, Mode]]]
"""Which requests are to be logged: in general, and by cgroup where that is another."""


class LogOrders:
    """See agent.agent.Steering. modes: asked at each drain."""

    collectors = (HttpLog.name,)
    left_out = "requests of %d cgroups are logged as those of all others: limits.cgroups is used up"

    def __init__(self, modes: Modes) -> None:
        self._ask = modes
        self._modes: tuple[Mode, Mapping[int, Mode]] | None = None

    def begin(self) -> None:
        self._modes = self._ask()

    def steer(self, collector: Collector, maps: Maps) -> int:
        return collector.steer(maps, *self._modes) if self._modes and isinstance(collector, HttpLog) else 0
