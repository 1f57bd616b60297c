"""`make matrix`: the agent on other kernels, under QEMU, with a known load. Writes build/matrix.json, docs/kernels.md.

Each kernel is booted three times (as it is, and with the two kinds of lockdown), one guest at a time. Where the
processor has no virtualisation all of it is emulated, and takes two hours.

Usage: python -m matrix [--refresh] [--quick] [SERIES...]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from matrix import disks, emulators, guests, kernels
from matrix.archive import Archive, Unavailable

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "build" / "matrix.json"
ARCHITECTURE = "amd64"

BOOTS = {
    "plain": ("matrix.arguments=capabilities",),
    "integrity": ("lockdown=integrity",),
    "confidentiality": ("lockdown=confidentiality",),
}
"""By name: parameters of the kernel. The load runs in each; once also with less than all capabilities."""


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfleet" / "matrix"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refresh", action="store_true", help="fetch the newest kernel of each series anew")
    parser.add_argument("--quick", action="store_true", help="the load alone: no lockdown, all capabilities")
    parser.add_argument("series", nargs="*", metavar="SERIES", help=f"of {', '.join(kernels.SERIES)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.series) - set(kernels.SERIES):
        parser.error(f"unknown series {', '.join(sorted(unknown))}")
    try:
        return measure(arguments.series or kernels.SERIES, quick=arguments.quick, refresh=arguments.refresh)
    except Unavailable as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1


def measure(wanted: list[str] | tuple[str, ...], quick: bool, refresh: bool) -> int:
    """0 if every kernel counted exactly. What was run before of other kernels stays in the results."""
    archive = Archive(cache() / "archive", ARCHITECTURE)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    emulator = emulators.emulator(cache(), archive)
    for series in wanted:
        kernel = kernels.kernel(series, cache() / "kernels", archive, refresh)
        root = disks.root_disk(cache(), archive)
        boots: dict[str, Any] = {}
        with tempfile.TemporaryDirectory(prefix="bpfleet-matrix-") as scratch:
            initrd = disks.initrd(kernel, Path(scratch, "initrd"))
            tree = disks.tree(Path(scratch, "tree"))
            for name, parameters in (("plain", ()),) if quick else BOOTS.items():
                begun = time.monotonic()
                output = RESULTS.parent / "matrix" / f"{series}-{name}"
                boots[name] = guests.boot(emulator, kernel, (initrd, root, tree), output, parameters)
                seconds = time.monotonic() - begun
                print(f"# {kernel.release} {name}: {verdict(boots[name])} ({seconds:.0f} s)", flush=True)
        found[series] = {
            "release": kernel.release,
            "qemu": emulator.version,
            "kvm": emulator.accelerates,
            "boots": boots,
        }
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def verdict(lines: list[dict[str, Any]]) -> str:
    """In one line what a boot has shown."""
    runs = [line for line in lines if "run" in line]
    wrong = [f"{line['run']}: {check['what']}" for line in runs for check in line.get("checks", []) if not exact(check)]
    failed = [f"{line['run']}: {line['failed']}" for line in runs if "failed" in line]
    return "; ".join([*failed, *wrong]) or f"{len(runs)} runs, all exact"


def exact(check: dict[str, Any]) -> bool:
    return bool(check["counted"] == check["witness"])


if __name__ == "__main__":
    sys.exit(main())
