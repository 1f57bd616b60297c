"""Writes apps/agent/plain/agent.yaml, the chart as manifests: `python -m bundle.chart.plain [--check]`."""

import re
import sys
from pathlib import Path

from bpfleet import generated
from bundle.chart.rendering import CHART, render

DIRECTORY = Path("apps/agent/plain")
HEAD = f"""\
# Made by `python -m bundle.chart.plain` from {CHART} and {DIRECTORY}/values.yaml: change those, not this file.
"""

HELMS = re.compile(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
"""Labels that say whose release this is: nobody's."""


def manifests() -> str:
    """Raises ToolError."""
    return HEAD + HELMS.sub("", render(CHART, [DIRECTORY / "values.yaml"], tests=False))


PAGE = generated.Page("bundle.chart.plain", DIRECTORY / "agent.yaml", f"{CHART} says", manifests)

if __name__ == "__main__":
    sys.exit(PAGE.main())
