"""PrometheusRule objects as YAML, for generators."""

from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

import yaml

NAMESPACE = "monitoring"
LABELS = {"app.kubernetes.io/part-of": "bpfleet"}
ANNOTATIONS = {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}
"""Flux would read a `${` of a rule as a variable of its own."""

RUNBOOKS = "https://github.com/bpfleet/bpfleet/blob/main/docs/runbooks/"
WIDTH = 120

Rule = Mapping[str, Any]


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Dumper.add_representer(str, _text)


def prometheus_rule(name: str, groups: Sequence[Mapping[str, Any]], header: str) -> str:
    """header: the comment on top, without `#`."""
    value = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": LABELS, "annotations": ANNOTATIONS},
        "spec": {"groups": list(groups)},
    }
    comment = "".join(f"# {line}\n" for line in header.splitlines())
    return comment + yaml.dump(value, Dumper=Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)


def record(name: str, expression: str, **labels: str) -> Rule:
    return {"record": name, "expr": _expression(expression)} | ({"labels": labels} if labels else {})


def alert(
    name: str,
    expression: str,
    lasts: str,
    severity: str,
    runbook: str,
    dashboard: str,
    summary: str,
    description: str,
    team: str = "platform",
) -> Rule:
    """runbook: its file's stem."""
    return {
        "alert": name,
        "expr": _expression(expression),
        "for": lasts,
        "labels": {"severity": severity, "team": team},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"{RUNBOOKS}{runbook}.md#{name.lower()}",
            "dashboard_url": dashboard,
        },
    }


def _expression(text: str) -> str:
    return "\n".join(line.rstrip() for line in dedent(text).strip().splitlines())
