"""All default collectors, loaded as the agent loads them, to be put on their hooks and taken off within a millisecond.

The programs are the agent's own, from its own door. A link names its program; with the program in hand (root may ask
for it by its id) the links can be closed and made anew, which is what a start and an end of the agent do to a host.
"""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from agent.collectors import BUILT_IN
from agent.kernel import facts, syscalls
from agent.kernel.door import KernelDoor, KernelSettings
from agent.kernel.lock import Lock
from agent.settings import Settings

PROG_GET_FD_BY_ID = 13

T = TypeVar("T")


@dataclass(frozen=True)
class Hook:
    """A program and where it belongs. kind: as the kernel calls the link's type; where: attach type or tracepoint."""

    program: int
    kind: str
    where: str

    def link(self, cgroup: int) -> int:
        if self.kind == "cgroup":
            return syscalls.link_cgroup(self.program, cgroup, int(self.where))
        return syscalls.open_raw_tracepoint(self.program, "" if self.kind == "tracing" else self.where)


def link_of(descriptor: int) -> dict[str, str]:
    """What the kernel says of a link; empty if the descriptor is something else."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    found = {name: value.strip() for name, value in fields.items()}
    return found if "link_type" in found and "prog_id" in found else {}


class Switch:
    """Loaded and off when it is entered; nothing stays when it is left."""

    def __enter__(self) -> "Switch":
        settings = Settings()
        self.root = facts.gather().cgroup_root
        self.lock = Lock(self.root)
        self.lock.__enter__()
        self.cgroup = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        before = {int(name) for name in os.listdir("/proc/self/fd")}
        collectors = [kind() for kind in BUILT_IN if kind.default]
        kernel = KernelSettings(limits=asdict(settings.limits), bounds=asdict(settings.histograms))
        self.loaded = KernelDoor().load(collectors, kernel)
        off = {name: outcome.reason for name, outcome in self.loaded.outcomes.items() if not outcome.up}
        if off:
            raise RuntimeError(f"not all default collectors run here: {off}")
        self.hooks = self._take_over(before)
        self.links: list[int] = []
        return self

    def _take_over(self, before: set[int]) -> list[Hook]:
        """Every link that loading made is let go: its descriptor becomes one of /dev/null, for its owner to close."""
        hooks, nothing = [], os.open(os.devnull, os.O_RDONLY)
        for descriptor in sorted({int(name) for name in os.listdir("/proc/self/fd")} - before):
            link = link_of(descriptor)
            if link:
                program = syscalls.Attributes().call(PROG_GET_FD_BY_ID, "=I", int(link["prog_id"]))
                where = link.get("tp_name", link.get("attach_type", ""))
                hooks.append(Hook(program, link["link_type"], where))
                os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        if len({hook.kind for hook in hooks}) < 3:
            raise RuntimeError(f"expected packet programs and both kinds of tracepoints, found {hooks}")
        return hooks

    def on(self) -> None:
        self.links = [hook.link(self.cgroup) for hook in self.hooks]

    def off(self) -> None:
        while self.links:
            os.close(self.links.pop())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.off()
        self.loaded.close()
        for hook in self.hooks:
            os.close(hook.program)
        os.close(self.cgroup)
        self.lock.__exit__(kind, error, at)


class Nothing:
    """In the place of a Switch for the A/A row: on and off are the same."""

    def on(self) -> None:
        """The hooks stay as they are."""

    off = on


def paired(switch: Switch | Nothing, pairs: int, window: Callable[[], T]) -> list[tuple[T, T]]:
    """(off, on) windows, in turns and each turn the other way round, so that a drift cancels."""
    found = []
    for number in range(pairs):
        results: dict[bool, T] = {}
        for on in (bool(number % 2), not number % 2):
            if on:
                switch.on()
            results[on] = window()
            switch.off()
        found.append((results[False], results[True]))
    return found
