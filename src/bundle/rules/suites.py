"""Unit tests of rules: run by promtool, and counted: which alert has which.

promtool does not read PrometheusRule objects. So a copy of policies/ is made in which each file of rules is plain; the
tests beside them name their files as they stand in the repository.
"""

import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from bpfleet import documents
from bpfleet.errors import BundleError
from bundle import tools
from bundle.rules import expressions
from bundle.rules.model import POLICIES, TESTS, RuleFile

_APPEARS = re.compile(r"_(x\d+)?(\s+_(x\d+)?)*\s+1([\s+x-].*)?", re.DOTALL)
"""Not there, then 1."""

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

ASSERTED = ("exp_labels", "exp_annotations")


@dataclass
class Coverage:
    """Places of the tests of one alert, by what they show. read: the series that it is made of."""

    read: frozenset[str] = frozenset()
    positive: list[str] = field(default_factory=list)
    negative: list[str] = field(default_factory=list)
    appearing: list[str] = field(default_factory=list)


def test_files(root: Path) -> list[Path]:
    """From the root."""
    return sorted(path.relative_to(root) for path in (root / POLICIES).glob(f"**/{TESTS}/*.yaml"))


def run(root: Path, files: Sequence[RuleFile], tests: Sequence[Path]) -> list[str]:
    """What promtool complains of, with the repository's names."""
    with tempfile.TemporaryDirectory(prefix="bpfleet-rules-") as name:
        copy = Path(name)
        for file in files:
            _write(copy / file.path, yaml.safe_dump(dict(file.plain), sort_keys=False, allow_unicode=True))
        for test in tests:
            _write(copy / test, (root / test).read_text("utf-8"))
        asked = [tools.ask("promtool", "check", "rules", *(file.path for file in files), cwd=copy)]
        if not asked[0].returncode:
            run_one = partial(tools.ask, "promtool", "test", "rules", cwd=copy)
            with ThreadPoolExecutor() as at_once:  # promtool takes one after the other, on one CPU
                asked += at_once.map(run_one, tests)
    said = [each.stdout + each.stderr for each in asked if each.returncode]
    return [f"promtool: {line}" for text in said for line in text.replace(f"{name}/", "").splitlines() if line.strip()]


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")


def problems(root: Path, files: Sequence[RuleFile], tests: Sequence[Path]) -> list[str]:
    """Alerts without the tests that each must have, and tests that show nothing."""
    alerts = {rule.name: rule for file in files for rule in file.rules if rule.is_alert}
    coverage = {name: Coverage(read=read) for name, read in _read(files).items()}
    found: list[str] = []
    for test in tests:
        for document in documents.read(root / test):
            named = documents.Document(test, document.value, document.node)
            found += _cover(named, coverage)
    for name, covered in coverage.items():
        for kind, places, meaning in (
            ("positive", covered.positive, "that it fires, with labels and annotations"),
            ("negative", covered.negative, "that it does not fire"),
            ("appearing", covered.appearing, "what it does where a series appears with 1 (`_x10 1x10`)"),
        ):
            if not places:
                found.append(
                    f"{alerts[name].place('alert')}: {name}: no {kind} test in {TESTS}/: one that shows {meaning}"
                )
    return found


def _read(files: Sequence[RuleFile]) -> dict[str, frozenset[str]]:
    """By alert: the series it reads, and those that the recorded ones among them are made of."""
    made: dict[str, frozenset[str]] = {}
    alerts: dict[str, frozenset[str]] = {}
    for rule in (rule for file in files for rule in file.rules):
        try:
            read = expressions.names(expressions.parse(rule.expression))
        except BundleError:  # lint tells of it
            read = frozenset()
        where = alerts if rule.is_alert else made
        where[rule.name] = where.get(rule.name, frozenset()) | read
    for name, read in alerts.items():
        while (more := read.union(*(made.get(each, frozenset()) for each in read))) != read:
            read = more
        alerts[name] = read
    return alerts


def _cover(document: documents.Document, coverage: dict[str, Coverage]) -> Iterator[str]:
    for keys, alert, appears in _assertions(document):
        place, name = document.place(keys), alert.get("alertname")
        if name not in coverage:
            yield f"{place}: no alert {name!r}"
            continue
        expected = alert.get("exp_alerts") or []
        if not isinstance(expected, list):
            raise BundleError(f"{place}: exp_alerts is a list")
        for one in expected:
            for part in ASSERTED:
                if not isinstance(one, dict) or not one.get(part):
                    yield f"{place}: {name}: the expected alert has no {part}"
        (coverage[name].positive if expected else coverage[name].negative).append(place)
        if appears & coverage[name].read:
            coverage[name].appearing.append(place)


def _assertions(document: documents.Document) -> Iterator[tuple[documents.Keys, dict[str, Any], frozenset[str]]]:
    """Each test of an alert: the way to it, what it says, and which series of its group appear with 1."""
    groups = document.value.get("tests") if isinstance(document.value, dict) else None
    if not isinstance(groups, list):
        raise BundleError(f"{document.place()}: a file of tests has a list `tests`")
    for number, group in enumerate(groups):
        if not isinstance(group, dict):
            raise BundleError(f"{document.place(('tests', number))}: a test is a mapping")
        series = group.get("input_series") or []
        appears = frozenset(
            name[0]
            for each in series
            if isinstance(each, dict) and _APPEARS.fullmatch(str(each.get("values", "")).strip())
            if (name := _METRIC.match(str(each.get("series", "")).strip()))
        )
        for index, alert in enumerate(group.get("alert_rule_test") or []):
            if isinstance(alert, dict):
                yield ("tests", number, "alert_rule_test", index), alert, appears
