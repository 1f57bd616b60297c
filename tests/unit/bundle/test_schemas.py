"""Strict schemas: what a kind has not is told."""

from pathlib import Path
from typing import Any

import pytest

from bundle.flux import schemas


def told(value: dict[str, Any]) -> list[tuple[Any, str]]:
    return [(tuple(keys), message) for keys, message in schemas.wrong(value)]


def source(**spec: Any) -> dict[str, Any]:
    body = {"url": "https://example.com/x", "interval": "1m", **spec}
    return {
        "apiVersion": "source.toolkit.fluxcd.io/v1",
        "kind": "GitRepository",
        "metadata": {"name": "x"},
        "spec": body,
    }


def test_a_right_object_is_right() -> None:
    assert told(source()) == []


def test_an_unknown_field_is_told_with_the_one_that_was_meant() -> None:
    assert told(source(intervall="1m", ref={"brunch": "main"})) == [
        (("spec", "intervall"), "spec.intervall: no such field; did you mean interval?"),
        (("spec", "ref", "brunch"), "spec.ref.brunch: no such field; did you mean branch?"),
    ]


def test_what_the_operators_schemas_leave_open_is_closed() -> None:
    value = {**source(), "specs": {}, "metadata": {"name": "x", "lables": {}}}

    assert sorted(message for _, message in told(value)) == [
        "metadata.lables: no such field; did you mean labels?",
        "specs: no such field; did you mean spec?",
    ]


def test_a_wrong_value_is_told() -> None:
    ((way, message),) = told(source(interval="soon"))

    assert way == ("spec", "interval")
    assert message.startswith("spec.interval: 'soon' does not match")


@pytest.mark.parametrize("value", [{}, {"apiVersion": "../../x", "kind": "y"}, {"apiVersion": "v1", "kind": "Stone"}])
def test_a_kind_without_a_schema_is_told(value: dict[str, Any]) -> None:
    ((way, message),) = told(value)

    assert way == ()
    assert message.startswith("no schema for ")


def test_every_vendored_schema_is_one_of_a_kind_and_refuses_what_it_does_not_know() -> None:
    files = sorted(schemas.VENDORED.glob("*/*.json"))

    assert len(files) == 44
    for file in files:
        group = "" if file.parent.name == schemas.CORE else f"{file.parent.name}/"
        kind, _, version = file.stem.rpartition("_")
        value = {"apiVersion": f"{group}{version}", "kind": kind, "nonsense": 1}
        assert any(keys == ("nonsense",) for keys, _ in schemas.wrong(value)), file
    assert (schemas.VENDORED.parent / "README.md").is_file() and Path(schemas.VENDORED).is_dir()
