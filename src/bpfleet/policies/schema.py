"""The JSON Schema of a policy, for editors: `python -m bpfleet.policies.schema [--check]` writes it into docs/.

It says less than the reader: it knows no patterns that can never match, and no names that stand twice.
"""

import json
import sys
from pathlib import Path
from typing import Any

from bpfleet import generated
from bpfleet.policies import cases, fields, reading
from bpfleet.policies.fields import Field
from bpfleet.policies.model import SEVERITIES


def schema() -> dict[str, Any]:
    """2020-12."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bpfleet security policy",
        **_mapping(
            {
                "version": {"const": reading.VERSION},
                "name": _name(),
                "description": {"type": "string"},
                "scope": _scope(),
                "rules": {"type": "array", "minItems": 1, "items": {"anyOf": [_rule(each) for each in fields.EVENTS]}},
                "tests": {"type": "array", "items": _case()},
            },
            ("version", "name", "rules"),
        ),
    }


def _mapping(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "additionalProperties": False, "properties": properties, **needed}


def _name() -> dict[str, Any]:
    return {"type": "string", "pattern": f"^{reading.NAME.pattern}$"}


def _one_or_more(value: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [value, {"type": "array", "minItems": 1, "maxItems": reading.MAX_VALUES, "items": value}]}


def _scope() -> dict[str, Any]:
    globs = _one_or_more({"type": "string", "minLength": 1})
    words = {key: globs for key in reading.SCOPE_KEYS if key != "labels"}
    return _mapping({**words, "labels": {"type": "object", "additionalProperties": globs}})


def _rule(event: str) -> dict[str, Any]:
    alternative = {
        **_mapping({each.name: _field(each) for each in fields.BY_EVENT[event].values()}),
        "minProperties": 1,
    }
    some = {"anyOf": [alternative, {"type": "array", "items": alternative}]}
    properties = {
        "name": _name(),
        "description": {"type": "string"},
        "event": {"const": event},
        "severity": {"enum": list(SEVERITIES)},
        "match": {
            "anyOf": [{"const": reading.ANYTHING}, alternative, {"type": "array", "minItems": 1, "items": alternative}]
        },
        "allow": some,
        "except": some,
    }
    return {
        **_mapping(properties, ("name", "event", "severity")),
        "oneOf": [{"required": ["match"]}, {"required": ["allow"]}],
    }


def _field(field: Field) -> dict[str, Any]:
    value = field.kind.schema()
    described = {"description": f"{field.help} Allowed: {field.kind.allowed}."}
    return {**described, **(_one_or_more(value) if field.kind.is_list else value)}


def _case() -> dict[str, Any]:
    words = {key: {"type": "string"} for key in cases.OWNER_KEYS if key != "labels"}
    labels = {"type": "object", "additionalProperties": {"type": "string"}}
    properties = {
        "name": {"type": "string"},
        "event": {"enum": list(fields.EVENTS)},
        "given": {"type": "object"},
        "owner": _mapping({**words, "labels": labels}),
        "fires": {"type": "array", "items": _name()},
    }
    return _mapping(properties, ("event",))


def page() -> str:
    return json.dumps(schema(), indent=2) + "\n"


PAGE = generated.Page("bpfleet.policies.schema", Path("docs/security-policy.schema.json"), "the reader says", page)

if __name__ == "__main__":
    sys.exit(PAGE.main())
