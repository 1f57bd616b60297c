"""From boards to JSON, by a board of a few panels."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bpfleet.errors import BundleError
from bundle.dashboards import render
from bundle.dashboards.check import filled, may_be_empty
from bundle.dashboards.house import Board, Kind, Link, Panel, Query, Row

LINES = Panel(1, "Up", "Targets.", "short", (Query("up", "{{job}}"),))
WIDE = replace(LINES, id=2, width=20)
LOW = replace(LINES, id=3, width=4, height=3, empty="nothing is up.")
TABLE = replace(
    LINES, id=4, kind=Kind.TABLE, queries=(Query("up", "up"), Query("rate(a_bytes_total[5m])", "bytes", "Bps"))
)


def made(*rows: Row) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(render.text(Board("bpfleet-x", "X", "An X.", rows)))
    return found


def test_panels_flow_from_left_to_right_and_rows_below_each_other() -> None:
    found = made(Row(100, "A", (LINES, WIDE, LOW)), Row(101, "B", (TABLE,)))

    places = {each["id"]: tuple(each["gridPos"][key] for key in "xywh") for each in found["panels"]}
    assert places == {
        100: (0, 0, 24, 1),
        1: (0, 1, 8, 8),
        2: (0, 9, 20, 8),
        3: (20, 9, 4, 3),
        101: (0, 17, 24, 1),
        4: (0, 18, 8, 8),
    }


def test_a_table_has_a_column_a_query_with_its_name_and_unit() -> None:
    _, panel = made(Row(100, "A", (TABLE,)))["panels"]

    merge, organize = panel["transformations"]
    assert merge["id"] == "merge"
    assert organize["options"]["renameByName"] == {"Value #A": "up", "Value #B": "bytes"}
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"] == {"id": "byName", "options": "bytes"}
    assert [each["format"] for each in panel["targets"]] == ["table", "table"]


@pytest.mark.parametrize(("kind", "place"), [(Kind.LINES, "__field.labels"), (Kind.TABLE, "__data.fields")])
def test_a_link_takes_labels_of_the_series_and_variables_of_the_board(kind: Kind, place: str) -> None:
    linked = replace(LINES, kind=kind, link=Link("Open", "bpfleet-y", ("job",), kept=("namespace",)))

    _, panel = made(Row(100, "A", (linked,)))["panels"]

    (link,) = panel["fieldConfig"]["defaults"]["links"]
    expected = "/d/bpfleet-y?${datasource:queryparam}&${namespace:queryparam}&var-job=${%s.job}&${__url_time_range}"
    assert link["url"] == expected % place


def test_the_mark_of_what_may_be_empty_is_the_last_line_of_the_description() -> None:
    _, first, second = made(Row(100, "A", (LINES, LOW)))["panels"]

    assert (first["description"], may_be_empty(first)) == ("Targets.", False)
    assert second["description"] == "Targets.\n\nEmpty when healthy: nothing is up."
    assert may_be_empty(second)


def test_the_same_board_is_the_same_bytes() -> None:
    board = Board("bpfleet-x", "X", "An X.", (Row(100, "A", (LINES, TABLE)),))

    assert render.text(board) == render.text(board)


def test_variables_are_filled_in_and_an_unknown_one_is_told() -> None:
    assert filled('a{b="$c",d=~"${e:regex}"}[$__w]', {"c": "1", "e": "2", "__w": "5m"}) == 'a{b="1",d=~"2"}[5m]'
    with pytest.raises(BundleError, match=r"no variable \$f: there are a, b"):
        filled("$f", {"b": "", "a": ""})
