"""The schema of the chart's values: the agent's settings, but for those that the chart decides."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent import chart
from agent.settings import leaves

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_the_committed_schema_is_what_the_settings_say() -> None:
    assert chart.PAGE.is_current(), "run `make docs`"


def test_a_setting_that_the_agent_does_not_have_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "values.schema.json"
    page.write_text(chart.page().replace("series_per_metric", "series_a_metric"))
    assert not chart.PAGE.is_current(page)


def test_every_other_setting_is_one_of_the_charts() -> None:
    settings = chart.settings_schema()
    for leaf in leaves():
        found, path = settings, list(leaf.path)
        while path and path[0] in found["properties"]:
            found = found["properties"][path.pop(0)]
        assert bool(path) == any(leaf.name == own or leaf.name.startswith(f"{own}.") for own in chart.OWNED), leaf.name


def test_every_object_is_closed_and_needs_what_values_yaml_has() -> None:
    frame = chart.schema()
    Draft202012Validator.check_schema(frame)
    open_to_all = [path for path, part in objects(frame) if part.get("additionalProperties", True) is not False]
    assert open_to_all == []
    assert frame["properties"]["image"]["required"] == list(frame["properties"]["image"]["properties"])


def objects(part: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every object with its own keys."""
    if not isinstance(part, dict):
        return []
    found = [(path, part)] if isinstance(part.get("properties"), dict) else []
    return found + [each for name, value in part.items() for each in objects(value, f"{path}/{name}")]
