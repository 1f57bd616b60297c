"""What this machine lets an agent do: kernel, BTF, capabilities, lockdown, cgroups. Read, never changed."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bpfleet.errors import HostError

OLDEST = (5, 10)  # the oldest that docs/kernels.md has
MACHINES = ("x86_64", "aarch64")

MAPS_ARE_ACCOUNTED = (5, 11)
"""From here on maps count against the cgroup's memory, before against the limit of locked memory."""

LOCKED_MEMORY = "maps count against the limit of locked memory here: raise that, or give the capability SYS_RESOURCE"

# linux/capability.h; the ones that an agent can have use for.
CAPABILITIES = {
    "DAC_READ_SEARCH": 2,
    "NET_ADMIN": 12,
    "NET_RAW": 13,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_RESOURCE": 24,
    "SYSLOG": 34,
    "PERFMON": 38,
    "BPF": 39,
}


@dataclass(frozen=True)
class Facts:
    """perf_event_paranoid, lockdown: empty where the kernel does not tell. cgroup_root: empty without cgroup v2.
    memlock_bytes: -1 for unlimited."""

    release: str
    machine: str
    btf: bool
    headers: str
    capabilities: tuple[str, ...]
    perf_event_paranoid: str
    lockdown: str
    cgroup_root: str
    memlock_bytes: int

    def lacking(self, names: Iterable[str]) -> list[str]:
        """Which of these capabilities this process does not have. SYS_ADMIN stands for BPF and PERFMON, which were
        part of it until 5.8 (capabilities(7))."""
        have = set(self.capabilities)
        if "SYS_ADMIN" in have:
            have |= {"BPF", "PERFMON"}
        return [name for name in names if name not in have]


def require(machine: Facts, cgroup_root: str) -> None:
    """Raises HostError with everything that has to change before any collector can run here."""
    lacks = []
    if machine.machine not in MACHINES:
        lacks.append(f"a machine of one of {', '.join(MACHINES)} (this one is {machine.machine})")
    if version(machine.release) < OLDEST:
        lacks.append(f"Linux {OLDEST[0]}.{OLDEST[1]} or newer (this is {machine.release})")
    if not cgroup_root:
        lacks.append("cgroup v2, mounted (beside v1 is enough): mount -t cgroup2 none /sys/fs/cgroup/unified")
    if machine.lacking(["BPF"]):
        lacks.append("the capability BPF (run as root, or with BPF, PERFMON and NET_ADMIN)")
    if lacks:
        raise HostError(f"this machine lacks {'; '.join(lacks)}")


def locks_maps(machine: Facts) -> bool:
    """Whether maps may be refused for the limit of locked memory."""
    limited = machine.memlock_bytes >= 0 and bool(machine.lacking(["SYS_RESOURCE"]))
    return limited and version(machine.release) < MAPS_ARE_ACCOUNTED


def require_hierarchy(cgroup_root: str) -> None:
    """Raises HostError where names of cgroups cannot be had from there."""
    if not cgroup_root:
        raise HostError("cgroup v2 is not mounted; a hybrid hierarchy (a cgroup2 mount beside v1) is enough")
    if not Path(cgroup_root, "cgroup.controllers").exists():
        raise HostError(f"{cgroup_root} is not a cgroup v2 hierarchy (it has no cgroup.controllers)")


def version(release: str) -> tuple[int, int]:
    """6.12.1-foo -> (6, 12); (0, 0) where it does not start with a version."""
    found = re.match(r"(\d+)\.(\d+)", release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def gather(root: Path = Path("/"), release: str = "", machine: str = "") -> Facts:
    """root: where proc, sys and lib are found; tests give a captured tree."""
    uname = os.uname()
    release = release or uname.release
    build = root / "lib/modules" / release / "build"
    return Facts(
        release=release,
        machine=machine or uname.machine,
        btf=os.access(root / "sys/kernel/btf/vmlinux", os.R_OK),
        headers=str(build) if build.is_dir() else "",
        capabilities=capabilities(_text(root / "proc/self/status")),
        perf_event_paranoid=_text(root / "proc/sys/kernel/perf_event_paranoid").strip(),
        lockdown=_chosen(_text(root / "sys/kernel/security/lockdown")),
        cgroup_root=cgroup_root(_text(root / "proc/self/mountinfo")),
        memlock_bytes=_memlock(_text(root / "proc/self/limits")),
    )


def capabilities(status: str) -> tuple[str, ...]:
    """The effective ones in /proc/self/status, among those in CAPABILITIES."""
    for line in status.splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return tuple(name for name, bit in CAPABILITIES.items() if mask >> bit & 1)
    return ()


def cgroup_root(mountinfo: str) -> str:
    """Where the cgroup v2 hierarchy is mounted, hybrid or not; empty if it is not. The mount that shows most of the
    hierarchy is taken: in a container there can be one of its own cgroup and one of the host's root.

    Format: proc_pid_mountinfo(5)."""
    found: list[tuple[str, str]] = []
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        fields = mount.split()
        if kind.split()[:1] == ["cgroup2"] and len(fields) >= 5:
            found.append((_unescaped(fields[3]), _unescaped(fields[4])))
    # "/.." parts are what lies above the reader's cgroup namespace, so more of them is nearer to the root.
    found.sort(key=lambda mount: (-mount[0].count(".."), len(mount[0])))
    return found[0][1] if found else ""


def _unescaped(path: str) -> str:
    r"""Spaces and such are written as \040 there."""
    for code in ("040", "011", "012", "134"):
        path = path.replace("\\" + code, chr(int(code, 8)))
    return path


def _chosen(text: str) -> str:
    """`none [integrity] confidentiality` -> integrity."""
    return text.partition("[")[2].partition("]")[0]


def _memlock(limits: str) -> int:
    for line in limits.splitlines():
        if line.startswith("Max locked memory"):
            soft = line.split()[3]
            return -1 if soft == "unlimited" else int(soft)
    return -1


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
