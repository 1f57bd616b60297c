"""From BPF code to a verified program on a hook. Runs in the loader child.

By links only: a link lives as long as somebody holds its descriptor, while what the old attach command puts on a
cgroup stays there for ever after a SIGKILL.
"""

import os
from typing import Any, Protocol

from agent.kernel import btf, syscalls
from agent.kernel.compiled import maps_of
from agent.kernel.failure import Failure


class Code(Protocol):
    """What a text was compiled to, and the types of the kernel where they are known."""

    @property
    def types(self) -> btf.Btf | None: ...
    def code(self, function: str) -> bytes: ...
    def maps(self) -> list[dict[str, Any]]: ...


class Attaching:
    """Hooks are written as bpfleet.api.Probe.hook has them. Answers and failures are those of the loader."""

    def __init__(self, compiled: Code) -> None:
        self._compiled = compiled
        self._programs: dict[str, int] = {}
        self._maps: dict[str, set[int]] = {}
        self._btf_ids: dict[str, int] = {}
        self._tracing: set[str] = set()
        self.links: dict[str, int] = {}

    def load(self, function: str, hook: str) -> dict[str, Any]:
        kind, _, where = hook.partition("/")
        program_type, attach_type, btf_id = syscalls.PROG_RAW_TRACEPOINT, 0, 0
        if kind in ("cgroup_skb", "tail_call"):
            program_type = syscalls.PROG_CGROUP_SKB
            attach_type = _direction(where.partition("/")[0])
        elif kind == "cgroup":
            program_type, attach_type = syscalls.PROG_CGROUP_ADDRESS, syscalls.ATTACH_ADDRESS[where]
        elif kind == "tp_btf":
            program_type, attach_type = syscalls.PROG_TRACING, syscalls.ATTACH_RAW_TRACEPOINT
            btf_id = self._btf_id(f"btf_trace_{where}", btf.TYPEDEF, f"tracepoint {where}")
        elif kind == "iter":
            program_type, attach_type = syscalls.PROG_TRACING, syscalls.ATTACH_ITER
            target = where.partition("/")[0]
            btf_id = self._btf_id(f"bpf_iter_{target}", btf.FUNC, f"iterator {target}")
        code = self._compiled.code(function)
        self._forget(function)
        self._maps[function] = maps_of(code)
        try:
            self._programs[function] = syscalls.load_program(program_type, code, function, attach_type, btf_id)
        except syscalls.Rejected as error:
            raise Failure(error.strerror or str(error), log=error.log) from error
        return {}

    def _btf_id(self, name: str, kind: int, what: str) -> int:
        if self._compiled.types is None:
            raise Failure(f"needs BTF ({btf.VMLINUX})")
        if name not in self._btf_ids:
            self._btf_ids |= self._compiled.types.find({name}, (kind,))
        if name not in self._btf_ids:
            raise Failure(f"this kernel has no {what}")
        return self._btf_ids[name]

    def attach(self, function: str, hook: str, cgroup: str) -> dict[str, Any]:
        """cgroup: the directory for packet programs."""
        kind, _, where = hook.partition("/")
        program = self._programs[function]
        try:
            if kind == "cgroup_skb":
                self.links[function] = _link_cgroup(program, cgroup, _direction(where))
            elif kind == "cgroup":
                self.links[function] = _link_cgroup(program, cgroup, syscalls.ATTACH_ADDRESS[where])
            elif kind == "tail_call":
                syscalls.set_program(self._map(where.partition("/")[2]), program)
            elif kind == "iter":
                table = where.partition("/")[2]
                self.links[function] = syscalls.link_iterator(program, self._map(table) if table else None)
            else:  # a tp_btf program knows its own hook
                self.links[function] = syscalls.open_raw_tracepoint(program, where if kind == "raw_tracepoint" else "")
                self._tracing.add(function)
        except OSError as error:
            raise Failure(f"{hook}: cannot attach {function}: {error.strerror}") from error
        return {}

    def _map(self, name: str) -> int:
        for row in self._compiled.maps():
            if row["name"] == name:
                return int(row["fd"])
        raise Failure(f"there is no map {name} in the text")

    def walk(self, function: str) -> dict[str, Any]:
        """Run an iterator over everything once, and be done with it."""
        link = self.links.pop(function)
        try:
            return {"bytes": len(syscalls.walk_iterator(link))}
        except OSError as error:
            raise Failure(f"{function}: cannot walk: {error.strerror}") from error
        finally:
            os.close(link)

    def tracing(self) -> dict[str, int]:
        """The programs that hang on tracepoints, of which the kernel may leave out runs."""
        return {function: self._programs[function] for function in self.links if function in self._tracing}

    def maps(self) -> set[int]:
        """Descriptors of the maps that the loaded programs use."""
        return {fd for function in self._programs for fd in self._maps[function]}

    def _forget(self, function: str) -> None:
        self._tracing.discard(function)
        for kept in (self._programs, self.links):
            if function in kept:
                os.close(kept.pop(function))

    def release(self) -> None:
        """Close everything of this unit here; what was handed over stays open there."""
        for descriptor in (*self._programs.values(), *self.links.values()):
            os.close(descriptor)
        self._programs.clear()
        self._tracing.clear()
        self.links.clear()


def _direction(where: str) -> int:
    return syscalls.ATTACH_EGRESS if where == "egress" else syscalls.ATTACH_INGRESS


def _link_cgroup(program: int, cgroup: str, attach_type: int) -> int:
    try:
        directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise Failure(f"cgroup {cgroup}: {error.strerror}") from error
    try:
        return syscalls.link_cgroup(program, directory, attach_type)
    finally:
        os.close(directory)
