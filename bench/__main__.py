"""`make bench`: the goals of cost, measured side by side in one run. Prints a table and writes build/bench.json.

Times on a shared machine mean little by themselves; ratios are of pairs of windows a quarter of a second apart, and the
A/A rows say what the machine alone does to such a ratio.

Usage: python -m bench [--quick] [PART...]
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from bench import agents, bystanders, egresses, endurance, execs, images, parsers, paths, requests, rows
from bench.rows import Row

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "build" / "bench.json"
PAIRS, QUICK_PAIRS = 80, 12

Part = Callable[[Path, bool], Iterator[Row]]


def scrapes(folder: Path, quick: bool) -> Iterator[Row]:
    """In a process of its own: C5 and C6 are about a fresh one."""
    argv = [sys.executable, "-m", "bench.scrape", *(["--quick"] if quick else [])]
    said = subprocess.run(argv, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    for line in said.splitlines():
        found = json.loads(line)
        known = {name: found.pop(name) for name in ("goal", "name", "unit", "median", "q1", "q3", "n", "limit")}
        yield Row(**known, facts=found)


def egresses_of(folder: Path, quick: bool) -> Iterator[Row]:
    yield from egresses.runs(folder)
    yield from egresses.measure(folder, QUICK_PAIRS if quick else PAIRS)


def execs_of(folder: Path, quick: bool) -> Iterator[Row]:
    yield from execs.measure(folder, QUICK_PAIRS if quick else PAIRS)
    yield from execs.runs(folder)
    yield from execs.flood(folder)


PARTS: dict[str, Part] = {
    "requests": lambda folder, quick: requests.measure(folder, QUICK_PAIRS if quick else PAIRS),
    "paths": paths.measure,
    "bystanders": lambda folder, quick: bystanders.measure(QUICK_PAIRS if quick else PAIRS),
    "execs": execs_of,
    "egresses": egresses_of,
    "scrapes": scrapes,
    "agents": agents.measure,
    "images": images.measure,
    "parsers": lambda folder, quick: parsers.measure(quick),
    "endurance": lambda folder, quick: endurance.measure(quick),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="a few minutes: shows that it works, proves nothing")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all if none is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}")
    if os.geteuid():
        print("bench needs root: it loads BPF programs and makes cgroups and namespaces", file=sys.stderr)
        return 1
    begun, measured, failed = time.monotonic(), [], []
    for name in arguments.parts or PARTS:
        print(f"# {name} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="bpfleet-bench-") as folder:
            os.chmod(folder, 0o755)  # nginx' worker reads it
            try:
                for row in PARTS[name](Path(folder), arguments.quick):
                    measured.append(row)
                    print(row.as_json(), file=sys.stderr, flush=True)
            except Exception as error:  # one part's failure is its own; the others still tell something
                failed.append(f"{name}: {type(error).__name__}: {error}")
                print(f"# {failed[-1]}", file=sys.stderr, flush=True)
    write(measured, failed, arguments.quick, time.monotonic() - begun)
    print(rows.table(measured))
    return 1 if failed else 0


def write(measured: list[Row], failed: list[str], quick: bool, seconds: float) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"kernel": platform.release(), "machine": platform.machine(), "cpus": os.cpu_count()}
    found = [{**asdict(row), "met": row.met} for row in measured]
    report = {"machine": machine, "quick": quick, "seconds": round(seconds), "failed": failed, "rows": found}
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
