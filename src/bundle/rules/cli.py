"""`bpfleet rules`: checks and tests of the rules under policies/."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bpfleet.cli import OK, Command
from bpfleet.errors import BundleError


def _rules(arguments: Sequence[str]) -> int:
    from bundle import places
    from bundle.rules import lint, model, suites

    wanted = _parse(arguments)
    root = places.root(wanted.root)
    files = model.files(root)
    rules = sum(len(file.rules) for file in files)
    problems = lint.problems(root, files)
    if wanted.what == "check":
        return _told(problems, f"{rules} rules in {len(files)} files are good")
    tests = suites.test_files(root)
    problems += suites.problems(root, files, tests)
    problems += suites.run(root, files, tests)
    alerts = {rule.name for file in files for rule in file.rules if rule.is_alert}
    return _told(problems, f"{rules} rules in {len(files)} files pass; each of {len(alerts)} alerts is tested")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bpfleet rules", description=RULES.help)
    parser.add_argument("--root", type=Path, default=Path(), help="directory in the bundle (default: this one)")
    parser.add_argument(
        "what",
        choices=("check", "test"),
        help="check: names of metrics and labels, and what each alert must have; test: that, promtool's own checks, "
        "the unit tests, and whether each alert has them",
    )
    return parser.parse_args(arguments)


def _told(problems: Sequence[str], good: str) -> int:
    if problems:
        raise BundleError("\n".join(problems))
    print(good)
    return OK


RULES = Command("Check and test the rules of the bundle.", _rules)
