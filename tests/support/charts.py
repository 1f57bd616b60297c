"""The agent's chart as tests see it: rendered once for each combination of values."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from bpfleet import documents
from bpfleet.errors import ToolError
from bundle import tools
from bundle.chart import rendering

ROOT = Path(__file__).parents[2]
AGENT = ROOT / "apps/agent"
CHART = ROOT / rendering.CHART
CI = CHART / "ci"
SUFFIX = "-values.yaml"
COMBINATIONS = sorted(file.name.removesuffix(SUFFIX) for file in CI.iterdir())
Objects = dict[str, dict[str, Any]]


@cache
def rendered(combination: str) -> str:
    return rendering.render(CHART, [values_file(combination)])


def values_file(combination: str) -> Path:
    return CI / f"{combination}{SUFFIX}"


def needed() -> None:
    """Skips where the programs are not that render."""
    for name in ("helm", "kubectl"):
        try:
            tools.find(name)
        except ToolError as error:
            pytest.skip(str(error))


def objects(text: str) -> Objects:
    """By kind, of which a chart has one each: the hook's Pod and the DaemonSet are two kinds. Anew for each caller."""
    return deepcopy(_parsed(text))


@cache
def _parsed(text: str) -> Objects:
    found = [document.value for document in documents.parse(text, Path("rendered"))]
    assert len({each["kind"] for each in found}) == len(found)
    return {each["kind"]: each for each in found}


@cache
def built(overlay: str) -> tuple[dict[str, Any], ...]:
    """What kustomize makes of a directory of apps/agent."""
    text = tools.run("kubectl", "kustomize", AGENT / overlay)
    return tuple(each.value for each in documents.parse(text, Path(overlay)))


def pod(made: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = made["DaemonSet"]["spec"]["template"]["spec"]
    return spec


def container(made: Objects) -> dict[str, Any]:
    (only,) = pod(made)["containers"]
    return dict(only)


def defaults() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    return loaded
