"""PrometheusRules as the repository has them: each rule with its place, and the plain form that promtool reads."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet import documents
from bpfleet.documents import Document, Keys
from bpfleet.errors import BundleError

KIND = "PrometheusRule"
POLICIES = Path("policies")
TESTS = "tests"
"""Directory beside rules that holds their unit tests."""

GROUPS = ("spec", "groups")


@dataclass(frozen=True)
class Rule:
    """name: of the series or the alert. keys: the way to it in its document."""

    document: Document
    keys: Keys
    name: str
    is_alert: bool
    expression: str
    lasts: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def place(self, *keys: str) -> str:
        return self.document.place((*self.keys, *keys))


@dataclass(frozen=True)
class RuleFile:
    """path: from the root."""

    path: Path
    document: Document
    rules: tuple[Rule, ...]

    @property
    def plain(self) -> Mapping[str, Any]:
        """What Prometheus reads: the object's groups without the object."""
        return {"groups": self.document.value["spec"]["groups"]}


def files(root: Path) -> list[RuleFile]:
    """All of policies/. Raises BundleError with each mistake of form, its file and line."""
    problems: list[str] = []
    found: list[RuleFile] = []
    for path in sorted((root / POLICIES).rglob("*.yaml")):
        if TESTS in path.relative_to(root).parts[:-1] or "cases" in path.relative_to(root).parts[:-1]:
            continue
        for document in documents.read(path):
            if isinstance(document.value, dict) and document.value.get("kind") == KIND:
                named = Document(path.relative_to(root), document.value, document.node)
                try:
                    found.append(RuleFile(named.file, named, tuple(_rules(named))))
                except BundleError as error:
                    problems.append(str(error))
    if problems:
        raise BundleError("\n".join(problems))
    if not found:
        raise BundleError(f"{root / POLICIES}: no {KIND} in any file")
    return found


def _rules(document: Document) -> Iterator[Rule]:
    spec = document.value.get("spec")
    groups = spec.get("groups") if isinstance(spec, dict) else None
    if not isinstance(groups, list) or not groups:
        raise BundleError(f"{document.place(GROUPS)}: spec.groups is a list of at least one group")
    problems: list[str] = []
    for number, group in enumerate(groups):
        keys = (*GROUPS, number)
        rules = group.get("rules") if isinstance(group, dict) else None
        if not isinstance(rules, list) or not rules:
            problems.append(f"{document.place(keys)}: a group has a list of at least one rule")
            continue
        for index, value in enumerate(rules):
            at = (*keys, "rules", index)
            problem = _form(value)
            if problem:
                problems.append(f"{document.place(at)}: {problem}")
            else:
                yield _rule(document, at, value)
    if problems:
        raise BundleError("\n".join(problems))


ALLOWED = ("record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations")


def _form(value: Any) -> str:
    """What is wrong with a rule, before its expression is looked at; empty if nothing is."""
    if not isinstance(value, dict):
        return "a rule is a mapping"
    unknown = [str(key) for key in value if key not in ALLOWED]
    if unknown:
        return f"unknown: {', '.join(unknown)}; there are {', '.join(ALLOWED)}"
    if ("record" in value) == ("alert" in value):
        return "a rule has either record or alert"
    for key in ("record", "alert", "expr", "for"):
        if key in value and not (isinstance(value[key], str) and value[key].strip()):
            return f"{key} is a text"
    if "expr" not in value:
        return "expr is missing"
    for key in ("labels", "annotations"):
        found = value.get(key, {})
        if not isinstance(found, dict) or not _are_texts(found.values()) or not _are_texts(found):
            return f"{key} is a mapping of texts"
    return ""


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _rule(document: Document, keys: Keys, value: Mapping[str, Any]) -> Rule:
    is_alert = "alert" in value
    return Rule(
        document,
        keys,
        value["alert" if is_alert else "record"],
        is_alert,
        value["expr"],
        value.get("for", ""),
        value.get("labels", {}),
        value.get("annotations", {}),
    )
