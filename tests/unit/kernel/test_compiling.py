"""The decisions around the compiler, with a compiler that follows a script."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.synthetic_btf import SyntheticBtf

from agent.kernel import compiling
from agent.kernel.compiling import Compiling
from agent.kernel.failure import Failure

NO_TYPES = Path("/nowhere/vmlinux")


class Module:
    """Of a text without maps."""

    module = 0

    def cleanup(self) -> None:
        pass


class Bcc:
    """steps: what each compile writes to descriptor 2; an empty one succeeds."""

    def __init__(self, *steps: str) -> None:
        self.steps = list(steps)
        self.flags: list[list[str]] = []

    def BPF(self, text: bytes, cflags: list[str]) -> Module:
        self.flags.append(cflags)
        messages = self.steps.pop(0)
        if messages:
            os.write(2, messages.encode())
            raise Exception("Failed to compile BPF module <text>")
        return Module()

    @property
    def lib(self) -> Any:
        class Library:
            bpf_num_tables: Callable[..., int] = staticmethod(lambda module: 0)

        return Library()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(compiling.SOURCE, "of another")
    yield


@pytest.fixture
def types(tmp_path: Path) -> Path:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    kernel.struct("near", 4, [("x", number, 0)])
    kernel.struct("far", 4, [("x", number, 0)])
    (tmp_path / "vmlinux").write_bytes(kernel.data())
    return tmp_path / "vmlinux"


def compiling_with(bcc: Bcc, vmlinux: Path, modules: Path = Path("/nowhere")) -> Compiling:
    return Compiling(lambda: bcc, vmlinux, modules, library=Path(sys.executable))


def choose(compiler: Compiling, mode: str, text: str = "") -> dict[str, Any]:
    return compiler.choose_headers(mode, "", [text], "/include")


def test_type_information_comes_before_headers(types: Path, tmp_path: Path) -> None:
    (tmp_path / os.uname().release / "build").mkdir(parents=True)
    compiler = compiling_with(Bcc(""), types, tmp_path)
    assert choose(compiler, "auto", "struct near n;") == {}
    assert os.environ[compiling.SOURCE] == "of another", "a tree is for a text that has to be compiled"
    compiler.compile("text")
    assert compiler.used() == {"headers": "btf", "assertions": 2}
    tree = Path(os.environ[compiling.SOURCE])
    assert (tree / "include/vmlinux.h").exists()
    compiler.close()
    assert not tree.exists()


def test_without_type_information_the_kernels_headers_serve(tmp_path: Path) -> None:
    build = tmp_path / os.uname().release / "build"
    build.mkdir(parents=True)
    compiler = compiling_with(Bcc(), NO_TYPES, tmp_path)
    choose(compiler, "auto")
    assert compiler.used() == {"headers": str(build), "assertions": 0}
    assert compiling.SOURCE not in os.environ


def test_with_neither_both_are_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=f"{NO_TYPES}: No such file.*nor its headers.*{os.uname().release}/build"):
        choose(compiling_with(Bcc(), NO_TYPES, tmp_path), "auto")


def test_the_kernel_tells_its_names_of_an_enumerations_values(tmp_path: Path) -> None:
    kernel = SyntheticBtf()
    kernel.enumeration("why", {"WHY_NOT": 0, "BECAUSE": 7})
    kernel.struct("who", 4, [("x", kernel.integer("int", 4), 0)])
    (tmp_path / "vmlinux").write_bytes(kernel.data())
    compiler = compiling_with(Bcc(), tmp_path / "vmlinux")
    choose(compiler, "auto")
    assert compiler.enumerations(["why", "who", "where"]) == {"why": [("WHY_NOT", 0), ("BECAUSE", 7)]}
    compiler.close()


def test_without_type_information_no_enumeration_has_names(tmp_path: Path) -> None:
    (tmp_path / os.uname().release / "build").mkdir(parents=True)
    compiler = compiling_with(Bcc(), NO_TYPES, tmp_path)
    choose(compiler, "auto")
    assert compiler.enumerations(["why"]) == {}


def test_headers_do_not_serve_where_only_type_information_may(tmp_path: Path) -> None:
    (tmp_path / os.uname().release / "build").mkdir(parents=True)
    with pytest.raises(Failure, match="nor its headers"):
        choose(compiling_with(Bcc(), NO_TYPES, tmp_path), "btf")


def test_a_path_is_taken_as_it_is(types: Path, tmp_path: Path) -> None:
    (tmp_path / "linux/include").mkdir(parents=True)
    compiler = compiling_with(Bcc(), types)
    assert choose(compiler, str(tmp_path / "linux")) == {"release": ""}
    assert compiler.used() == {"headers": str(tmp_path / "linux"), "assertions": 0}
    assert os.environ[compiling.SOURCE] == str(tmp_path / "linux")
    assert compiler.types is not None


def test_headers_say_of_which_kernel_they_are(types: Path, tmp_path: Path) -> None:
    generated = tmp_path / "include/generated"
    generated.mkdir(parents=True)
    (generated / "utsrelease.h").write_text('#define UTS_RELEASE "6.1.0-50-amd64"\n')
    assert choose(compiling_with(Bcc(), types), str(tmp_path))["release"] == "6.1.0-50-amd64"


def test_a_path_without_headers_is_refused(types: Path, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="not a tree of kernel headers"):
        choose(compiling_with(Bcc(), types), str(tmp_path))


def test_type_information_that_is_damaged_is_none(tmp_path: Path) -> None:
    (tmp_path / "vmlinux").write_bytes(b"not BTF at all, but long enough")
    with pytest.raises(Failure, match="magic"):
        choose(compiling_with(Bcc(), tmp_path / "vmlinux", tmp_path), "auto")


def test_a_type_that_is_incomplete_is_defined_and_the_text_compiled_again(types: Path) -> None:
    bcc = Bcc("x.c:1:1: error: incomplete definition of type 'struct far'\n", "", "")
    compiler = compiling_with(bcc, types)
    choose(compiler, "auto", "struct near n;")
    assert compiler.compile("text") == []
    assert "struct far {" in (Path(os.environ[compiling.SOURCE]) / "include/vmlinux.h").read_text()
    compiler.compile("another text")
    compiler.close()
    assert [compiling.PROOF in flags for flags in bcc.flags] == [True, True, False]


def test_a_type_that_stays_incomplete_is_an_error(types: Path) -> None:
    message = "x.c:1:1: error: incomplete definition of type 'struct absent'\n"
    compiler = compiling_with(Bcc(message, message), types)
    choose(compiler, "auto")
    with pytest.raises(Failure, match="struct absent"):
        compiler.compile("text")
    compiler.close()


def test_a_tree_that_cannot_be_written_says_so(types: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    compiler = compiling_with(Bcc(), types)
    choose(compiler, "auto")
    with pytest.raises(Failure, match="header tree cannot be written .*TMPDIR") as caught:
        compiler.compile("text")
    assert caught.value.answer["of"] == "headers"


def test_the_compilers_messages_are_the_failure(types: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compiler = compiling_with(Bcc("tcp.bpf.c:3:9: error: no member named 'x'\n"), types)
    choose(compiler, "auto")
    with pytest.raises(Failure, match="tcp.bpf.c:3:9: error: no member named 'x'"):
        compiler.compile("text")
    compiler.close()
    assert capfd.readouterr().err == ""
