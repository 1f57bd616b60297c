"""The unit at hand in the loader child: kept by an earlier start, or from the compiler. Each is offered to the cache.

A kept unit's maps are made here. One that the verifier refuses, though it took it from the compiler, is forgotten, and
the next compile of its text is a real one.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agent.kernel import btf, compiled, headers, syscalls, unit_cache
from agent.kernel.compiled import Compiled, MapDefinition
from agent.kernel.compiling import FLAGS, Compiling
from agent.kernel.unit_cache import UnitCache

STORAGES = frozenset({24, 28, 29, 32})
"""Of sockets, inodes, tasks and cgroups: made only with type information for key and value."""

REMADE = frozenset({1, 2, 3, 5, 6, 9, 10, 11, 27}) | STORAGES
"""Map types that their sizes and flags describe. A map of maps, for example, has more to it: its unit is not kept."""

LINKED = Path("/etc/ld.so.cache")
"""Which of several libraries is BCC's."""

MAKERS = tuple(
    Path(__file__).with_name(f"{name}.py") for name in ("btf", "compiling", "declarations", "headers", "helper_numbers")
)
"""What writes the types that are compiled against: a unit of a release that wrote them otherwise is another one."""

CPUS = Path("/sys/devices/system/cpu/possible")
_TAKES_IN = re.compile(r"^\s*#\s*(?:include|import|embed)(.*)$", re.M)
_FROM_TREE = re.compile(r"""\s*(?:<(?!/|[^>]*\.\.)[^>]+>|"(?!/|[^"]*\.\.)[^"]+").*""")
"""Found among our own headers or in the tree that is made from the kernel's types: BCC gives the compiler no other
directory."""

_COMPILER = re.compile(r"/lib(?:bcc|LLVM|clang)[^/]*$")


