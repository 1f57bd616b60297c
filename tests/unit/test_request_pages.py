import json

import pytest

from agent.request_pages import Page, parse

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
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
