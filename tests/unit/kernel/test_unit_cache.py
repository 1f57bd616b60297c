"""Which files of the cache's directory count, and which stay there."""

import os
from pathlib import Path

import pytest

from agent.kernel import unit_cache
from agent.kernel.compiled import Compiled
from agent.kernel.failure import Failure
from agent.kernel.headers import PROGRAMS
from agent.kernel.unit_cache import UnitCache


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "libbcc.so").write_bytes(b"a compiler")
    return tmp_path / "libbcc.so"


@pytest.fixture
def unit(library: Path) -> Compiled:
    return Compiled({"on_it": bytes(8)}, [], [], [unit_cache.identity(library)])


@pytest.fixture
def place(tmp_path: Path, unit: Compiled) -> Path:
    """A cache that holds one unit, `name`."""
    UnitCache(tmp_path / "cache").store("name", unit)
    return tmp_path / "cache"


def files(place: Path) -> set[str]:
    return {path.name for path in (place / PROGRAMS).iterdir()}


def test_a_unit_is_found_by_its_name_and_nobody_else_may_look_at_it(place: Path, unit: Compiled) -> None:
    assert UnitCache(place).find("name") == unit
    assert UnitCache(place).find("another") is None
    assert files(place) == {"name.unit"}
    modes = [path.stat().st_mode & 0o777 for path in (place / PROGRAMS, place / PROGRAMS / "name.unit")]
    assert modes == [0o700, 0o600]


def test_another_text_kernel_or_compiler_is_another_name() -> None:
    names = {
        unit_cache.key([b"kernel", b"flags"], "text"),
        unit_cache.key([b"kernel", b"flags"], "text "),
        unit_cache.key([b"other", b"flags"], "text"),
        unit_cache.key([b"kernelflags"], "text"),
        unit_cache.key([b"kernel", b"flags", b"text"], ""),
        unit_cache.key([b"kernel"], "flagstext"),
    }
    assert len(names) == 6


def test_a_file_that_is_cut_or_changed_is_none(place: Path) -> None:
    path = place / PROGRAMS / "name.unit"
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole[:20], whole + b"x", whole.replace(b"bpfleet", b"BPFLEET")):
        path.write_bytes(data)
        assert UnitCache(place).find("name") is None
    path.write_bytes(whole)
    assert UnitCache(place).find("name") is not None


def test_a_unit_under_the_name_of_another_is_none(place: Path) -> None:
    (place / PROGRAMS / "name.unit").rename(place / PROGRAMS / "another.unit")
    assert UnitCache(place).find("another") is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_could_write_is_none(place: Path, mode: int) -> None:
    (place / PROGRAMS / "name.unit").chmod(mode)
    assert UnitCache(place).find("name") is None


def test_a_file_of_somebody_else_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = UnitCache(place)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert cache.find("name") is None


def test_a_link_to_a_unit_is_not_followed(place: Path) -> None:
    path = place / PROGRAMS / "name.unit"
    path.rename(place / "elsewhere")
    path.symlink_to(place / "elsewhere")
    assert UnitCache(place).find("name") is None


def test_what_is_no_file_is_none_and_nobody_waits_for_it(place: Path) -> None:
    path = place / PROGRAMS / "name.unit"
    path.unlink()
    os.mkfifo(path, 0o600)
    assert UnitCache(place).find("name") is None
    path.unlink()
    path.mkdir()
    assert UnitCache(place).find("name") is None


@pytest.mark.parametrize("below", ["", PROGRAMS])
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_directory_that_others_can_write_is_refused(place: Path, below: str, mode: int) -> None:
    (place / below).chmod(mode)
    with pytest.raises(Failure, match="nobody else can write"):
        UnitCache(place)


def test_a_directory_of_somebody_else_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(Failure, match="a directory of this user"):
        UnitCache(place)


def test_programs_behind_a_link_are_refused(place: Path) -> None:
    (place / PROGRAMS).rename(place / "elsewhere")
    (place / PROGRAMS).symlink_to(place / "elsewhere")
    with pytest.raises(Failure, match="a directory of this user"):
        UnitCache(place)


def test_another_compiler_is_noticed(place: Path, library: Path) -> None:
    status = library.stat()
    library.write_bytes(b"another compiler")
    assert UnitCache(place).find("name") is None
    library.write_bytes(b"a compiler")
    os.utime(library, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert UnitCache(place).find("name") is None
    os.utime(library, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert UnitCache(place).find("name") is not None
    library.unlink()
    assert UnitCache(place).find("name") is None


def test_the_longest_unused_go_when_the_directory_is_full(tmp_path: Path, unit: Compiled) -> None:
    size = len(unit.encode("unit0"))
    cache = UnitCache(tmp_path, max_bytes=3 * size + size // 2)
    folder = tmp_path / PROGRAMS
    for number in range(3):
        cache.store(f"unit{number}", unit)
        os.utime(folder / f"unit{number}.unit", (number, number))
    assert cache.find("unit0")  # and so it is used
    cache.store("unit3", unit)
    assert files(tmp_path) == {"unit0.unit", "unit2.unit", "unit3.unit"}
    (folder / "unit9.4711").write_bytes(bytes(size))  # of a loader that was killed
    os.utime(folder / "unit9.4711", (0, 0))
    cache.store("unit4", unit)
    assert "unit9.4711" not in files(tmp_path) and len(files(tmp_path)) == 3


def test_a_directory_that_cannot_be_made_or_written_is_no_error(tmp_path: Path, unit: Compiled) -> None:
    cache = UnitCache(tmp_path / "absent")
    (tmp_path / "absent").write_text("a file by now")
    cache.store("name", unit)
    assert cache.find("name") is None


def test_a_second_store_takes_the_place_of_the_first(place: Path, unit: Compiled) -> None:
    other = Compiled(unit.functions, [], [], unit.compilers, refused=frozenset({"on_it"}))
    UnitCache(place).store("name", other)
    assert UnitCache(place).find("name") == other
    assert files(place) == {"name.unit"}
