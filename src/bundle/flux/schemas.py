"""Strict schemas of Kubernetes' and the operators' kinds: a field that a kind has not is told, with the one meant."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from bpfleet.documents import Keys

VENDORED = Path(__file__).parent.parent / "schemas" / "kubernetes"

CORE = "core"
"""Directory of the group without a name."""

LONGEST = 160
"""Of what is quoted: a schema says a whole rule in one message."""


def file_of(api_version: str, kind: str) -> Path:
    group, _, version = api_version.rpartition("/")
    return VENDORED / (group or CORE) / f"{kind.lower()}_{version}.json"


EVERYWHERE = ("apiVersion", "kind", "metadata")
"""Fields of every object. The operators' schemas leave them out, or open."""


@cache
def _validator(file: Path) -> Any:
    schema = json.loads(file.read_text("utf-8"))
    properties = schema.setdefault("properties", {})
    for key in EVERYWHERE[:2]:
        properties.setdefault(key, {"type": "string"})
    if "properties" not in properties.get("metadata", {}):
        properties["metadata"] = _metadata()
    schema["additionalProperties"] = False
    return jsonschema.validators.validator_for(schema, jsonschema.Draft202012Validator)(schema)


@cache
def _metadata() -> Any:
    """Of any object: the same wherever a schema has it."""
    schema = json.loads((VENDORED / CORE / "configmap_v1.json").read_text("utf-8"))
    return schema["properties"]["metadata"]


def fields(api_version: str, kind: str) -> frozenset[str]:
    """Of the spec."""
    return frozenset(_validator(file_of(api_version, kind)).schema["properties"]["spec"]["properties"])


def wrong(value: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    """The way to each mistake, and what it is."""
    api_version, kind = str(value.get("apiVersion", "")), str(value.get("kind", ""))
    file = file_of(api_version, kind)
    if not re.fullmatch(r"[\w./-]+", api_version + kind) or not file.is_file():
        yield (
            (),
            f"no schema for {kind or 'an object without a kind'} of {api_version or 'no apiVersion'}: see {_names()}",
        )
        return
    for error in sorted(_validator(file).iter_errors(value), key=lambda each: list(map(str, each.absolute_path))):
        yield from _told(error)


def _told(error: Any) -> Iterator[tuple[Keys, str]]:
    keys = tuple(error.absolute_path)
    where = ".".join(map(str, keys))
    if error.validator == "additionalProperties" and isinstance(error.schema.get("properties"), dict):
        for extra in sorted(set(error.instance) - set(error.schema["properties"])):
            close = difflib.get_close_matches(str(extra), error.schema["properties"], n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            yield (*keys, extra), f"{'.'.join((*map(str, keys), str(extra)))}: no such field{hint}"
        return
    message = error.message if len(error.message) <= LONGEST else f"{error.message[:LONGEST]}..."
    yield keys, f"{where or 'the object'}: {message}"


def _names() -> str:
    return "src/bundle/schemas/README.md"
