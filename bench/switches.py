"""Collectors (all default ones, or some), loaded as the agent loads them, to be put on their hooks and taken off within
a millisecond.

The programs are the agent's own, from its own door. A link names its program; with the program in hand (root may ask
for it by its id) the links can be closed and made anew, which is what a start and an end of the agent do to a host.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from agent.collectors import BUILT_IN
from agent.kernel import facts, syscalls
from agent.kernel.door import KernelDoor, KernelSettings
from agent.kernel.lock import Lock
from agent.settings import Settings
from bpfleet.api import Collector

PROG_GET_FD_BY_ID = 13
DEFAULTS = tuple(kind for kind in BUILT_IN if kind.default)

T = TypeVar("T")


@dataclass(frozen=True)
class Hook:
    """A program and where it belongs. direction: of one on a cgroup, -1 for others. tracepoint: empty for a program
    that knows its own."""

    program: int
    direction: int = -1
    tracepoint: str = ""

    def link(self, cgroup: int) -> int:
        if self.direction >= 0:
            return syscalls.link_cgroup(self.program, cgroup, self.direction)
        return syscalls.open_raw_tracepoint(self.program, self.tracepoint)


def facts_of(descriptor: int) -> dict[str, str]:
    """What the kernel says of a descriptor of this process (Documentation/filesystems/proc.rst, 3.8)."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, value in fields.items()}


def hook_of(link: dict[str, str]) -> Hook:
    program = syscalls.Attributes().call(PROG_GET_FD_BY_ID, "=I", int(link["prog_id"]))
    if link["link_type"] == "cgroup":
        return Hook(program, direction=int(link["attach_type"]))
    knows = int(facts_of(program)["prog_type"]) == syscalls.PROG_TRACING
    return Hook(program, tracepoint="" if knows else link["tp_name"])


ITERATOR = "iter"
"""A link that runs nothing unless it is read."""


class Switch:
    """Loaded and off when it is entered; nothing stays when it is left. kinds: all default collectors, or some."""

    def __init__(self, kinds: Sequence[type[Collector]] = DEFAULTS) -> None:
        self._kinds = kinds

    def __enter__(self) -> "Switch":
        settings = Settings()
        root = facts.gather().cgroup_root
        with ExitStack() as stack:
            stack.enter_context(Lock(root))
            self.cgroup = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, self.cgroup)
            before = descriptors()
            collectors = [kind() for kind in self._kinds]
            kernel = KernelSettings(limits=asdict(settings.limits), bounds=asdict(settings.histograms))
            self.loaded = loaded = KernelDoor().load(collectors, kernel)
            stack.callback(loaded.close)
            off = {name: outcome.reason for name, outcome in loaded.outcomes.items() if not outcome.up}
            if off:
                raise RuntimeError(f"not all of these collectors run here: {off}")
            self.hooks: list[Hook] = []
            stack.callback(self._let_go)
            loaded.begin_drain()
            for collector in collectors:  # as the agent does: a collector may have something to tell its programs
                list(collector.collect(loaded.maps(collector.name)))
            self._take_over(descriptors() - before)
            self.links: list[int] = []
            stack.callback(self.off)
            self.stack = stack.pop_all()
        return self

    def _take_over(self, made: set[int]) -> None:
        """Every link that loading made and that runs by itself is let go: its descriptor becomes one of /dev/null, for
        its owner to close."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor in sorted(made):
            link = facts_of(descriptor)
            if link.get("link_type", ITERATOR) != ITERATOR:
                self.hooks.append(hook_of(link))
                os.dup2(nothing, descriptor, inheritable=False)
        os.close(nothing)
        directions = {-1, syscalls.ATTACH_INGRESS, syscalls.ATTACH_EGRESS}
        if self._kinds is DEFAULTS and {hook.direction for hook in self.hooks} != directions:
            raise RuntimeError(f"expected packet programs and tracepoints, found {self.hooks}")

    def _let_go(self) -> None:
        for hook in self.hooks:
            os.close(hook.program)

    def on(self) -> None:
        self.links = [hook.link(self.cgroup) for hook in self.hooks]

    def off(self) -> None:
        while self.links:
            os.close(self.links.pop())

    def __exit__(self, *_: object) -> None:
        self.stack.close()


def descriptors() -> set[int]:
    return {int(name) for name in os.listdir("/proc/self/fd")}


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
