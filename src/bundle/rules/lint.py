"""What a rule must have before anybody is woken by it. Each problem names file and line."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bpfleet.errors import BundleError
from bundle.rules import expressions
from bundle.rules.expressions import Reading
from bundle.rules.known import GAUGE, Series, series
from bundle.rules.model import Rule, RuleFile
from bundle.rules.writing import ANNOTATIONS, NAMESPACE, RUNBOOKS

SEVERITIES = ("critical", "warning", "info")
REQUIRED = ("summary", "description", "runbook_url", "dashboard_url")
FORBIDDEN = ("pod", "instance")
"""An alert that carries them is another one after each restart."""

DASHBOARDS = frozenset(
    f"bpfleet-{name}"
    for name in ("overview", "namespace", "workload", "network", "requests", "topology", "agent", "flux", "security")
)

_DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
_ALERT = re.compile(r"[A-Z][A-Za-z0-9]{2,62}")
_RECORD = re.compile(r"[a-z]+:[a-z0-9_]+:[a-z0-9_]+")
_DASHBOARD = re.compile(r"/d/([a-z0-9-]{1,40})\?var-namespace=\S+")
_LABEL = re.compile(r"\$labels\.([A-Za-z_][A-Za-z0-9_]*)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)


def problems(root: Path, files: Sequence[RuleFile]) -> list[str]:
    """Of all files together, because rules read what others record. root: for the runbooks."""
    known = recorded(files)
    found = [problem for file in files for problem in _of_object(file)]
    for file in files:
        for rule in file.rules:
            found += _of_rule(rule, known, root)
    return found + list(_twice(files))


def recorded(files: Sequence[RuleFile]) -> dict[str, Series]:
    """What is known, with the series that the rules record. A rule may read another's result, so this goes on until no
    rule adds a label."""
    known = series()
    rules = [rule for file in files for rule in file.rules if not rule.is_alert]
    for rule in rules:
        known[rule.name] = Series(GAUGE, frozenset())
    grown = True
    while grown:
        grown = False
        for rule in rules:
            labels = known[rule.name].labels | frozenset(rule.labels) | _labels(rule, known)
            if labels != known[rule.name].labels:
                known[rule.name], grown = Series(GAUGE, labels), True
    return known


def _labels(rule: Rule, known: Mapping[str, Series]) -> frozenset[str]:
    try:
        return Reading(known).labels(expressions.parse(rule.expression))
    except BundleError:
        return frozenset()


def _of_object(file: RuleFile) -> Iterator[str]:
    metadata = file.document.value.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("namespace") != NAMESPACE:
        yield f"{file.document.place(('metadata', 'namespace'))}: the namespace of rules is {NAMESPACE}"
    for key, value in ANNOTATIONS.items():
        if (metadata.get("annotations") or {}).get(key) != value:
            yield f"{file.document.place(('metadata', 'annotations'))}: the annotation {key}: {value} is missing"


def _of_rule(rule: Rule, known: Mapping[str, Series], root: Path) -> Iterator[str]:
    at = rule.place("expr")
    try:
        expression = expressions.parse(rule.expression)
    except BundleError as error:
        yield f"{at}: {rule.name}: {error}"
        return
    reading = Reading(known)
    labels = reading.labels(expression)
    yield from (f"{at}: {rule.name}: {problem}" for problem in reading.problems)
    if not rule.is_alert:
        if not _RECORD.fullmatch(rule.name):
            yield f"{rule.place('record')}: {rule.name}: a recorded series is named level:metric:operation"
        return
    if not expressions.compares(expression):
        yield f"{at}: {rule.name}: no comparison that decides: an alert says what is too much"
    for label in FORBIDDEN:
        if label in labels:
            yield f"{at}: {rule.name}: its result has the label {label}, which changes with each restart"
    yield from _of_alert(rule, labels, root)


def _of_alert(rule: Rule, labels: frozenset[str], root: Path) -> Iterator[str]:
    name = rule.name
    if not _ALERT.fullmatch(name):
        yield f"{rule.place('alert')}: {name}: an alert is named in CamelCase"
    if not _DURATION.fullmatch(rule.lasts):
        yield f"{rule.place('for')}: {name}: `for` is missing or no duration"
    if rule.labels.get("severity") not in SEVERITIES:
        yield f"{rule.place('labels')}: {name}: severity is one of {', '.join(SEVERITIES)}"
    if not rule.labels.get("team"):
        yield f"{rule.place('labels')}: {name}: the label team is missing"
    for key in REQUIRED:
        if not rule.annotations.get(key):
            yield f"{rule.place('annotations')}: {name}: no {key}"
    carried = labels | frozenset(rule.labels) | {"alertname"}
    for key, text in (*rule.annotations.items(), *rule.labels.items()):
        for label in _LABEL.findall(text):
            if label not in carried:
                part = "annotations" if key in rule.annotations else "labels"
                yield f"{rule.place(part, key)}: {name}: {key} uses the label {label}, which the result does not have"
    if url := rule.annotations.get("runbook_url"):
        yield from (
            f"{rule.place('annotations', 'runbook_url')}: {name}: {each}" for each in _of_runbook(rule, url, root)
        )
    if url := rule.annotations.get("dashboard_url"):
        found = _DASHBOARD.fullmatch(url.replace("{{ ", "{{").replace(" }}", "}}"))
        if not found or found[1] not in DASHBOARDS:
            yield (
                f"{rule.place('annotations', 'dashboard_url')}: {name}: a path /d/UID?var-namespace=... is allowed, of "
                f"{', '.join(sorted(DASHBOARDS))}"
            )


def _of_runbook(rule: Rule, url: str, root: Path) -> Iterator[str]:
    file, _, anchor = url.removeprefix(RUNBOOKS).partition("#")
    path = root / "docs" / "runbooks" / file
    if not url.startswith(RUNBOOKS) or "/" in file or not path.is_file():
        yield f"no runbook {url}: it begins with {RUNBOOKS} and names a file of docs/runbooks"
    elif anchor != rule.name.lower():
        yield f"the runbook's anchor is the alert's name in lower case: #{rule.name.lower()}"
    elif anchor not in {heading.lower() for heading in _HEADING.findall(path.read_text("utf-8"))}:
        yield f"docs/runbooks/{file} has no heading {rule.name}"


def _twice(files: Sequence[RuleFile]) -> Iterator[str]:
    """An alert has one rule in each object: two would resolve each other."""
    for file in files:
        seen: set[str] = set()
        for rule in file.rules:
            if rule.is_alert and rule.name in seen:
                yield f"{rule.place('alert')}: {rule.name}: there is another rule of this name"
            seen.add(rule.name)
