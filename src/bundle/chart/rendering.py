"""A chart and values in, manifests out."""

from collections.abc import Sequence
from pathlib import Path

from bundle import tools

CHART = Path("apps/agent/chart")
NAME = "bpfleet-agent"
NAMESPACE = "bpfleet"
KUBERNETES = "1.36.0"
"""What a chart may ask for where there is no cluster to ask."""


def render(chart: Path, values: Sequence[Path] = (), *more: str, name: str = NAME, tests: bool = True) -> str:
    """values: files, the later one wins. tests: with what `helm test` runs. more: options of `helm template`. Raises
    ToolError with Helm's complaint: a value that the schema does not allow is named."""
    options = [f"--values={file}" for file in values]
    if not tests:
        options.append("--skip-tests")
    return tools.run(
        *("helm", "template", name, chart, "--namespace", NAMESPACE, "--kube-version", KUBERNETES), *options, *more
    )
