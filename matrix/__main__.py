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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.archive import Archive, Unavailable

from matrix import disks, emulators, guests, kernels, page

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "build" / "matrix.json"
PAGE = REPOSITORY / "docs" / "kernels.md"
ARCHITECTURE = "amd64"

Boots = Mapping[str, tuple[str, ...]]
"""By name: parameters of the kernel."""

BOOTS: Boots = {
    "plain": ("matrix.arguments=capabilities",),
    "integrity": ("lockdown=integrity",),
    "confidentiality": ("lockdown=confidentiality",),
}
"""The load runs in each; in the first one also with less than all capabilities."""

QUICK: Boots = {"plain": ()}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refresh", action="store_true", help="fetch the newest kernel of each series anew")
    parser.add_argument("--quick", action="store_true", help="the load alone: no lockdown, all capabilities; no page")
    parser.add_argument("series", nargs="*", metavar="SERIES", help=f"of {', '.join(kernels.SERIES)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.series) - set(kernels.SERIES):
        parser.error(f"unknown series {', '.join(sorted(unknown))}")
    wanted, boots = arguments.series or kernels.SERIES, QUICK if arguments.quick else BOOTS
    try:
        found = boot_all(wanted, boots, RESULTS.parent / "matrix", arguments.refresh)
    except Unavailable as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    if not arguments.quick:
        write(found)
    return 1 if any(wrong(lines) for kernel in found.values() for lines in kernel["boots"].values()) else 0


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfleet" / "matrix"


def boot_all(wanted: Sequence[str], boots: Boots, output: Path, refresh: bool = False) -> dict[str, Any]:
    """By series what its boots reported. output: a directory for the guests' consoles. Raises Unavailable."""
    archive = Archive(cache() / "archive", ARCHITECTURE)
    emulator = emulators.emulator(cache(), archive)
    root = disks.root_disk(cache(), archive)
    found: dict[str, Any] = {}
    for series in wanted:
        kernel = kernels.kernel(series, cache() / "kernels", archive, refresh)
        reported: dict[str, list[dict[str, Any]]] = {}
        with tempfile.TemporaryDirectory(prefix="bpfleet-matrix-") as scratch:
            three = disks.initrd(kernel, Path(scratch, "initrd")), root, disks.tree(Path(scratch, "tree"))
            for name, parameters in boots.items():
                begun = time.monotonic()
                reported[name] = guests.boot(emulator, kernel, three, output / f"{series}-{name}", parameters)
                said = "; ".join(wrong(reported[name])) or "exact"
                print(f"{kernel.release} {name}: {said} ({time.monotonic() - begun:.0f} s)", flush=True)
        found[series] = {
            "release": kernel.release,
            "qemu": emulator.version,
            "kvm": emulators.accelerates(),
            "boots": reported,
        }
    return found


def wrong(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a boot has shown that must not be."""
    found = [f"{line['run']}: {line['failed']}" for line in lines if "failed" in line]
    for line in lines:
        checks = line.get("checks", ())
        found += [f"{line['run']}: {check['what']}" for check in checks if check["counted"] != check["witness"]]
    return found


def write(found: Mapping[str, Any]) -> None:
    """What was run before of other kernels stays in the results, and on the page."""
    before = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results = {**before, **found}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page.page(results))


if __name__ == "__main__":
    sys.exit(main())
