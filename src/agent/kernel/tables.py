"""The maps of one unit, by the descriptors that the loader handed over."""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.kernel import maps, syscalls
from agent.kernel.growth import Growth
from agent.kernel.maps import KernelMap, MapInfo, Totals
from agent.kernel.rings import Ring
from agent.kernel.written import Written
from bpfleet.api import Row
from bpfleet.errors import KernelError


@dataclass(frozen=True)
class MapFacts:
    """entries: at the last read; of a ring the bytes that are not read yet, and its capacity in bytes too.
    bytes: kernel memory that the map is charged with."""

    name: str
    entries: int
    capacity: int
    bytes: int


class Tables(Protocol):
    """The maps of one unit, read."""

    def names(self) -> Iterable[str]: ...
    def growth(self, name: str) -> list[Row]: ...
    def totals(self, name: str) -> tuple[int, ...]: ...
    def records(self, name: str) -> Iterator[bytes]: ...
    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int: ...
    def walk(self, function: str) -> bytes: ...
    def walk_parts(self, function: str) -> Iterator[bytes]: ...
    def facts(self) -> list[MapFacts]: ...
    def left_out(self) -> Mapping[str, int]: ...
    def detach(self, walks: Collection[str] = ()) -> None: ...
    def close(self) -> None: ...


class KernelTables:
    """By descriptors from the loader, which are closed together. links, tracing: by function; tracing are programs on
    tracepoints."""

    def __init__(
        self,
        infos: Iterable[MapInfo],
        links: Mapping[str, int],
        tracing: Mapping[str, int],
        cpus: int,
        clock: Callable[[], float],
    ) -> None:
        self._infos = {info.name: info for info in infos}
        self._links = dict(links)
        self._tracing = dict(tracing)
        self._cpus = cpus
        self._clock = clock
        self._growths: dict[str, Growth] = {}
        self._totals: dict[str, Totals] = {}
        self._rings: dict[str, Ring] = {}
        self._written: dict[str, Written] = {}

    def names(self) -> Iterable[str]:
        return self._infos

    def growth(self, name: str) -> list[Row]:
        if name not in self._growths:
            info = self._infos[name]
            if not info.is_hash or info.value_size % maps.WORD:
                raise KernelError(f"{name} is not a hash of rows of u64")
            self._growths[name] = Growth(KernelMap(info, self._cpus), info.value_size, self._clock)
        return self._growths[name].drain()

    def totals(self, name: str) -> tuple[int, ...]:
        if name not in self._totals:
            self._totals[name] = Totals(self._infos[name], self._cpus)
        return self._totals[name].read()

    def records(self, name: str) -> Iterator[bytes]:
        return self._ring(name).records()

    def replace(self, name: str, rows: Mapping[bytes, tuple[int, ...]]) -> int:
        if name not in self._written:
            self._written[name] = Written(self._infos[name])
        return self._written[name].replace(rows)

    def walk(self, function: str) -> bytes:
        return b"".join(self.walk_parts(function))

    def walk_parts(self, function: str) -> Iterator[bytes]:
        return syscalls.walk_iterator_parts(self._links[function])

    def _ring(self, name: str) -> Ring:
        if name not in self._rings:
            self._rings[name] = Ring(self._infos[name].fd, self._infos[name].max_entries)
        return self._rings[name]

    def facts(self) -> list[MapFacts]:
        return [
            MapFacts(info.name, self._entries(info), info.max_entries, _number(info.fd, "memlock:"))
            for info in self._infos.values()
        ]

    def _entries(self, info: MapInfo) -> int:
        if info.name in self._growths:
            return self._growths[info.name].entries
        if info.type == maps.RING:
            return self._ring(info.name).unread
        if info.name in self._written:
            return self._written[info.name].entries
        return info.max_entries if info.type in (maps.ARRAY, maps.PERCPU_ARRAY) else 0

    def left_out(self) -> dict[str, int]:
        """By function: runs that the kernel has left out, because the same program ran already on that CPU (since 6.1,
        kernel/trace/bpf_trace.c, __bpf_trace_run; before, none)."""
        return {function: _number(program, "recursion_misses:") for function, program in self._tracing.items()}

    def detach(self, walks: Collection[str] = ()) -> None:
        """No program runs any more, but for these, which run when they are asked. The maps can still be read."""
        for function in self._links.keys() - set(walks):
            os.close(self._links.pop(function))

    def close(self) -> None:
        """Links first, so that no program writes into a ring that nobody reads."""
        self.detach()
        for ring in self._rings.values():
            ring.close()
        for descriptor in (*(info.fd for info in self._infos.values()), *self._tracing.values()):
            os.close(descriptor)
        self._infos.clear()
        self._tracing.clear()


def _number(fd: int, name: str) -> int:
    """What the kernel tells of a map or a program under this name; 0 where it does not (kernel/bpf/syscall.c)."""
    with open(f"/proc/self/fdinfo/{fd}") as stream:
        for line in stream:
            if line.startswith(name):
                return int(line.split()[1])
    return 0
