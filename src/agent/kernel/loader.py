"""The short-lived child: compiles, loads, attaches, hands over the descriptors and leaves. The only `import bcc`.

A script of its own, started by the distribution's Python as `python3 -I loader.py SOCKET PARENT`, so that the agent
never maps a compiler (149 MiB against 13) and its environment never sees the distribution's packages. It decides
nothing: it answers commands (see child.py for the other end), each a frame of JSON with a length of four bytes before
it. It dies with its parent, and with it everything that was not handed over.
"""

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    # The files beside this one as the package that they are in, and nothing else of the agent's environment.
    for name, path in (("agent", HERE.parent), ("agent.kernel", HERE)):
        package = types.ModuleType(name)
        package.__path__ = [str(path)] if name == "agent.kernel" else []
        sys.modules[name] = package

from agent.kernel import btf, headers, syscalls  # noqa: E402  the package is made above

PR_SET_PDEATHSIG = 1
MAX_DESCRIPTORS = 200  # of one message; the kernel takes 253 (SCM_MAX_FD)
MAX_RETRIES = 12  # compiles that each ask for more types: a chain of pointers adds one type a round
FLAGS = (
    # The dialect of kernels since 6.19, in which our own texts may use their types.
    "-fms-extensions",
    "-Wno-microsoft-anon-tag",
    # Otherwise an undefined function is a strange message of the verifier.
    "-Werror=implicit-function-declaration",
    # The header tree is packed throughout, with every alignment spelled out.
    "-Wno-address-of-packed-member",
)
_INCOMPLETE = re.compile(r"error: .*?incomplete (?:definition of )?(?:element )?type '(?:const )?(?:struct|union) (\w+)'")
Answer = dict[str, Any]


class Failure(Exception):
    """An answer that says what did not work."""


