"""QEMU of one Debian release, unpacked beside the machine's own: what a guest counts may not depend on which it has.

QEMU 7.2 (Debian 12) corrupts the flags after cmpxchg16b, which newer kernels use all the time, and guests miscount.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from matrix.archive import Archive, run

SUITE = "trixie"
LIBRARIES = ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
FIRMWARE = ("usr/share/qemu", "usr/share/seabios")


@dataclass(frozen=True)
class Emulator:
    """root: where it is unpacked."""

    root: Path

    @property
    def command(self) -> list[str]:
        """Started by its own release's dynamic linker, which finds its own libraries."""
        root = self.root
        libraries = ":".join(str(root / part) for part in LIBRARIES)
        firmware = [word for part in FIRMWARE for word in ("-L", str(root / part))]
        linker = root / "usr/lib64/ld-linux-x86-64.so.2"
        return [str(linker), "--library-path", libraries, str(root / "usr/bin/qemu-system-x86_64"), *firmware]

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {"QEMU_MODULE_DIR": str(self.root / "usr/lib/x86_64-linux-gnu/qemu")}

    @property
    def version(self) -> str:
        """E.g. 10.0.13."""
        return run(*self.command, "--version", environment=self.environment).split()[3]

    @property
    def processor(self) -> tuple[str, ...]:
        return ("-accel", "kvm", "-cpu", "host") if accelerates() else ("-accel", "tcg,thread=multi", "-cpu", "max")


def accelerates() -> bool:
    """Whether the processor has virtualisation for us: without it /dev/kvm can be there all the same (PVM), and boots
    no kernel that was not built for that."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return os.access("/dev/kvm", os.R_OK | os.W_OK) and bool(words & {"vmx", "svm"})


def emulator(folder: Path, archive: Archive) -> Emulator:
    """Unpacked once. Raises Unavailable."""
    root = folder / f"qemu-{SUITE}"
    if not root.is_dir():
        archive.update()
        partial = folder / "qemu.partial"
        shutil.rmtree(partial, ignore_errors=True)
        run(
            *("mmdebstrap", "--quiet", "--variant=extract", "--include=qemu-system-x86"),
            *('--aptopt=APT::Install-Recommends "false"', SUITE, str(partial), str(archive.sources)),
        )
        partial.rename(root)
    return Emulator(root)
