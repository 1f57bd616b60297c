"""From text to BPF code and maps, against the headers that there are. Runs in the loader child."""

import ctypes
import fcntl
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.kernel import btf, headers
from agent.kernel.failure import Failure

MAX_ROUNDS = 12
"""Compiles of one text that each ask for more types: a chain of pointers adds one type a round."""

FLAGS = (
    # The dialect of kernels since 6.19, in which our own texts may use their types.
    "-fms-extensions",
    "-Wno-microsoft-anon-tag",
    # Otherwise an undefined function becomes a strange message of the verifier.
    "-Werror=implicit-function-declaration",
    # The header tree is packed throughout, with every alignment spelled out.
    "-Wno-address-of-packed-member",
)
PROOF = "-DBPFLEET_LAYOUT_PROOF"
SOURCE = "BCC_KERNEL_SOURCE"

_LIBRARY = re.compile(r"/libbcc\.so[^/]*$")
_INCOMPLETE = re.compile(
    r"error: .*?incomplete (?:definition of )?(?:element )?type '(?:const )?(?:struct|union) (\w+)'"
)


class Compiling:
    """Keeps one compiled text at a time. bcc: gives the module, asked for with the first text. vmlinux, modules: where
    type information and headers are. library: of BCC; the one that this process has mapped unless given."""

    def __init__(
        self,
        bcc: Callable[[], Any],
        vmlinux: Path = Path(btf.VMLINUX),
        modules: Path = Path("/lib/modules"),
        library: Path | None = None,
    ) -> None:
        self._import = bcc
        self._bcc: Any = None
        self._library = library
        self._vmlinux = vmlinux
        self._modules = modules
        self._module: Any = None
        self._include = ""
        self._sources: list[str] = []
        self._prelude = ""
        self._cache = ""
        self._data = b""
        self._scratch: Path | None = None
        self._extra: set[str] = set()
        self._proven = True
        self.types: btf.Btf | None = None
        self.from_types = False
        self.headers = ""
        self.assertions = 0

    def choose_headers(self, mode: str, cache: str, sources: list[str], include: str) -> dict[str, Any]:
        """mode: auto, btf, or the path of a kernel's headers. cache: a directory, or empty. sources: the texts to
        come; include: the directory of their own headers. A tree is written when a text is compiled."""
        self._sources, self._include, self._cache = sources, include, cache
        try:
            self._data = self._vmlinux.read_bytes()
            self.types = btf.Btf(self._data)
        except (OSError, ValueError) as error:
            reason = f"{self._vmlinux}: {getattr(error, 'strerror', None) or error}"
        if mode not in ("auto", "btf"):
            if not Path(mode, "include").is_dir():
                raise Failure(f"{mode}: not a tree of kernel headers (it has no include directory)")
            os.environ[SOURCE] = mode
            self.headers = mode
            return {"release": _release(Path(mode))}
        if self.types is None:
            build = self._modules / os.uname().release / "build"
            if mode == "auto" and build.is_dir():
                os.environ.pop(SOURCE, None)  # BCC knows the way there
                self.headers = str(build)
                return {}
            raise Failure(f"neither the kernel's type information ({reason}) nor its headers ({build})")
        self.headers, self.from_types = "btf", True
        return {}

    def used(self) -> dict[str, Any]:
        return {"headers": self.headers, "assertions": self.assertions}

    def types_digest(self) -> bytes:
        return hashlib.sha256(self._data).digest()

    def _prepare(self) -> None:
        """The compiler, and what it includes: not needed where every unit is kept from an earlier start."""
        if self._bcc is not None:
            return
        self._bcc = self._import()
        if self.from_types:
            self._prelude = headers.bcc_header(self._library or self.files(_LIBRARY)[0])
            self._prepare_tree()

    def _prepare_tree(self) -> None:
        tree = headers.cached(Path(self._cache), self._key()) if self._cache else None
        if tree:
            os.environ[SOURCE] = str(tree.path)
            self.headers, self.assertions = "btf, cached", tree.assertions
        else:
            self._write_tree()

    def _key(self) -> str:
        return headers.key(self._data, self._sources, self._prelude, os.uname().release)

    def _write_tree(self) -> None:
        assert self.types
        try:
            if self._scratch is None:
                headers.sweep(Path(tempfile.gettempdir()))
                self._scratch = Path(tempfile.mkdtemp(prefix=f"{headers.SCRATCH}{os.getpid()}-"))
            tree = headers.write(self._scratch, self.types, self._sources, self._prelude, self._extra)
        except OSError as error:
            text = f"the header tree cannot be written ({error}); TMPDIR names another place for it"
            raise Failure(text, of="headers") from error
        os.environ[SOURCE] = str(tree.path)
        self._proven = False
        self.assertions = tree.assertions

    def enumerations(self, names: list[str]) -> dict[str, list[tuple[str, int]]]:
        """Of these, the ones that the kernel has, each with its values' names."""
        if self.types is None:
            return {}
        found = self.types.find(names, btf.ENUMS)
        return {name: self.types.values(number) for name, number in found.items()}

    def compile(self, text: str) -> list[dict[str, Any]]:
        """Its maps. What was compiled before is let go."""
        self.release()
        self._prepare()
        for _ in range(MAX_ROUNDS):
            flags = [*FLAGS, f"-I{self._include}", *([] if self._proven else [PROOF])]
            self._module, messages = self._build(text, flags)
            if self._module is not None:
                self._proven = True
                return self.maps()
            missing = set(_INCOMPLETE.findall(messages)) - self._extra
            if not missing or self.types is None or not self._prelude:
                break
            self._extra |= missing
            self._write_tree()
        raise Failure(messages)

    def _build(self, text: str, flags: list[str]) -> tuple[Any, str]:
        """The compiler writes its messages to descriptor 2, so that is a file for as long as it runs."""
        messages, saved = _file_for_messages(), os.dup(2)
        start = os.lseek(messages, 0, os.SEEK_END)
        os.dup2(messages, 2)
        try:
            module, reason = self._bcc.BPF(text=text.encode(), cflags=flags), ""
        except Exception as error:  # BCC raises nothing narrower
            module, reason = None, str(error)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        with open(messages, "rb+") as stream:
            stream.seek(start)
            said = stream.read().decode(errors="replace")
            stream.seek(start)
            stream.truncate()
        return module, said + reason

    @property
    def compiled(self) -> bool:
        return self._module is not None

    def maps(self) -> list[dict[str, Any]]:
        """As agent.kernel.maps.MapInfo has them."""
        return [
            {
                "name": self._ask("bpf_table_name", number, ctypes.c_char_p).decode(),
                "type": self._ask("bpf_table_type_id", number, ctypes.c_int),
                "key_size": self._ask("bpf_table_key_size_id", number),
                "value_size": self._ask("bpf_table_leaf_size_id", number),
                "max_entries": self._ask("bpf_table_max_entries_id", number),
                "fd": self._ask("bpf_table_fd_id", number, ctypes.c_int),
            }
            for number in range(self._bcc.lib.bpf_num_tables(ctypes.c_void_p(self._module.module)))
        ]

    def _ask(self, function: str, number: int, answer: Any = ctypes.c_size_t) -> Any:
        call = self._bcc.lib[function]  # a fresh object: BCC's own declarations differ from release to release
        call.restype = answer
        return call(ctypes.c_void_p(self._module.module), ctypes.c_size_t(number))

    def functions(self) -> dict[str, bytes]:
        """The code of all of them."""
        count = self._bcc.lib.bpf_num_functions(ctypes.c_void_p(self._module.module))
        names = [self._ask("bpf_function_name", number, ctypes.c_char_p).decode() for number in range(count)]
        return {name: self.code(name) for name in names}

    def files(self, pattern: re.Pattern[str]) -> list[Path]:
        """Those that this process has mapped whose paths are like that. Raises Failure if there are none."""
        lines = Path("/proc/self/maps").read_text().splitlines()
        found = dict.fromkeys(Path(line[line.index("/") :]) for line in lines if pattern.search(line))
        if not found:
            raise Failure(f"no file {pattern.pattern} is mapped: where is the compiler?")
        return list(found)

    def code(self, function: str) -> bytes:
        try:
            code: bytes = self._module.dump_func(function.encode())
        except Exception as error:  # BCC raises nothing narrower
            raise Failure(f"there is no function {function} in the text") from error
        return code

    def release(self) -> None:
        """Closes the maps' descriptors here; those that were handed over stay open there."""
        if self._module is not None:
            self._module.cleanup()
            self._module = None

    def close(self) -> None:
        if self._scratch is None:
            return
        if self._cache and self._proven:
            headers.store(self._scratch, Path(self._cache), self._key())
        headers.remove(self._scratch)


def _file_for_messages() -> int:
    """Descriptor 2 itself where that is a file that can be read, as the parent's is: some errors end this process, and
    the parent finds them there."""
    if stat.S_ISREG(os.fstat(2).st_mode) and fcntl.fcntl(2, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
        return os.dup(2)
    return os.memfd_create("messages")


def _release(tree: Path) -> str:
    """Of which kernel these headers are, as `uname -r` says it; empty where they do not tell."""
    try:
        text = (tree / "include/generated/utsrelease.h").read_text()
    except OSError:
        return ""
    found = re.search(r'#define UTS_RELEASE "([^"]*)"', text)
    return found[1] if found else ""
