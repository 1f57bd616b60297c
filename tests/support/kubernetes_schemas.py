"""What Kubernetes would say of an object: its strict JSON Schema, in which an unknown field is a mistake."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared/schemas/kubernetes"
CORE = "core"
"""The directory of the group that has no name."""


def directories() -> list[Path]:
    """The project's own ones first."""
    own = [file.parents[1] for file in ROOT.glob("src/bundle/**/helmrelease_v2.json")]
    return [*own, SHARED]


@cache
def validator(api_version: str, kind: str) -> Draft202012Validator | None:
    group, _, version = api_version.rpartition("/")
    name = f"{group or CORE}/{kind.lower()}_{version}.json"
    files = [directory / name for directory in directories() if (directory / name).is_file()]
    return Draft202012Validator(json.loads(files[0].read_text("utf-8"))) if files else None


def mistakes(document: Any) -> Iterator[str]:
    """`Kind name: spec.key: what`; one that says so where there is no schema."""
    name = f"{document['kind']} {document['metadata']['name']}"
    found = validator(document["apiVersion"], document["kind"])
    if found is None:
        yield f"{name}: no schema of {document['apiVersion']}"
    else:
        for error in found.iter_errors(document):
            yield f"{name}: {'.'.join(map(str, error.absolute_path))}: {error.message}"
