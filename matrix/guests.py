"""One guest after the other: a kernel under QEMU, and what it tells on its second serial port."""

import json
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matrix.archive import Unavailable
from matrix.emulators import Emulator
from matrix.kernels import Kernel

MEMORY_MIB = 2048
CPUS = 2
LIMIT_SECONDS = 3600.0
"""An emulated guest takes minutes; one that hangs is given up."""

END = "end"
"""The last line of a guest that has done everything."""


class Broken(Exception):
    """A guest has not come to its end: a finding, unlike what cannot be had here."""


def boot(
    emulator: Emulator, kernel: Kernel, disks: tuple[Path, Path, Path], output: Path, parameters: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What it reported, one dictionary a line. disks: the initrd, the root disk, the tree. output: a directory for its
    console. Raises Unavailable on another machine, Broken if the guest does not come to its end."""
    if platform.machine() != "x86_64":
        raise Unavailable("the matrix boots x86-64 kernels only")
    output.mkdir(parents=True, exist_ok=True)
    result, console = output / "result", output / "console"
    result.unlink(missing_ok=True)
    initrd, root, tree = disks
    command = [
        *(*emulator.command, *emulator.processor, "-smp", str(CPUS), "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(initrd)),
        *("-append", " ".join(("console=ttyS0 panic=-1 quiet mitigations=off", *parameters))),
        *("-drive", f"file={root},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={tree},format=raw,if=virtio,snapshot=on"),
        *("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"),
        *("-serial", f"file:{console}", "-serial", f"file:{result}"),
    ]
    try:
        done = subprocess.run(
            command,
            env=emulator.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise Broken(f"the guest took more than {LIMIT_SECONDS:.0f} s; see {console}") from None
    said = result.read_text().splitlines() if result.exists() else []
    if not said or said[-1] != END:
        raise Broken(f"the guest did not come to its end: {done.stderr.strip() or console}")
    return [json.loads(line) for line in said[:-1]]
