"""Writes the chart's README.md from the comments in its values.yaml: `python -m bundle.chart.readme [--check]`.

A comment that begins with `# --` is the line of the value below it, one that begins with `##` a heading. A value
without a comment of its own has its line, too: its name says enough.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from bpfleet import generated
from bpfleet.errors import BundleError
from bundle.chart.rendering import CHART, NAME, NAMESPACE

VALUES = CHART / "values.yaml"
INTRODUCTION = f"""\
# {NAME}

<!-- Made by `make docs` from values.yaml: change that, not this page. -->

The agent on every node: a DaemonSet with three capabilities, its settings, and what a Prometheus needs to find it.

    helm upgrade --install {NAME} {CHART} --namespace {NAMESPACE} --create-namespace
    kubectl --namespace {NAMESPACE} rollout status daemonset/{NAME}
    helm test {NAME} --namespace {NAMESPACE}

The namespace has to allow pods that mount directories of the host (Pod Security `privileged`): `apps/agent/namespace`
is one. `docs/deploying.md` tells the ways without Helm and with Flux; `ci/` has a file for each combination that is
tested. What is not a value below is refused with its name.
"""

DESCRIBED = "# --"
HEADING = "## "


@dataclass(frozen=True)
class Row:
    """One value: its dotted name, its default as YAML has it, what the comment says."""

    heading: str
    name: str
    default: str
    text: str


def rows(text: str) -> Iterator[Row]:
    """Raises BundleError."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BundleError(f"{VALUES}:{line}: not valid YAML: {error.problem}") from error
    if not isinstance(root, yaml.MappingNode):
        raise BundleError(f"{VALUES}:1: not a mapping")
    lines = text.splitlines()
    headings = {number: line.removeprefix(HEADING) for number, line in enumerate(lines) if line.startswith(HEADING)}
    for key, name, value in _leaves(root, ""):
        before = [said for number, said in headings.items() if number < key.start_mark.line]
        comment = _comment(lines, key.start_mark.line)
        if isinstance(value, yaml.MappingNode) and value.value and not comment:
            continue
        yield Row(before[-1] if before else "", name, _default(value, bool(comment)), comment)


def _leaves(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[yaml.Node, str, yaml.Node]]:
    """Every key with its name and value; mappings first, then what is in them."""
    for key, value in node.value:
        name = prefix + key.value
        yield key, name, value
        if isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _leaves(value, f"{name}.")


def _comment(lines: list[str], line: int) -> str:
    """What the comment right above says of this line; empty where that is not about a value."""
    said: list[str] = []
    for above in reversed(lines[:line]):
        stripped = above.strip()
        if not stripped.startswith("#") or stripped.startswith(HEADING):
            break
        said.insert(0, stripped.removeprefix("#").strip())
        if stripped.startswith(DESCRIBED):
            said[0] = stripped.removeprefix(DESCRIBED).strip()
            return " ".join(said)
    return ""


def _default(node: yaml.Node, described: bool) -> str:
    """Of a mapping that has lines of its own below, nothing."""
    if described and isinstance(node, yaml.MappingNode) and node.value:
        return ""
    value: Any = yaml.SafeLoader("").construct_document(node)
    return f"`{json.dumps(value)}`"


def page() -> str:
    parts = [INTRODUCTION]
    heading = None
    for row in rows(VALUES.read_text("utf-8")):
        if row.heading != heading:
            heading = row.heading
            parts.append(f"\n## {heading}\n\n| Value | Default | |\n| --- | --- | --- |\n")
        cells = (f"`{row.name}`", row.default, row.text)
        parts.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n")
    return "".join(parts)


PAGE = generated.Page("bundle.chart.readme", CHART / "README.md", "values.yaml says", page)

if __name__ == "__main__":
    sys.exit(PAGE.main())
