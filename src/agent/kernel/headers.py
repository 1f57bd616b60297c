"""A header tree that lets BCC compile without kernel headers: the running kernel's BTF, written as C.

Every header that BCC's own prelude asks for is an empty file; the one that BCC includes by force, linux/kconfig.h,
holds what BCC uses of the others and includes vmlinux.h. Only the types that the texts name are in it, with what they
contain: parsing all of a kernel's types would take most of the start-up time.
"""

import hashlib
import os
import platform
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agent.kernel import btf, helper_numbers
from agent.kernel.declarations import Declarations
from agent.kernel.failure import Failure

FORMAT = "2"  # part of the cache key: raised when this file writes the tree differently
KEPT_TREES = 4  # in the cache: of this kernel and the one before, with and without a change of collectors
PROGRAMS = "programs"  # in the same directory: what was compiled (unit_cache.py)
SCRATCH = "bpfleet-headers-"  # begins the name of a tree that is made for one start
ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64"}
EMPTY = (
    "linux/version.h",
    "linux/log2.h",
    "linux/ptrace.h",
    "linux/bpf.h",
    "asm/page.h",
    "uapi/linux/bpf.h",
    "uapi/linux/ptrace.h",
    "uapi/linux/if_packet.h",
)
BCC_HEADER = b"#define BCC_SEC(NAME)"  # a line of BCC's helpers.h, which its library carries as text
# What BCC writes into a text in place of its map methods.
REWRITTEN = frozenset({"BPF_ANY", "BPF_NOEXIST", "BPF_EXIST", "BPF_F_CURRENT_CPU", "BPF_F_INDEX_MASK"})

KCONFIG = """#pragma once
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_ARCH_HAS_SYSCALL_WRAPPER 1
#define CONFIG_{architecture} 1
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE {version}
#define BPF_NO_PRESERVE_ACCESS_INDEX
#define __LINUX_BPF_H__
#define _UAPI__LINUX_BPF_H__
#include "vmlinux.h"
#ifdef BPFLEET_LAYOUT_PROOF
#include "layout_proof.h"
#endif
{missing}
#define NULL ((void *)0)
#define PAGE_SHIFT 12
#define PAGE_SIZE 4096
#define roundup_pow_of_two(n) (1UL << (64 - __builtin_clzl((n) - 1)))
"""

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.S)
_WORD = re.compile(r"\b[A-Za-z_]\w*")
_TAG = re.compile(r"\b(?:struct|union|enum)\s+(\w+)(\s*\{)?")
_BY_VALUE = re.compile(r"\b(?:struct|union)\s+(\w+)\s+\w+\s*[\[;]")
_FOLLOWED = re.compile(r"(?:->|\.)\s*([A-Za-z_]\w*)")
_ENUM_BODY = re.compile(r"\benum\b[^{;()]*\{([^}]*)\}")
_TYPEDEF_NAME = re.compile(r"\btypedef\b[^;{]*?(\w+)\s*;")


@dataclass(frozen=True)
class Names:
    """What a C text names: its words, its tags (and those of whole members), what it defines itself, the members that
    it follows."""

    words: frozenset[str]
    tags: frozenset[str]
    by_value: frozenset[str]
    taken: frozenset[str]
    followed: frozenset[str]

    @classmethod
    def of(cls, sources: Iterable[str]) -> "Names":
        text = _COMMENT.sub(" ", "\n".join(sources))
        tags = _TAG.findall(text)
        taken = {name for name, body in tags if body}
        for body in _ENUM_BODY.findall(text):
            taken |= {word for part in body.split(",") for word in _WORD.findall(part)[:1]}
        taken |= set(_TYPEDEF_NAME.findall(text))
        return cls(
            frozenset(_WORD.findall(text)),
            frozenset(name for name, _ in tags),
            frozenset(_BY_VALUE.findall(text)),
            frozenset(taken),
            frozenset(_FOLLOWED.findall(text)),
        )


def bcc_header(library: Path) -> str:
    """BCC's helpers.h, which every text starts with; all of the library where it cannot be made out."""
    data = library.read_bytes()
    at = data.find(BCC_HEADER)
    if at >= 0:
        data = data[data.rfind(b"\0", 0, at) + 1 : data.find(b"\0", at)]
    return data.decode(errors="replace")


@dataclass(frozen=True)
class Tree:
    """path: what BCC_KERNEL_SOURCE must name. assertions: how many the layout proof has."""

    path: Path
    assertions: int


