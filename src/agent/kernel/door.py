"""The door to the kernel: collectors in, their maps out.

KernelDoor loads with the short-lived child and keeps only descriptors: maps to read and links that hold the programs
in place. Everything ends with them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agent.kernel import facts, maps, programs
from agent.kernel.child import Child, LoaderGone
from agent.kernel.facts import Facts
from agent.kernel.isolation import Attached, Isolation, Outcome
from agent.kernel.loaded import Enumerations, Loaded
from agent.kernel.maps import MapInfo
from agent.kernel.programs import Unit
from agent.kernel.tables import KernelTables, MapFacts, Tables
from bpfleet.api import Collector
from bpfleet.errors import HeadersError

__all__ = ["Door", "KernelDoor", "KernelSettings", "Loaded", "MapFacts", "Outcome"]


@dataclass(frozen=True)
class KernelSettings:
    """python: the distribution's, which has BCC. headers: auto, btf, or the path of a kernel's headers.
    cache: a directory for programs and header trees, empty for none. cgroup_root: a directory of the v2 hierarchy;
    empty finds its mount. limits, bounds: as the settings have them; bounds in seconds."""

    python: str = "/usr/bin/python3"
    headers: str = "auto"
    cache: str = ""
    cgroup_root: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    bounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


class Door(Protocol):
    def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded:
        """What cannot run is off, with its reason in the outcomes. Raises HostError where nothing can run (no rights,
        no cgroup v2, no BCC) and HeadersError where there are no types to compile against."""


class KernelDoor:
    """clock: monotonic seconds. machine: what this host offers; found out when it is not given."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, machine: Facts | None = None) -> None:
        self._clock = clock
        self._machine = machine

    def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded:
        machine = self._machine or facts.gather()
        facts.require(machine, settings.cgroup_root or machine.cgroup_root)
        outcomes: dict[str, Outcome] = {}
        units: list[tuple[list[str], Tables]] = []
        waiting = programs.units(collectors)
        used: dict[str, Any] = {}
        enumerations: Enumerations = {}
        with ExitStack() as stack:
            while waiting:  # one child does it all, unless a text kills it
                with Child(settings.python) as child:
                    isolation = self._isolation(child, collectors, settings, machine)
                    enumerations = _enumerations(child, collectors)
                    while waiting:
                        unit = waiting.pop(0)
                        try:
                            attached = isolation.attach(unit)
                        except LoaderGone as error:
                            rest, off = self._without_what_kills(unit, error, collectors, settings, machine)
                            outcomes.update(off)
                            waiting = [*rest, *waiting]
                            break
                        outcomes.update(attached.outcomes)
                        if attached.descriptors:
                            tables = self._tables(attached)
                            stack.callback(tables.close)
                            units.append((_running(unit, outcomes), tables))
                        used = child.ask("used")
            stack.pop_all()  # from here on they are closed with what is returned
        ordered = {each.name: outcomes[each.name] for each in collectors}
        return Loaded(
            ordered,
            units,
            used.get("headers", ""),
            used.get("assertions", 0),
            enumerations,
            used.get("origin", ""),
        )

    def _without_what_kills(
        self,
        unit: Unit,
        error: LoaderGone,
        collectors: Sequence[Collector],
        settings: KernelSettings,
        machine: Facts,
    ) -> tuple[list[Unit], dict[str, Outcome]]:
        """What is left of a unit that ended the child, and why the others are not. One more collector at a time, each
        time in a new child."""
        kept: list[Collector] = []
        killers: dict[str, Outcome] = {}
        for collector in unit.collectors if unit.base and not error.was_killed else ():
            try:
                with Child(settings.python) as child:
                    self._isolation(child, collectors, settings, machine).refusal(unit, [*kept, collector])
            except LoaderGone as reason:
                killers[collector.name] = Outcome(False, reason=str(reason))
            else:
                kept.append(collector)
        if not killers:
            return [], {each.name: Outcome(False, reason=str(error)) for each in unit.collectors}
        return [Unit(unit.base, tuple(kept))] if kept else [], killers

    @staticmethod
    def _isolation(
        child: Child, collectors: Sequence[Collector], settings: KernelSettings, machine: Facts
    ) -> Isolation:
        answer = child.ask(
            "headers",
            mode=settings.headers,
            cache=settings.cache and str(Path(settings.cache).absolute()),
            sources=programs.sources(collectors),
            include=str(programs.include()),
        )
        if "error" in answer:
            raise HeadersError(answer["error"])
        cgroup, release = settings.cgroup_root or machine.cgroup_root, answer.get("release", "")
        return Isolation(child, cgroup, settings.limits, settings.bounds, machine, release)

    def _tables(self, attached: Attached) -> KernelTables:
        descriptors = dict(attached.descriptors)
        infos = [
            MapInfo(**{**row, "fd": descriptors.pop(name)})
            for row in attached.maps
            if (name := f"map:{row['name']}") in descriptors
        ]
        links, tracing = _called(descriptors, "link:"), _called(descriptors, "program:")
        return KernelTables(infos, links, tracing, maps.possible_cpus(), self._clock)


def _enumerations(child: Child, collectors: Sequence[Collector]) -> Enumerations:
    names = sorted({name for each in collectors for name in each.enumerations})
    answer = child.ask("enumerations", names=names)["enumerations"] if names else {}
    return {name: {number: value for value, number in values} for name, values in answer.items()}


def _called(descriptors: Mapping[str, int], kind: str) -> dict[str, int]:
    return {name.removeprefix(kind): descriptor for name, descriptor in descriptors.items() if name.startswith(kind)}


def _running(unit: Unit, outcomes: Mapping[str, Outcome]) -> list[str]:
    return [each.name for each in unit.collectors if outcomes[each.name].up]
