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
    *("kernel.python", "kernel.cache", "kernel.cgroup_root", "plugins.dir"),
    *("sinks.otlp.ca_file", "sinks.otlp.certificate_file", "sinks.otlp.key_file", "sinks.otlp.token_file"),
    *("sinks.syslog.ca_file", "sinks.syslog.certificate_file", "sinks.syslog.key_file"),
)
"""What the chart decides from its other values: mounts, Secrets, the node. Given as a setting it would be overruled in
silence, so the schema refuses it there."""


def page() -> str:
    frame = yaml.safe_load(FRAME.read_text("utf-8"))
    frame["properties"]["settings"] = settings_schema()
    return (
        json.dumps({"$comment": f"Made by `make docs` from {FRAME} and src/agent/settings.py."} | frame, indent=2)
        + "\n"
    )


def settings_schema() -> dict[str, Any]:
    """Without what the chart decides, and without `$schema`, which only a document's root has."""
    made = settings.schema()
    del made["$schema"], made["title"]
    for name in OWNED:
        *sections, last = name.split(".")
        section = made
        for each in sections:
            section = section["properties"][each]
        del section["properties"][last]
    return made


PAGE = generated.Page("agent.chart", Path("apps/agent/chart/values.schema.json"), f"{FRAME} and the settings say", page)

if __name__ == "__main__":
    sys.exit(PAGE.main())