def write(
    destination: Path,
    types: btf.Btf,
    sources: Iterable[str],
    prelude: str,
    extra: Iterable[str] = (),
    release: str = "",
    machine: str = "",
) -> Tree:
    """Write the tree for these C sources. prelude: BCC's own header. extra: tags that a compile asked for."""
    names, base = Names.of(sources), Names.of([prelude])
    machine = machine or platform.machine()
    declarations = Declarations(types, names.taken, names.followed)
    words = (names.words | base.words | REWRITTEN) - names.taken
    for number in sorted(types.enumerations(words)):
        declarations.enumerators(number)
    for number in sorted(types.find(words, (btf.TYPEDEF,)).values()):
        declarations.require(number)
    for number in sorted(types.find(base.tags - names.taken, btf.RECORDS).values()):
        declarations.mention(number)
    tags = ((names.tags | base.by_value) - names.taken) | set(extra)
    found = types.find(tags, (*btf.RECORDS, *btf.ENUMS))
    for number in sorted(found.values()):
        declarations.require(number)
    helpers = types.find({"bpf_func_id"}, btf.ENUMS)
    known = [name for number in helpers.values() for name, _ in types.values(number)]
    kconfig = KCONFIG.format(
        architecture={"x86_64": "X86_64", "aarch64": "ARM64"}.get(machine, machine.upper()),
        version=version_code(release or platform.release()),
        missing="\n".join(helper_numbers.missing(known)),
    )
    include = destination / "include"
    for name in EMPTY:
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text("#pragma once\n")
    architecture = ARCHITECTURES.get(machine, machine)
    (destination / "arch" / architecture / "include").mkdir(parents=True, exist_ok=True)
    # What a kernel may be built without: a text can ask (#ifdef HAS_io_open), as it can where there are headers.
    has = "".join(f"#define HAS_{tag}\n" for tag in sorted(found.keys() & names.tags))
    vmlinux = f"#ifndef __VMLINUX_H__\n#define __VMLINUX_H__\n{declarations.text()}{has}#endif\n"
    (include / "vmlinux.h").write_text(vmlinux)
    (include / "layout_proof.h").write_text("\n".join([*declarations.assertions, ""]))
    (include / "linux" / "kconfig.h").write_text(kconfig)
    return Tree(destination, len(declarations.assertions))


def version_code(release: str) -> int:
    """LINUX_VERSION_CODE of a release such as 6.12.1-foo. Raises ValueError if it starts with no number."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", release)
    if not found:
        raise ValueError(f"kernel release {release!r} does not start with a version")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return (major << 16) + (minor << 8) + min(patch, 255)


def key(types: bytes, sources: Iterable[str], prelude: str, release: str) -> str:
    """Names a tree in the cache: the same for the same kernel, texts and BCC."""
    digest = hashlib.blake2b(types, digest_size=16)
    for text in (FORMAT, release, platform.machine(), prelude, *sources):
        digest.update(text.encode(errors="replace") + b"\0")
    return digest.hexdigest()


def cached(directory: Path, name: str) -> Tree | None:
    """A tree of the cache, whose layout was proven when it was stored. Raises Failure where others than its owner
    could have written there: what is compiled runs in the kernel."""
    try:
        status = directory.stat()
        proof = (directory / name / "include" / "layout_proof.h").read_text()
    except OSError:
        return None
    if status.st_mode & 0o022 or status.st_uid != os.geteuid():
        raise Failure(f"header cache {directory}: must belong to this user and be writable for nobody else")
    with suppress(OSError):
        os.utime(directory / name)  # what is in use is not the oldest
    return Tree(directory / name, proof.count("_Static_assert("))


def store(scratch: Path, directory: Path, name: str) -> None:
    """Put a proven tree into the cache, whole or not at all. A cache that cannot be written is none."""
    partial = directory / f"{name}.{os.getpid()}"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copytree(scratch, partial)
        partial.rename(directory / name)
        trees = (path for path in directory.iterdir() if path.name != PROGRAMS)
        for old in sorted(trees, key=lambda path: path.stat().st_mtime)[:-KEPT_TREES]:
            remove(old)
    except OSError:
        remove(partial)


def sweep(directory: Path) -> None:
    """Remove the trees of loaders that were killed."""
    for path in directory.glob(f"{SCRATCH}*"):
        owner = path.name.removeprefix(SCRATCH).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            remove(path)


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
