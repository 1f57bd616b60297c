"""From the cache or from the compiler, with a compiler that follows a script: each text has one function, `on_it`."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from agent.kernel import units
from agent.kernel.compiled import MapDefinition
from agent.kernel.failure import Failure
from agent.kernel.units import Units

TEXT = '#include "net.h"\nint on_it(void *ctx);'
ROWS = {"name": "rows", "type": 1, "key_size": 8, "value_size": 8, "max_entries": 4}


def code(descriptor: int) -> bytes:
    return struct.pack("=BBhi", 0x18, 0x11, 0, descriptor) + bytes(8)


class Compiler:
    """As Compiling. compiles: the texts."""

    def __init__(self, library: Path, types: bytes = b"types", from_types: bool = True) -> None:
        self.library, self.data, self.from_types = library, types, from_types
        self.types = None
        self.compiles: list[str] = []
        self.assertions, self.compiled, self.descriptor = 23, False, 5

    def choose_headers(self, *_: Any) -> dict[str, Any]:
        return {}

    def types_digest(self) -> bytes:
        return self.data

    def used(self) -> dict[str, Any]:
        return {"headers": "btf", "assertions": self.assertions if self.compiles else 0}

    def compile(self, text: str) -> list[dict[str, Any]]:
        self.compiles.append(text)
        if "wrong" in text:
            raise Failure("it is wrong")
        self.compiled = True
        return self.maps()

    def maps(self) -> list[dict[str, Any]]:
        return [{**ROWS, "fd": self.descriptor}]

    def functions(self) -> dict[str, bytes]:
        return {"on_it": code(self.descriptor)}

    def code(self, function: str) -> bytes:
        if function != "on_it":
            raise Failure(f"there is no function {function} in the text")
        return code(self.descriptor)

    def files(self, pattern: Any) -> list[Path]:
        return [self.library]

    def release(self) -> None:
        self.compiled = False

    def close(self) -> None:
        pass


class Started:
    """A loader child's units over one cache. makes: what each map that it makes is."""

    def __init__(self, place: Path, **compiler: Any) -> None:
        (place / "include").mkdir(exist_ok=True)
        if not (place / "include/net.h").exists():
            (place / "include/net.h").write_text("typedef int word;")
            (place / "libbcc.so").write_text("a compiler")
        self.compiler = Compiler(place / "libbcc.so", **compiler)
        self.makes: list[MapDefinition] = []
        self.error: OSError | None = None
        self.units = Units(self.compiler, self.make, self.describe)  # type: ignore[arg-type]
        self.units.choose_headers("auto", str(place / "cache"), [], str(place / "include"))

    def make(self, wanted: MapDefinition) -> int:
        if self.error:
            raise self.error
        self.makes.append(wanted)
        return os.open("/dev/null", os.O_RDONLY)

    @staticmethod
    def describe(name: str, descriptor: int) -> MapDefinition:
        return MapDefinition(name, 1, 8, 8, 4, 1)

    def compile(self, text: str = TEXT) -> "Started":
        self.units.compile(text)
        return self

    @property
    def compiles(self) -> int:
        return len(self.compiler.compiles)


def started(place: Path, text: str = TEXT, **compiler: Any) -> Started:
    return Started(place, **compiler).compile(text)


def kept(place: Path, text: str = TEXT) -> None:
    """An earlier start compiled it."""
    earlier = started(place, text)
    assert earlier.compiles == 1
    earlier.units.close()


def test_the_second_start_compiles_nothing_and_makes_the_maps_itself(tmp_path: Path) -> None:
    kept(tmp_path)
    second = started(tmp_path)
    assert second.compiles == 0
    assert second.makes == [MapDefinition("rows", 1, 8, 8, 4, 1)]
    (row,) = second.units.maps()
    assert {**row, "fd": 0} == {**ROWS, "fd": 0}
    assert second.units.code("on_it") == code(row["fd"])
    assert second.units.used() == {"headers": "btf", "assertions": 23, "origin": "cached"}
    second.units.close()
    with pytest.raises(OSError):
        os.fstat(row["fd"])


def test_what_is_from_where_is_told(tmp_path: Path) -> None:
    kept(tmp_path)
    second = started(tmp_path)
    second.compile("another text")
    assert second.units.used()["origin"] == "1 of 2 cached"
    assert started(tmp_path, "a text of its own").units.used()["origin"] == "compiled"


def test_a_function_that_the_text_has_not_is_the_compilers_answer(tmp_path: Path) -> None:
    kept(tmp_path)
    with pytest.raises(Failure, match="no function on_that"):
        started(tmp_path).units.code("on_that")


