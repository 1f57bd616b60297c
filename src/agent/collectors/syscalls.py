"""What the fragments of syscalls.bpf.c share: the program they are part of, numbers of system calls, what they tell of
paths and errors."""

import errno
import platform
import posixpath
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import Final

from agent.security import processes
from bpfleet.api import Fragment, Probe, RawTracepoint, TailCall, TracingFunction
from bpfleet.events import Attribute

SYSCALLS = Fragment("syscalls.bpf.c", (RawTracepoint("on_system_call_end", tracepoint="sys_exit"),))

NUMBERS: Final[Mapping[str, Mapping[str, int]]] = {
    "x86_64": {
        "NR_OPEN": 2,
        "NR_CONNECT": 42,
        "NR_CREAT": 85,
        "NR_CHMOD": 90,
        "NR_FCHMOD": 91,
        "NR_PTRACE": 101,
        "NR_OPENAT": 257,
        "NR_FCHMODAT": 268,
        "NR32_OPEN": 5,
        "NR32_CREAT": 8,
        "NR32_CHMOD": 15,
        "NR32_FCHMOD": 94,
        "NR32_PTRACE": 26,
        "NR32_OPENAT": 295,
        "NR32_FCHMODAT": 306,
        "NR32_CONNECT": 362,
    },
    "aarch64": {
        "NR_FCHMOD": 52,
        "NR_FCHMODAT": 53,
        "NR_OPENAT": 56,
        "NR_PTRACE": 117,
        "NR_CONNECT": 203,
        "NR32_OPEN": 5,
        "NR32_CREAT": 8,
        "NR32_CHMOD": 15,
        "NR32_FCHMOD": 94,
        "NR32_PTRACE": 26,
        "NR32_CONNECT": 283,
        "NR32_OPENAT": 322,
        "NR32_FCHMODAT": 333,
    },
}
"""By machine (uname -m): of 64-bit programs (arch/*/include/generated/uapi/asm/unistd_64.h), and of 32-bit ones, which
have their own. Since 5.1 new calls have the same number everywhere."""

EVERYWHERE: Final = {"IO_URING_ENTER": 426, "OPENAT2": 437, "FCHMODAT2": 452}
NO_NUMBER: Final = 0x7FFFFFFF
"""Of a call that a machine does not have. (-1 is what a tracer makes of a call that it forbids.)"""

NAME_BYTES: Final = 32
"""FILE_NAME_BYTES of syscalls.bpf.c: of a longer name the beginning is looked for."""

_ROW: Final = (1,)


def functions(function: str, call: str, *, compat: bool = False, beside: str = "") -> tuple[Probe, ...]:
    """The kernel's own function of a system call, by each machine's name for it. compat: for 32-bit programs."""
    prefixes = ("__ia32_compat_sys_", "__arm64_compat_sys_") if compat else ("__x64_sys_", "__arm64_sys_")
    return tuple(TracingFunction(function, kernel_function=f"{one}{call}", beside=beside) for one in prefixes)


def leaving(name: str) -> Probe:
    """Where a collector's fragment goes on, once a system call's number is one of its own."""
    return TailCall(f"on_{name}_call", direction="sys_exit", table=f"{name}_calls", beside=f"{name}_ended")


def defines(limits: Mapping[str, int]) -> dict[str, str]:
    machine = platform.machine()
    numbers = {name: NO_NUMBER for known in NUMBERS.values() for name in known}
    numbers |= NUMBERS.get(machine, {})
    numbers |= {f"{prefix}_{name}": number for prefix in ("NR", "NR32") for name, number in EVERYWHERE.items()}
    found = {"MAX_CGROUPS": str(limits["cgroups"])} | {name: f"{number}u" for name, number in numbers.items()}
    return found | ({"ON_ARM64": "1"} if machine == "aarch64" else {})


def names(components: Collection[bytes]) -> dict[bytes, tuple[int, ...]]:
    """Rows of a set of path components (`struct file_name`). The empty one stands for all."""
    return {struct.pack(f"={NAME_BYTES}s", name[: NAME_BYTES - 1]): _ROW for name in components}


def path(parts: Mapping[int, processes.Part]) -> Iterator[tuple[str, Attribute]]:
    """Resolved where it is known; else as it was given, behind the directory that a relative one begins at."""
    file, given, directory = (parts.get(kind) for kind in (processes.FILE, processes.GIVEN, processes.DIRECTORY))
    asked = given.text if given else ""
    told = file.path if file and file.texts else asked
    if told is asked and directory and not asked.startswith("/"):
        told = posixpath.join(directory.path, asked) if asked else directory.path
    if told:
        yield "file.path", told
    if asked and asked != told:
        yield "bpfleet.file.given", asked


def failure(result: int) -> Iterator[tuple[str, Attribute]]:
    if result < 0:
        yield "error.type", errno.errorcode.get(-result, f"unknown({-result})")


def call(names: tuple[str, ...], number: int) -> Iterator[tuple[str, Attribute]]:
    """0 where it is not known."""
    if number:
        yield "bpfleet.syscall.name", names[number] if number < len(names) else f"unknown({number})"
