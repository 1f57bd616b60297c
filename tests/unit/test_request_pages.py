import json

import pytest

from agent.request_pages import Page, off, parse

GOOD = {"log": "all", "agent": "a1", "next": 2, "last": 3, "missed": 0, "requests": [{"url.path": "/"}]}


def test_a_page_has_its_requests_and_where_to_go_on() -> None:
    assert parse(json.dumps(GOOD)) == Page("all", "a1", 2, 3, 0, [{"url.path": "/"}])


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "null", "{}", "[" * 100_000, '{"requests": NaN}', json.dumps(GOOD)[:-1]),
        *(json.dumps({**GOOD, name: wrong}) for name in GOOD for wrong in (None, {}, 1.5)),
        *(json.dumps({name: value for name, value in GOOD.items() if name != absent}) for absent in GOOD),
        json.dumps({**GOOD, "requests": ["x"]}),
        json.dumps({**GOOD, "next": True}),
        json.dumps({**GOOD, "missed": -1}),
        '{"next": ' + "9" * 5000 + "}",
        json.dumps(GOOD).replace('"/"', "1e999"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_collectors_that_are_off_are_told_with_the_reason() -> None:
    states = {"http": {"up": False, "reason": "no"}, "http_log": {"up": True, "reason": ""}, "tcp": {"up": False}}
    assert off(json.dumps({"collectors": states}), ("http", "http_log", "absent")) == {"http": "no"}
    assert off('{"collectors": {"http": []}}', ("http",)) == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"collectors": []}', "[" * 100_000])
def test_a_status_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        off(text, ("http",))