def test_another_text_is_compiled(tmp_path: Path) -> None:
    kept(tmp_path)
    assert started(tmp_path, TEXT.replace("on_it", "on_that")).compiles == 1


def test_another_kernel_is_compiled_for(tmp_path: Path) -> None:
    kept(tmp_path)
    assert started(tmp_path, types=b"other types").compiles == 1


def test_a_header_that_changed_or_came_is_noticed(tmp_path: Path) -> None:
    kept(tmp_path)
    (tmp_path / "include/more.h").write_text("")
    assert started(tmp_path).compiles == 1
    (tmp_path / "include/more.h").unlink()
    assert started(tmp_path).compiles == 0
    (tmp_path / "include/net.h").write_text("typedef long word;")
    assert started(tmp_path).compiles == 1


def test_the_types_written_otherwise_or_another_library_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(tmp_path)
    for name, value in (("MAKERS", (*units.MAKERS[1:], tmp_path / "libbcc.so")), ("LINKED", tmp_path / "libbcc.so")):
        with monkeypatch.context() as patched:
            patched.setattr(units, name, value)
            assert started(tmp_path).compiles == 1
    assert all(path.is_file() for path in units.MAKERS)
    assert started(tmp_path).compiles == 0


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "LIBBCC_PATH"])
def test_another_way_to_the_compiler_is_another_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept(tmp_path)
    monkeypatch.setenv(name, "/opt/lib")
    assert started(tmp_path).compiles == 1


@pytest.mark.parametrize(
    "line",
    [
        '#include "/opt/own.h"',
        "  #  include </usr/include/own.h>",
        '#include "../net.h"',
        "#include <linux/../../own.h>",
        "#include OWN",
        '#include_next "net.h"',
        '#import "/opt/own.h"',
        "#embed OWN",
    ],
)
def test_a_text_with_a_file_from_elsewhere_is_compiled_each_time(tmp_path: Path, line: str) -> None:
    kept(tmp_path, f"{line}\n{TEXT}")
    assert started(tmp_path, f"{line}\n{TEXT}").compiles == 1


@pytest.mark.parametrize("line", ["#include <linux/bpf.h>", '# include "net.h" /* types */', "#ifdef include"])
def test_our_own_headers_and_those_of_the_tree_are_not_from_elsewhere(tmp_path: Path, line: str) -> None:
    kept(tmp_path, f"{line}\n{TEXT}")
    assert started(tmp_path, f"{line}\n{TEXT}").compiles == 0


def test_where_headers_serve_instead_of_types_everything_is_compiled(tmp_path: Path) -> None:
    started(tmp_path, from_types=False).units.close()
    assert not (tmp_path / "cache").exists()


def test_a_text_that_does_not_compile_is_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        one = Started(tmp_path)
        with pytest.raises(Failure):
            one.compile("it is wrong")
        assert one.compiles == 1
        one.units.close()
    assert not (tmp_path / "cache").exists()


def test_a_map_that_cannot_be_described_is_compiled_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def strange(name: str, descriptor: int) -> MapDefinition:
        raise ValueError("rows is of type 13")

    monkeypatch.setattr(Started, "describe", staticmethod(strange))
    kept(tmp_path)
    assert started(tmp_path).compiles == 1


def test_maps_that_cannot_be_made_are_left_to_the_compiler(tmp_path: Path) -> None:
    kept(tmp_path)
    second = Started(tmp_path)
    second.error = PermissionError(1, "no")
    assert second.compile().compiles == 1


def refusals(unit: Units, *functions: str) -> list[bool]:
    return [unit.refuse(function) for function in functions]


def test_a_kept_unit_that_the_verifier_refuses_is_compiled_anew_once(tmp_path: Path) -> None:
    kept(tmp_path)
    second = started(tmp_path)
    assert refusals(second.units, "on_it") == [True]
    second.compile()
    assert second.compiles == 1
    assert refusals(second.units, "on_it") == [False], "the compiler's own work is refused: there is no other"
    second.compile("another text")
    third = started(tmp_path)
    assert third.compiles == 0, "what came of it is kept"
    assert refusals(third.units, "on_it") == [False], "the refusal was known"


def test_what_was_refused_when_it_was_compiled_is_no_reason_to_compile(tmp_path: Path) -> None:
    first = started(tmp_path)
    assert refusals(first.units, "on_it") == [False]
    first.units.close()
    second = started(tmp_path)
    assert refusals(second.units, "on_it") == [False]
    assert second.compile().compiles == 0
