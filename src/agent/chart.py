"""Writes the schema of the chart's values: `python -m agent.chart [--check]`, run by `make docs`.

What the settings may be it takes from their declarations; the rest of the values stands in apps/agent/schema.yaml.
"""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from agent import settings
from bpfleet import generated

FRAME = Path("apps/agent/schema.yaml")

OWNED = (
    *("listen", "node_name", "identity.kubernetes", "identity.kubeconfig", "identity.docker", "server"),
    *("kernel.python", "kernel.cache", "kernel.cgroup_root", "plugins.dir", "security.policies"),
    *("sinks.otlp.ca_file", "sinks.otlp.certificate_file", "sinks.otlp.key_file", "sinks.otlp.token_file"),
    *("sinks.syslog.ca_file", "sinks.syslog.certificate_file", "sinks.syslog.key_file"),
)
"""What the chart decides from its other values: mounts, Secrets, the node. Given as a setting it would be overruled in
silence, so the schema refuses it there."""

NEEDED = ("scrape_interval_seconds", "limits", "limits.series")
"""Settings that templates read too: a null takes the default of values.yaml away, and Helm would fail at a template's
line instead of naming the value."""


def page() -> str:
    return json.dumps(schema(), indent=2) + "\n"


def schema() -> dict[str, Any]:
    """The whole schema."""
    made: dict[str, Any] = {"$comment": f"Made by `make docs` from {FRAME} and src/agent/settings.py."}
    made |= yaml.safe_load(FRAME.read_text("utf-8"))
    _need_all(made)
    made["properties"]["settings"] = settings_schema()
    made["properties"]["global"] = {"description": "What Helm gives a chart that is part of another.", "type": "object"}
    return made


def _need_all(part: Any) -> None:
    """In each object that does not say which keys it needs."""
    if isinstance(part, dict):
        if isinstance(part.get("properties"), dict):
            part.setdefault("required", list(part["properties"]))
        for each in part.values():
            _need_all(each)
    elif isinstance(part, list):
        for each in part:
            _need_all(each)


def settings_schema() -> dict[str, Any]:
    """Without what the chart decides, and without `$schema`, which only a document's root has."""
    made = settings.schema()
    del made["$schema"], made["title"]
    for name in OWNED:
        section, last = _section_of(made, name)
        del section["properties"][last]
    for name in NEEDED:
        section, last = _section_of(made, name)
        section.setdefault("required", []).append(last)
    return made


def _section_of(made: dict[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The schema of the section that a setting is in, and its name there."""
    *sections, last = name.split(".")
    for each in sections:
        made = made["properties"][each]
    return made, last


PAGE = generated.Page("agent.chart", Path("apps/agent/chart/values.schema.json"), f"{FRAME} and the settings say", page)

if __name__ == "__main__":
    sys.exit(PAGE.main())
