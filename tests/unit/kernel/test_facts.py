"""On captured trees: a hybrid virtual machine, a pod with three capabilities, a plain user."""

from pathlib import Path

import pytest

from agent.kernel import facts
from agent.kernel.facts import Facts
from bpfleet.errors import HostError

HYBRID = """\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:10 - cgroup2 cgroup2 rw
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime shared:11 - cgroup cgroup rw,memory
"""
POD = """\
612 590 0:27 /../../../.. /host/sys/fs/cgroup rw,relatime - cgroup2 cgroup rw
611 590 0:27 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw
"""
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 4096                 files
Max locked memory         {memlock:<20} {memlock:<20} bytes
"""


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_virtual_machine_with_a_hybrid_hierarchy(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/status": "Name:\tpython3\nCapInh:\t0000000000000000\nCapEff:\t000001fffeffffff\n",
            "proc/self/mountinfo": HYBRID,
            "proc/self/limits": LIMITS.format(memlock=8388608),
            "proc/sys/kernel/perf_event_paranoid": "2\n",
            "sys/kernel/btf/vmlinux": "",
            "sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
            "lib/modules/6.18.44/build/Makefile": "",
        },
    )
    assert facts.gather(root, release="6.18.44", machine="x86_64") == Facts(
        release="6.18.44",
        machine="x86_64",
        btf=True,
        headers=str(root / "lib/modules/6.18.44/build"),
        capabilities=(
            *("DAC_READ_SEARCH", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "SYS_ADMIN", "SYSLOG", "PERFMON", "BPF"),
        ),
        perf_event_paranoid="2",
        lockdown="none",
        cgroup_root="/sys/fs/cgroup/unified",
        memlock_bytes=8388608,
    )


def test_a_pod_with_three_capabilities_on_a_locked_down_node(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/status": f"CapEff:\t{1 << 12 | 1 << 38 | 1 << 39:016x}\n",
            "proc/self/mountinfo": POD,
            "proc/self/limits": LIMITS.format(memlock="unlimited"),
            "sys/kernel/security/lockdown": "none integrity [confidentiality]\n",
        },
    )
    found = facts.gather(root)
    assert found.capabilities == ("NET_ADMIN", "PERFMON", "BPF")
    assert found.lockdown == "confidentiality"
    assert found.cgroup_root == "/host/sys/fs/cgroup", "the host's root, not the pod's own"
    assert found.memlock_bytes == -1
    assert found.lacking(("BPF", "PERFMON", "NET_ADMIN", "SYS_ADMIN")) == ["SYS_ADMIN"]


def test_what_a_machine_does_not_tell_is_empty(tmp_path: Path) -> None:
    found = facts.gather(tmp_path, release="6.1.0", machine="aarch64")
    assert found == Facts("6.1.0", "aarch64", False, "", (), "", "", "", -1)


def test_admin_rights_stand_for_the_younger_ones() -> None:
    machine = Facts("6.1.0", "x86_64", True, "", ("SYS_ADMIN",), "", "", "/c", -1)
    assert machine.lacking(("BPF", "PERFMON", "NET_ADMIN")) == ["NET_ADMIN"]


@pytest.mark.parametrize(
    ("mountinfo", "root"),
    [
        ("", ""),
        ("31 30 0:27 / /sys/fs/cgroup rw - cgroup cgroup rw", ""),
        ("31 30 0:27 / /my\\040cgroups rw shared:1 master:2 - cgroup2 none rw", "/my cgroups"),
        ("31 30 0:27 /deep/er /a rw - cgroup2 c rw\n32 30 0:27 / /b rw - cgroup2 c rw", "/b"),
    ],
)
def test_the_mount_nearest_to_the_root_is_taken(mountinfo: str, root: str) -> None:
    assert facts.cgroup_root(mountinfo) == root


def test_everything_that_has_to_change_is_said_at_once() -> None:
    machine = Facts("4.19.0-amd64", "riscv64", False, "", ("NET_ADMIN",), "", "", "", -1)
    with pytest.raises(HostError) as caught:
        facts.require(machine, "")
    message = str(caught.value)
    for part in ("riscv64", "Linux 5.10 or newer (this is 4.19.0-amd64)", "cgroup v2", "the capability BPF"):
        assert part in message


@pytest.mark.parametrize("release", ["5.10.0-32-amd64", "6.18.44", "7.2.0-rc1"])
def test_a_kernel_from_the_oldest_on_is_enough(release: str) -> None:
    facts.require(Facts(release, "x86_64", True, "", ("BPF",), "", "", "", -1), "/sys/fs/cgroup")


def test_a_release_that_does_not_start_with_a_version_is_too_old() -> None:
    assert facts.version("generic") == (0, 0)


@pytest.mark.parametrize(
    ("root", "said"), [("", "cgroup v2 is not mounted"), ("/proc", "/proc is not a cgroup v2 hierarchy")]
)
def test_a_directory_that_is_no_hierarchy_is_refused(root: str, said: str) -> None:
    with pytest.raises(HostError, match=said):
        facts.require_hierarchy(root)


def test_a_hierarchy_is_taken(tmp_path: Path) -> None:
    facts.require_hierarchy(str(tree(tmp_path, {"cgroup.controllers": "cpu io"})))