class Loader:
    """One unit at a time: its BCC module, its programs and its links."""

    def __init__(self) -> None:
        import bcc

        self._bcc = bcc
        self._types: btf.Btf | None = None
        self._tree: headers.Tree | None = None
        self._sources: list[str] = []
        self._extra: set[str] = set()
        self._unproven = False
        self._include = ""
        self._module: Any = None
        self._programs: dict[str, int] = {}
        self._links: dict[str, int] = {}
        self._scratch: Path | None = None

    def answer(self, request: dict[str, Any]) -> Answer:
        command = request.pop("do")
        handler = {
            "headers": self.choose_headers,
            "compile": self.compile,
            "load": self.load,
            "attach": self.attach,
            "walk": self.walk,
        }[command]
        try:
            return handler(**request)
        except Failure as failure:
            return {"error": str(failure)}

    # -- headers

    def choose_headers(self, mode: str, cache: str, sources: list[str], include: str) -> Answer:
        """mode: auto, btf, or the path of a kernel's headers."""
        self._sources, self._include = sources, include
        data = self._read_types()
        if mode not in ("auto", "btf"):
            os.environ["BCC_KERNEL_SOURCE"] = mode
            return {"headers": mode, "assertions": 0}
        if data is None:
            build = Path("/lib/modules") / os.uname().release / "build"
            if mode == "auto" and build.is_dir():
                return {"headers": str(build), "assertions": 0}
            raise Failure(f"neither {btf.VMLINUX} nor kernel headers at {build}")
        library = self._library()
        prelude = headers.bcc_header(library)
        if cache:
            tree = headers.cached(Path(cache), data, sources, prelude)
            if tree:
                self._use(tree)
                return {"headers": "btf (cached)", "assertions": tree.assertions}
        self._prelude = prelude
        self._scratch = Path(tempfile.mkdtemp(prefix="bpfleet-headers-"))
        self._write_tree()
        assert self._tree
        return {"headers": "btf", "assertions": self._tree.assertions}

    def _read_types(self) -> bytes | None:
        try:
            data = Path(btf.VMLINUX).read_bytes()
            self._types = btf.Btf(data)
            return data
        except (OSError, ValueError):
            return None

    @staticmethod
    def _library() -> Path:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if "/libbcc.so" in line:
                return Path(line[line.index("/") :])
        raise Failure("BCC's library is not loaded")

    def _write_tree(self) -> None:
        assert self._types and self._scratch
        self._use(headers.write(self._scratch, self._types, self._sources, self._prelude, self._extra))
        self._unproven = True

    def _use(self, tree: headers.Tree) -> None:
        self._tree = tree
        os.environ["BCC_KERNEL_SOURCE"] = str(tree.path)

    # -- programs

    def compile(self, text: str) -> Answer:
        """A text -> its functions and maps. What the unit before had is let go."""
        self.release()
        for _ in range(MAX_RETRIES):
            flags = [*FLAGS, f"-I{self._include}"]
            if self._unproven:
                flags.append("-DBPFLEET_LAYOUT_PROOF")
            self._module, messages = self._build(text, flags)
            if self._module is not None:
                self._unproven = False
                return {"maps": self._maps()}
            missing = set(_INCOMPLETE.findall(messages)) - self._extra
            if not missing or not self._scratch:
                break
            self._extra |= missing
            self._write_tree()
        return {"error": messages}

    def _build(self, text: str, flags: list[str]) -> tuple[Any, str]:
        """The compiler writes its messages to descriptor 2, so that is a file for as long as it runs."""
        messages = os.memfd_create("messages")
        saved = os.dup(2)
        os.dup2(messages, 2)
        try:
            module = self._bcc.BPF(text=text.encode(), cflags=flags)
        except Exception as error:
            module, reason = None, str(error)
        else:
            reason = ""
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        with open(messages, "rb") as stream:
            stream.seek(0)
            return module, stream.read().decode(errors="replace") + reason

    def _maps(self) -> list[Answer]:
        lib, module = self._bcc.lib, ctypes.c_void_p(self._module.module)

        def ask(function: str, number: int, answer: Any = ctypes.c_int) -> Any:
            call = lib[function]  # a fresh object: BCC's own declarations of these differ from release to release
            call.restype = answer
            return call(module, ctypes.c_size_t(number))

        return [
            {
                "name": ask("bpf_table_name", number, ctypes.c_char_p).decode(),
                "type": ask("bpf_table_type_id", number),
                "key_size": ask("bpf_table_key_size_id", number, ctypes.c_size_t),
                "value_size": ask("bpf_table_leaf_size_id", number, ctypes.c_size_t),
                "max_entries": ask("bpf_table_max_entries_id", number, ctypes.c_size_t),
                "fd": ask("bpf_table_fd_id", number),
            }
            for number in range(lib.bpf_num_tables(module))
        ]

    def load(self, function: str, hook: str) -> Answer:
        """hook: as bpfleet.api.Probe.hook has it."""
        kind, _, where = hook.partition("/")
        program, attach_type, btf_id = {
            "cgroup_skb": (syscalls.PROG_CGROUP_SKB, syscalls.ATTACH_EGRESS * (where == "egress"), 0),
            "raw_tracepoint": (syscalls.PROG_RAW_TRACEPOINT, 0, 0),
            "tp_btf": (syscalls.PROG_TRACING, syscalls.ATTACH_RAW_TRACEPOINT, -1),
            "iter": (syscalls.PROG_TRACING, syscalls.ATTACH_ITER, -1),
        }[kind]
        if btf_id:
            btf_id = self._btf_id(kind, where)
        try:
            code = self._module.dump_func(function.encode())
        except Exception as error:
            raise Failure(f"no function {function} in the compiled text") from error
        try:
            self._programs[function] = syscalls.load_program(program, code, function, attach_type, btf_id)
        except syscalls.Rejected as error:
            return {"error": error.strerror, "log": error.log}
        return {}

    def _btf_id(self, kind: str, where: str) -> int:
        if not self._types:
            raise Failure(f"{kind} needs BTF ({btf.VMLINUX})")
        name, wanted = (f"btf_trace_{where}", btf.TYPEDEF) if kind == "tp_btf" else (f"bpf_iter_{where}", btf.FUNC)
        found = self._types.find({name}, (wanted,))
        if not found:
            raise Failure(f"this kernel has no {where}")
        return found[name]

    def attach(self, function: str, hook: str, cgroup: str) -> Answer:
        """By a link, which lives as long as somebody holds its descriptor: never by the attach command."""
        kind, _, where = hook.partition("/")
        program = self._programs[function]
        try:
            if kind == "cgroup_skb":
                directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    attach_type = syscalls.ATTACH_EGRESS if where == "egress" else syscalls.ATTACH_INGRESS
                    link = syscalls.link_cgroup(program, directory, attach_type)
                finally:
                    os.close(directory)
            elif kind == "iter":
                link = syscalls.link_iterator(program)
            else:
                link = syscalls.open_raw_tracepoint(program, where if kind == "raw_tracepoint" else "")
        except OSError as error:
            raise Failure(f"cannot attach to {hook}: {error.strerror}") from error
        self._links[function] = link
        return {}

    def walk(self, function: str) -> Answer:
        """Run an iterator over everything once, and be done with it."""
        link = self._links.pop(function)
        try:
            return {"bytes": len(syscalls.walk_iterator(link))}
        except OSError as error:
            raise Failure(f"cannot walk: {error.strerror}") from error
        finally:
            os.close(link)

    def descriptors(self) -> tuple[list[str], list[int]]:
        """What the parent gets: the maps in the order in which `compile` named them, then the links."""
        maps = self._maps()
        names = [f"map:{row['name']}" for row in maps] + [f"link:{function}" for function in self._links]
        return names, [row["fd"] for row in maps] + list(self._links.values())

    def release(self) -> None:
        """Close the unit's own descriptors; what was handed over stays."""
        for descriptor in (*self._programs.values(), *self._links.values()):
            os.close(descriptor)
        self._programs.clear()
        self._links.clear()
        if self._module is not None:
            self._module.cleanup()
            self._module = None

    def close(self) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def receive(channel: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes; leaves when the parent is gone."""
    data = b""
    while len(data) < size:
        part = channel.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def send(channel: socket.socket, answer: Answer) -> None:
    data = json.dumps(answer).encode()
    channel.sendall(struct.pack("=I", len(data)) + data)


def serve(channel: socket.socket) -> None:
    try:
        loader = Loader()
    except ImportError as error:
        send(channel, {"error": f"{sys.executable} has no BCC ({error}); Debian and Ubuntu: apt install python3-bpfcc"})
        return
    send(channel, {"python": sys.version.split()[0], "bcc": getattr(loader._bcc, "__version__", "unknown")})
    try:
        while True:
            (size,) = struct.unpack("=I", receive(channel, 4))
            request = json.loads(receive(channel, size))
            if request["do"] == "hand_over":
                names, descriptors = loader.descriptors()
                send(channel, {"names": names, "rss_bytes": peak_rss()})
                for start in range(0, len(descriptors), MAX_DESCRIPTORS):
                    socket.send_fds(channel, [b"F"], descriptors[start : start + MAX_DESCRIPTORS])
            else:
                send(channel, loader.answer(request))
    except EOFError:
        loader.close()


def peak_rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    channel, parent = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both: the parent decides
    try:
        # Before 5.11 maps count against this limit; without the right to raise it the kernel says so itself.
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        pass
    serve(channel)
    os._exit(0)  # BCC's exit handler would take apart what the parent now holds


if __name__ == "__main__":
    main()
