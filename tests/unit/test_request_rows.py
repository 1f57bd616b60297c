import re

import pytest
from tests.unit.hostile import STRINGS

from agent.request_pages import Request
from agent.request_rows import MIDDLE, NARROW, RED, WIDE, YELLOW, columns, cut, header, len_of, row

REQUEST: Request = {
    "time": "2026-11-21T17:34:25.123456789Z",
    "k8s.namespace.name": "shop",
    "bpfleet.workload.name": "web",
    "bpfleet.http.role": "server",
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "bpfleet.duration": 0.00123,
    "server.address": "shop.example.org",
    "server.port": 8080,
    "url.path": "/api/orders/{id}",
    "network.peer.address": "2001:db8::2",
    "network.peer.port": 43210,
}
BROKEN = {**REQUEST, "http.response.status_code": None, "error.type": "reset", "bpfleet.peer.name": "cart"}


def fields(text: str) -> list[str]:
    return re.split(r" +(?!ms|us)", text)


def test_in_full_where_there_is_no_terminal() -> None:
    assert fields(header(None)) == ["TIME", "ROLE", "WORKLOAD", "METHOD", "STATUS", "TOOK", "PEER", "URL"]
    assert fields(row(REQUEST, None)) == [
        *("2026-11-21T17:34:25.123Z", "server", "shop/web", "GET", "200", "1.23 ms"),
        *("[2001:db8::2]:43210", "shop.example.org:8080/api/orders/{id}"),
    ]
    long = {**REQUEST, "url.path": "/" + "x" * 5000, "url.query": "a=b"}
    assert row(long, None).endswith("x?a=b")


def test_a_wide_a_middle_and_a_narrow_terminal() -> None:
    assert fields(row(BROKEN, WIDE)) == [
        *("17:34:25.123", "server", "shop/web", "GET", "reset", "1.23 ms", "cart"),
        "shop.example.org:8080/api/orders/{id}",
    ]
    assert "PEER" not in header(WIDE - 1) and "ROLE" in header(MIDDLE)
    assert fields(row(REQUEST, 80))[:5] == ["17:34:25", "shop/web", "GET", "200", "1.23 ms"]
    assert fields(row(REQUEST, NARROW - 1)) == ["GET", "200", "1.23 ms", "shop.example.org:8080/api/orders..."]


@pytest.mark.parametrize("width", [1, 20, NARROW - 1, NARROW, 80, MIDDLE - 1, MIDDLE, WIDE - 1, WIDE, 500])
def test_no_line_is_wider_than_the_terminal_where_it_can_be_helped(width: int) -> None:
    fixed = sum(column.width + 1 for column in columns(width))
    for request in (REQUEST, BROKEN, dict.fromkeys(REQUEST, "日本語" * 100), dict.fromkeys(REQUEST, "x" * 300), {}):
        assert len_of(row(request, width)) <= max(width, fixed + 1)
    assert len_of(header(width)) <= max(width, fixed + 3)


@pytest.mark.parametrize("name", sorted(REQUEST))
def test_hostile_words_are_inert(name: str) -> None:
    for text in STRINGS:
        for width in (None, 80, 200):
            shown = row({**REQUEST, name: text}, width, has_colours=True)
            assert shown.isprintable()
            assert shown.count("\n") == 0


@pytest.mark.parametrize("value", [None, True, [], {}, 1.5, float("inf"), -1, 10**400])
def test_values_of_a_wrong_type_are_shown_as_absent(value: object) -> None:
    for name in REQUEST:
        assert row({**REQUEST, name: value}, 200)
    assert set(row(dict.fromkeys(REQUEST, None), None).split()) == {"-"}


def test_errors_are_red_and_a_clients_own_yellow_where_there_are_colours() -> None:
    assert row(BROKEN, 80, has_colours=True).startswith(RED)
    for status, colour in ((503, RED), (404, YELLOW), (200, "1")):
        assert row({**REQUEST, "http.response.status_code": status}, 80, has_colours=True).startswith(colour)
        assert row({**REQUEST, "http.response.status_code": status}, 80).isprintable()


@pytest.mark.parametrize(
    ("text", "room", "start", "end"),
    [
        ("abcdefgh", 8, "abcdefgh", "abcdefgh"),
        ("abcdefgh", 7, "abcd...", "...efgh"),
        ("abcdefgh", 3, "...", "..."),
        ("abcdefgh", 1, ".", "."),
        ("日本語", 5, "日...", "...語"),
        ("日本語", 4, "...", "..."),
    ],
)
def test_a_text_is_cut_to_the_columns_that_it_takes(text: str, room: int, start: str, end: str) -> None:
    assert cut(text, room) == start
    assert cut(text, room, keeps_end=True) == end
