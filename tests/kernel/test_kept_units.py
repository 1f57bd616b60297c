"""Compiled once, counted by the second start: does it run without a compiler, and does it count the same?

Witness of the compiler: what the kernel says the loader child has mapped, and a BCC that ends everything when it is
imported. Of the counts: how many datagrams and connections the test has sent. Of the maps: bpftool.
"""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.agents import COMPILE_SECONDS, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.doors import Opened, grown, records, sizes

from agent.collectors import BUILT_IN
from agent.kernel import compiled
from agent.kernel.door import KernelDoor, KernelSettings, Loaded

LOOK_SECONDS = 0.05

COMPILER = ("libbcc", "libLLVM", "libclang")
EVERY_COLLECTOR = {"BPFLEET_COLLECTORS": ",".join(each.name for each in BUILT_IN)}
PYTHON = """#!/bin/sh
shift
exec /usr/bin/python3 -I -c '
import runpy, sys
sys.path.insert(0, "{place}")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
' "$@"
"""


@pytest.fixture
def opened(place: Callable[..., Cgroup], stack: ExitStack) -> Iterator[Opened]:
    cgroup = place("door")
    with ExitStack() as inner:
        yield Opened(cgroup, inner)


@pytest.fixture
def cache(tmp_path: Path) -> str:
    return str(tmp_path / "cache")


@pytest.fixture
def without_compiler(tmp_path: Path) -> str:
    """A Python whose BCC ends it."""
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("import sys\nsys.exit('somebody wants a compiler')\n")
    path = tmp_path / "python3"
    path.write_text(PYTHON.format(place=tmp_path))
    path.chmod(0o755)
    return str(path)


def units(cache: str) -> list[Path]:
    return sorted(Path(cache, "programs").glob("*.unit"))


def counted(opened: Opened, loaded: Loaded, count: int) -> int:
    opened.send(count)
    return grown(loaded, "sizes", "sizes")[opened.key][0]


def test_a_python_without_compiler_is_one(opened: Opened, without_compiler: str) -> None:
    loaded = opened.load(sizes(), python=without_compiler)
    assert "somebody wants a compiler" in loaded.outcomes["sizes"].reason


def test_the_second_start_imports_no_compiler_and_counts_the_same(
    opened: Opened, cache: str, without_compiler: str
) -> None:
    first = opened.load(records(), sizes(), cache=cache)
    assert (first.origin, counted(opened, first, 23)) == ("compiled", 46)
    first.close()
    second = opened.load(records(), sizes(), cache=cache, python=without_compiler)
    assert (second.origin, counted(opened, second, 23)) == ("cached", 46)
    assert second.books() == {"records": (46, 0)}
    assert second.assertions == first.assertions > 0


def test_another_bound_or_limit_is_another_unit(opened: Opened, cache: str) -> None:
    def origin(**settings: Any) -> str:
        chosen = {"bounds": {"wait_seconds": (0.0001, 0.00012)}, **settings}
        kernel = KernelSettings(cgroup_root=str(opened.cgroup.path), cache=cache, **chosen)
        loaded = KernelDoor().load([sizes()], kernel)
        loaded.close()
        return loaded.origin

    assert origin() == "compiled"
    assert origin() == "cached"
    assert origin(bounds={"wait_seconds": (0.0001, 0.00013)}) == "compiled"
    assert origin() == "cached"


@pytest.mark.parametrize("damage", ["cut", "another's"])
def test_a_damaged_unit_is_compiled_anew_and_written_again(opened: Opened, cache: str, damage: str) -> None:
    opened.load(sizes(), cache=cache).close()
    (path,) = units(cache)
    whole = path.read_bytes()
    if damage == "another's":
        path.chmod(0o666)
    else:
        path.write_bytes(whole[:-1])
    loaded = opened.load(sizes(), cache=cache)
    assert (loaded.origin, counted(opened, loaded, 23)) == ("compiled", 46)
    assert path.read_bytes() == whole and path.stat().st_mode & 0o777 == 0o600


def test_code_that_the_verifier_refuses_is_compiled_anew_once(opened: Opened, cache: str) -> None:
    """Whole and of this user, but not what the compiler made: its first function leaves without a value."""
    opened.load(sizes(), cache=cache).close()
    (path,) = units(cache)
    whole = compiled.decode(path.read_bytes(), path.stem)
    leaves_at_once = bytes([0x95]) + bytes(7)
    spoilt = compiled.Compiled(**{**vars(whole), "functions": dict.fromkeys(whole.functions, leaves_at_once)})
    path.write_bytes(spoilt.encode(path.stem))
    loaded = opened.load(sizes(), cache=cache)
    assert loaded.outcomes["sizes"].up
    assert (loaded.origin, counted(opened, loaded, 23)) == ("1 of 2 cached", 46)
    loaded.close()
    assert opened.load(sizes(), cache=cache).origin == "cached"


def test_a_cache_that_cannot_be_written_is_no_error(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    loaded = opened.load(sizes(), cache=str(tmp_path / "file/cache"))
    assert (loaded.origin, counted(opened, loaded, 23)) == ("compiled", 46)


def maps_of(pid: int) -> list[tuple[str, ...]]:
    """Those that a process holds, as bpftool describes them."""
    texts = []
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # a file that it had open for a moment
            texts.append(path.read_text())
    held = {int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("map_id:")}
    shown = subprocess.run(["bpftool", "-j", "map", "show"], capture_output=True, text=True, check=True)
    named = ("name", "type", "flags", "bytes_key", "bytes_value", "max_entries")
    return sorted(tuple(str(row.get(each)) for each in named) for row in json.loads(shown.stdout) if row["id"] in held)


class Watch:
    """Looks at an agent's child for as long as there is one: what of a compiler it maps, and how large it gets."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.mapped, self.peak_kib = agent, set[str](), 0
        self.looks, self._ends = 0, False
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._thread.join()

    def _look(self) -> None:
        pid = self.agent.process.pid
        while not self._ends:
            with suppress(OSError):
                for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                    lines = Path(f"/proc/{child}/maps").read_text()
                    self.mapped |= {name for name in COMPILER if name in lines}
                    status = Path(f"/proc/{child}/status").read_text()
                    self.peak_kib = max(
                        [self.peak_kib, *(int(row.split()[1]) for row in status.splitlines() if "VmHWM" in row)]
                    )
                    self.looks += "loader.py" in Path(f"/proc/{child}/cmdline").read_text()
            time.sleep(LOOK_SECONDS)


def test_a_restarted_agent_has_every_collector_without_a_compiler_and_the_same_maps(alone: House, cache: str) -> None:
    found = []
    for _ in range(2):
        agent = Agent(environment={**EVERY_COLLECTOR, "BPFLEET_KERNEL_CACHE": cache}).start()
        try:
            with Watch(agent) as watch:
                agent.ready(COMPILE_SECONDS)
            assert watch.looks, "the child was seen"
            status = agent.status()
            assert all(state["up"] for state in status["collectors"].values()), status["collectors"]
            hooks = {name: state["hooks"] for name, state in status["collectors"].items()}
            found.append((status["units"], watch.mapped, watch.peak_kib, hooks, maps_of(agent.process.pid)))
        finally:
            agent.stop()
    (origin, mapped, peak_kib, *same), (origin_again, mapped_again, peak_again_kib, *same_again) = found
    assert (origin, mapped) == ("compiled", set(COMPILER))
    assert (origin_again, mapped_again) == ("cached", set())
    assert same == same_again
    assert len(same[1]) > 20, same
    assert peak_again_kib < 64 * 1024 < peak_kib
