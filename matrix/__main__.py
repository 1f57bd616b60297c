"""`make matrix`: the agent on other kernels, under QEMU, with a known load. Writes build/matrix.json, docs/kernels.md.

Each kernel is booted four times (as it is, with less than all capabilities, and with the two kinds of lockdown), one
guest at a time. Where the processor has no virtualisation all of it is emulated, and takes an hour on an idle
machine. Results are kept boot by boot: a run of some leaves the others as they were.

Usage: python -m matrix [--refresh] [--boots NAME,...] [SERIES...]
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matrix.archive import Archive, Unavailable

from agent.collectors import BUILT_IN
from agent.kernel import facts
from matrix import disks, emulators, guests, kernels, page

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "build" / "matrix.json"
PAGE = REPOSITORY / "docs" / "kernels.md"
ARCHITECTURE = "amd64"

Boots = Mapping[str, tuple[str, ...]]
"""By name: parameters of the kernel."""

BOOTS: Boots = {
    "plain": (),
    "capabilities": ("matrix.arguments=capabilities",),
    "integrity": ("lockdown=integrity",),
    "confidentiality": ("lockdown=confidentiality",),
}
"""The load runs in each; in the second one once without each of the capabilities."""

COMPLETE = ("all", "the four")
"""Runs with every capability that the agent has use for: only lockdown and a kernel's age may keep a collector off."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m matrix", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--refresh", action="store_true", help="fetch the newest kernel of each series anew")
    parser.add_argument(
        "--boots", default=",".join(BOOTS), metavar="NAME,...", help=f"of {', '.join(BOOTS)}; all by default"
    )
    parser.add_argument("series", nargs="*", metavar="SERIES", help=f"of {', '.join(kernels.SERIES)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.series) - set(kernels.SERIES):
        parser.error(f"unknown series {', '.join(sorted(unknown))}")
    names = arguments.boots.split(",")
    if unknown := set(names) - set(BOOTS):
        parser.error(f"unknown boots {', '.join(sorted(unknown))}")
    wanted, boots = arguments.series or kernels.SERIES, {name: BOOTS[name] for name in names}
    all_exact = True
    try:
        for found in boot_all(wanted, boots, RESULTS.parent / "matrix", arguments.refresh):
            write(found)
            all_exact &= not any(wrong(lines) for kernel in found.values() for lines in kernel["boots"].values())
    except (Unavailable, guests.Broken) as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 1
    return 0 if all_exact else 1


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfleet" / "matrix"


def boot_all(
    wanted: Sequence[str], boots: Boots, output: Path, refresh: bool = False
) -> Iterator[dict[str, dict[str, Any]]]:
    """After each boot, by series, what it reported. output: a directory for the guests' consoles. Raises Unavailable,
    and guests.Broken."""
    archive = Archive(cache() / "archive", ARCHITECTURE)
    emulator = emulators.emulator(cache(), archive)
    root = disks.root_disk(cache(), archive)
    about = {"qemu": emulator.version, "kvm": emulators.accelerates()}
    for series in wanted:
        kernel = kernels.kernel(series, cache() / "kernels", archive, refresh)
        with tempfile.TemporaryDirectory(prefix="bpfleet-matrix-") as scratch:
            three = disks.initrd(kernel, Path(scratch, "initrd")), root, disks.tree(Path(scratch, "tree"))
            for name, parameters in boots.items():
                begun = time.monotonic()
                lines = guests.boot(emulator, kernel, three, output / f"{series}-{name}", parameters)
                said = "; ".join(wrong(lines)) or "exact"
                print(f"{kernel.release} {name}: {said} ({time.monotonic() - begun:.0f} s)", flush=True)
                yield {series: {"release": kernel.release, **about, "boots": {name: lines}}}


def wrong(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a boot has shown that must not be."""
    found = [f"{line['run']}: {line['failed']}" for line in lines if "failed" in line]
    for line in lines:
        found += missing(line, lines[0]["lockdown"], lines[0]["release"]) if line.get("run") in COMPLETE else []
        checks = line.get("checks", ())
        found += [f"{line['run']}: {check['what']}" for check in checks if check["counted"] != check["witness"]]
    return found


def missing(line: Mapping[str, Any], lockdown: str, release: str) -> list[str]:
    """Collectors that do not run although they have all that they could ask for: nothing of them was checked."""
    version = facts.version(release)
    served = [kind.name for kind in BUILT_IN if version >= facts.version(kind.since)]
    needed = ["traffic"] if lockdown == "confidentiality" else served
    up = {name for name, state in line.get("collectors", {}).items() if state["up"]}
    return [f"{line['run']}: {name} does not run" for name in needed if name not in up]


def write(found: Mapping[str, Any]) -> None:
    """What was run before stays in the results, and on the page, unless it was of another version of a kernel."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for series, kernel in found.items():
        before = results.get(series, {})
        kept = before["boots"] if before.get("release") == kernel["release"] else {}
        results[series] = {**kernel, "boots": {**kept, **kernel["boots"]}}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page.page(results))


if __name__ == "__main__":
    sys.exit(main())
