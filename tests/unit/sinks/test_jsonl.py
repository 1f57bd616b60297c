import json
import string
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hostile import STRINGS

from agent.events import records
from agent.sinks.jsonl import Jsonl
from bpfleet.events import Attribute, Record

INERT = set(string.printable) - set("\r\n\t\x0b\x0c")
TIME_NS = 1_795_282_465_000_000_007


def line(**attributes: Attribute) -> bytes:
    return Jsonl("-").encode(Record("test.happened", TIME_NS, {"k8s.pod.name": "web"}, attributes))


def read(data: bytes) -> dict[str, Any]:
    """As a strict reader has it."""
    text = data.decode("ascii")
    assert text.endswith("\n") and set(text[:-1]) <= INERT
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_line_is_one_flat_object_with_time_name_owner_and_attributes() -> None:
    assert read(line(count=23, share=0.5, known=True, text="x")) == {
        "time": "2026-11-21T17:34:25.000000007Z",
        "event.name": "test.happened",
        "k8s.pod.name": "web",
        "count": 23,
        "share": 0.5,
        "known": True,
        "text": "x",
    }


def test_an_attribute_cannot_pass_for_another_owner_or_time() -> None:
    forged = {"time": "1970", "event.name": "other", "k8s.pod.name": "other"}
    found = read(Jsonl("-").encode(Record("test.happened", TIME_NS, {"k8s.pod.name": "web"}, forged)))
    assert (found["event.name"], found["k8s.pod.name"]) == ("test.happened", "web")
    assert found["time"].startswith("2026")


@pytest.mark.parametrize("text", STRINGS)
def test_hostile_text_is_inert_and_comes_back_as_it_was(text: str) -> None:
    clean = records.clean(text)
    found = read(line(**{"text": clean, str(clean): "name"}))
    assert found["text"] == clean
    assert found[str(clean)] == "name"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_have_is_refused(number: float) -> None:
    with pytest.raises(ValueError):
        line(share=number)


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"older":1}\n')
    sink = Jsonl(str(path))
    assert sink.write([line(count=1), line(count=2)]) == 2
    sink.close()
    assert [json.loads(each).get("count") for each in path.read_text().splitlines()] == [None, 1, 2]
