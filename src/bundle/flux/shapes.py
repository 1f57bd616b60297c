"""Values out of somebody's YAML, taken as what they should be: schemas tell where they are something else."""

from typing import Any


def a_map(value: Any) -> dict[str, Any]:
    """Empty where it is none."""
    return value if isinstance(value, dict) else {}


def maps(value: Any) -> list[dict[str, Any]]:
    """A list's items, an empty map in place of what is none."""
    return [a_map(each) for each in value] if isinstance(value, list) else []


def metadata(value: Any, key: str) -> str:
    """Of an object; empty where it has none."""
    return str(a_map(a_map(value).get("metadata")).get(key, ""))
