"""`bpfleet dashboards build | check`."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bpfleet.cli import Command
from bpfleet.errors import BundleError
from bundle import places

DIRECTORY = Path("infrastructure/grafana/dashboards")
"""Below the root of a bundle."""


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bpfleet dashboards", description=DASHBOARDS.help)
    parser.add_argument("--directory", type=Path, help=f"where the files are (default: the bundle's {DIRECTORY})")
    actions = parser.add_subparsers(dest="action", required=True)
    made = actions.add_parser("build", help="write the files from the boards")
    made.add_argument("--check", action="store_true", help="change nothing, say whether the files are up to date")
    actions.add_parser("check", help="queries, labels, units, layout of every file there")
    options = parser.parse_args(arguments)
    directory = options.directory or places.root(Path.cwd()) / DIRECTORY
    if options.action == "check":
        return _check(directory)
    return _compare(directory) if options.check else _build(directory)


def texts() -> Mapping[str, str]:
    """File names and what is to be in them."""
    from bundle.dashboards import render
    from bundle.dashboards.boards import BOARDS

    return {f"{board.uid}.json": render.text(board) for board in BOARDS}


def _build(directory: Path) -> int:
    made = texts()
    try:
        for name, text in made.items():
            (directory / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise BundleError(f"{error.filename}: {error.strerror}") from error
    print(f"{len(made)} dashboards in {directory}")
    return 0


def _compare(directory: Path) -> int:
    made = texts()
    there = {file.name: file.read_text("utf-8") for file in _files(directory)}
    stale = [f"{directory / name}: not what its board says" for name in made if there.get(name) != made[name]]
    stale += [f"{directory / name}: no board makes it" for name in there if name not in made]
    for line in stale:
        print(line, file=sys.stderr)
    if stale:
        print("run `bpfleet dashboards build`", file=sys.stderr)
    return 1 if stale else 0


def _check(directory: Path) -> int:
    from bundle.dashboards.check import panels, problems, queries

    files = _files(directory)
    if not files:
        raise BundleError(f"{directory}: no dashboard is here")
    found = problems(files)
    for problem in found:
        print(problem, file=sys.stderr)
    if found:
        return 1
    boards = [json.loads(file.read_text("utf-8")) for file in files]
    count = [sum(len(list(what(board))) for board in boards) for what in (panels, queries)]
    print(f"ok: {len(files)} dashboards, {count[0]} panels, {count[1]} queries")
    return 0


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.json"))


DASHBOARDS = Command("Grafana's dashboards: build them from the boards, check the files.", _main)
