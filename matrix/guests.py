"""One guest after the other: a kernel under QEMU, and what it tells on its second serial port."""

import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matrix.archive import Unavailable
from matrix.kernels import Kernel

MEMORY_MIB = 2048
CPUS = 2
LIMIT_SECONDS = 1800.0
"""An emulated guest takes minutes; one that hangs is given up."""

END = "end"
"""The last line of a guest that has done everything."""

TRIES = 3
"""An emulated guest panics now and then: QEMU 7.2 corrupts the flags after cmpxchg16b."""

NEEDS_CMPXCHG16B = (6, 19)
"""From here on the kernel allocates a socket's storage with it (kmalloc_nolock); older guests are better without."""


@dataclass(frozen=True)
class Accelerator:
    """arguments: of QEMU. name: for the page."""

    name: str
    arguments: tuple[str, ...]


EMULATED = Accelerator("emulated", ("-accel", "tcg,thread=multi", "-cpu", "max"))
ACCELERATED = Accelerator("KVM", ("-accel", "kvm", "-cpu", "host"))


def accelerator(device: Path = Path("/dev/kvm"), cpus: Path = Path("/proc/cpuinfo")) -> Accelerator:
    """KVM where the processor has virtualisation: without it the device can be there all the same (PVM), and boots no
    kernel that was not built for that."""
    words = set(cpus.read_text().split()) if cpus.exists() else set()
    return ACCELERATED if device.exists() and words & {"vmx", "svm"} else EMULATED


def arguments(kernel: Kernel) -> list[str]:
    chosen = list(accelerator().arguments)
    version = tuple(int(number) for number in kernel.series.split("."))
    if accelerator() is EMULATED and version < NEEDS_CMPXCHG16B:
        chosen[-1] += ",-cx16"
    return chosen


def boot(
    kernel: Kernel, initrd: Path, root: Path, tree: Path, output: Path, parameters: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """What it reported, one dictionary a line. output: a directory for its console. Raises Unavailable if the guest
    does not come to its end."""
    if platform.machine() != "x86_64":
        raise Unavailable("the matrix boots x86-64 kernels only")
    output.mkdir(parents=True, exist_ok=True)
    result, console = output / "result", output / "console"
    command = [
        *("qemu-system-x86_64", *arguments(kernel), "-smp", str(CPUS), "-m", str(MEMORY_MIB)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
        *("-kernel", str(kernel.image), "-initrd", str(initrd)),
        *("-append", " ".join(("console=ttyS0 panic=-1 quiet mitigations=off", *parameters))),
        *("-drive", f"file={root},format=raw,if=virtio,snapshot=on"),
        *("-drive", f"file={tree},format=raw,if=virtio,snapshot=on"),
        *("-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"),
        *("-serial", f"file:{console}", "-serial", f"file:{result}"),
    ]
    for _ in range(TRIES):
        result.unlink(missing_ok=True)
        try:
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_SECONDS)
        except FileNotFoundError:
            raise Unavailable("not installed: qemu-system-x86") from None
        except subprocess.TimeoutExpired:
            pass
        said = result.read_text().splitlines() if result.exists() else []
        if said and said[-1] == END:
            return [json.loads(line) for line in said[:-1]]
    raise Unavailable(f"the guest did not come to its end; see {console}")