class Units:
    """compiling: compiles when it has to. make, describe: of one map; tests bring their own."""

    def __init__(
        self,
        compiling: Compiling,
        make: Callable[[MapDefinition], int] | None = None,
        describe: Callable[[str, int], MapDefinition] | None = None,
    ) -> None:
        self._compiling = compiling
        self._make, self._describe = make or make_map, describe or describe_map
        self._cache: UnitCache | None = None
        self._facts: list[bytes] = []
        self._name = ""
        self._kept: Compiled | None = None
        self._descriptors: list[int] = []
        self._refused: set[str] = set()
        self._forgotten: dict[str, frozenset[str]] = {}
        self._assertions = 0
        self.hits = self.compiles = 0

    @property
    def types(self) -> btf.Btf | None:
        return self._compiling.types

    def choose_headers(self, mode: str, cache: str, sources: list[str], include: str) -> dict[str, Any]:
        """As Compiling does. Programs are kept only where they are compiled against the kernel's own types: a tree of
        headers can change without a sign of it."""
        answer = self._compiling.choose_headers(mode, cache, sources, include)
        if cache and self._compiling.from_types:
            self._cache = UnitCache(Path(cache))
            self._facts = self._gathered(Path(include))
        return answer

    def enumerations(self, names: list[str]) -> dict[str, list[tuple[str, int]]]:
        return self._compiling.enumerations(names)

    def _gathered(self, include: Path) -> list[bytes]:
        own = sorted(include.glob("*.h"))
        machine = os.uname()
        texts = (machine.release, machine.version, machine.machine, headers.FORMAT, *FLAGS, str(include))
        variables = (f"{name}={os.environ.get(name, '')}" for name in ("LD_LIBRARY_PATH", "LIBBCC_PATH"))
        return [
            self._compiling.types_digest(),
            *(text.encode() for text in (*texts, *variables, str(os.sysconf("SC_PAGESIZE")))),
            *(_content(path) for path in (CPUS, LINKED, *MAKERS)),
            *(part for path in own for part in (path.name.encode(), path.read_bytes())),
        ]

    def compile(self, text: str) -> list[dict[str, Any]]:
        """Its maps. The unit before is let go."""
        self.release()
        self._name = ""
        # A file from elsewhere would not be in the key.
        if self._cache and all(map(_FROM_TREE.fullmatch, _TAKES_IN.findall(text))):
            self._name = unit_cache.key(self._facts, text)
            if self._name not in self._forgotten and self._take(self._cache.find(self._name)):
                self.hits += 1
                return self.maps()
        self._refused = set(self._forgotten.get(self._name, ()))
        maps = self._compiling.compile(text)
        self.compiles += 1
        return maps

    def _take(self, unit: Compiled | None) -> bool:
        """False where its maps cannot be made: the compiler's way tells why."""
        if unit is None:
            return False
        try:
            for each in unit.made:
                self._descriptors.append(self._make(each))
        except OSError:
            self._close_maps()
            return False
        self._kept = unit
        self._assertions = max(self._assertions, unit.assertions)
        return True

    def maps(self) -> list[dict[str, Any]]:
        if self._kept is None:
            return self._compiling.maps()
        return [{**row, "fd": fd} for row, fd in zip(self._kept.rows, self._descriptors, strict=True)]

    def code(self, function: str) -> bytes:
        if self._kept is None or function not in self._kept.functions:
            return self._compiling.code(function)
        return compiled.renamed(self._kept.functions[function], dict(enumerate(self._descriptors)))

    def refuse(self, function: str) -> bool:
        """The verifier did. True where it took it once: then the unit is to be compiled again."""
        if self._kept is None:
            self._refused.add(function)
            return False
        if function in self._kept.refused or self._cache is None:
            return False
        self._forgotten[self._name] = self._kept.refused
        self._cache.remove(self._name)
        return True

    def used(self) -> dict[str, Any]:
        """What served so far."""
        answer = self._compiling.used()
        answer["assertions"] = max(answer["assertions"], self._assertions)
        if self.hits and self.compiles:
            return {**answer, "origin": f"{self.hits} of {self.hits + self.compiles} cached"}
        return {**answer, "origin": "cached" if self.hits else "compiled"}

    def release(self) -> None:
        """Closes the maps' descriptors here; those that were handed over stay open there."""
        if self._cache and self._name and self._kept is None and self._compiling.compiled:
            with suppress(ValueError, OSError):
                self._cache.store(self._name, self._described())
        self._kept = None
        self._close_maps()
        self._compiling.release()

    def _close_maps(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _described(self) -> Compiled:
        """The unit that was compiled. Raises ValueError or OSError where it cannot be kept."""
        rows = self._compiling.maps()
        descriptors = [row["fd"] for row in rows]
        made = [self._describe(row["name"], row["fd"]) for row in rows]
        plain = [{name: value for name, value in row.items() if name != "fd"} for row in rows]
        functions = compiled.numbered(self._compiling.functions(), descriptors)
        compilers = [unit_cache.identity(path) for path in self._compiling.files(_COMPILER)]
        return Compiled(functions, plain, made, compilers, self._compiling.assertions, frozenset(self._refused))

    def close(self) -> None:
        self.release()
        self._compiling.close()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def describe_map(name: str, descriptor: int) -> MapDefinition:
    """Raises ValueError where it has more to it."""
    kind, key_size, value_size, max_entries, flags = syscalls.describe_map(descriptor)
    if kind not in REMADE:
        raise ValueError(f"{name} is of type {kind}")
    return MapDefinition(name, kind, key_size, value_size, max_entries, flags)


def make_map(each: MapDefinition) -> int:
    sizes = (each.key_size, each.value_size, each.max_entries, each.flags)
    if each.type not in STORAGES:
        return syscalls.create_map(each.type, each.name, *sizes)
    types = syscalls.load_types(btf.key_and_value(each.value_size))
    try:
        return syscalls.create_map(each.type, each.name, *sizes, types=types)
    finally:
        os.close(types)
