import json

import pytest

from agent.identity.listings import MAX_ITEM_CHARACTERS, Listing

BODY = json.dumps(
    {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "4711", "continue": "next"},
        "items": [{"name": "a"}, {"name": 'ü"]}{[', "items": [1, 2]}, {"name": "ж", "deep": {"items": []}}],
    },
    ensure_ascii=False,
).encode()
NAMES = ["a", 'ü"]}{[', "ж"]


def read(chunks: list[bytes]) -> tuple[list[object], str, str]:
    page = Listing(chunks)
    return [item["name"] for item in page], page.version, page.token


def test_items_arrive_one_by_one_and_the_version_after_them() -> None:
    assert read([BODY]) == (NAMES, "4711", "next")


@pytest.mark.parametrize("cut", range(len(BODY) + 1))
def test_a_body_may_be_split_anywhere(cut: int) -> None:
    assert read([BODY[:cut], BODY[cut:]]) == (NAMES, "4711", "next")


def test_a_body_may_arrive_byte_by_byte() -> None:
    assert read([BODY[at : at + 1] for at in range(len(BODY))]) == (NAMES, "4711", "next")


@pytest.mark.parametrize("cut", range(len(BODY)))
def test_a_body_that_breaks_off_anywhere_is_an_error_after_its_whole_items(cut: int) -> None:
    seen = []
    with pytest.raises(ValueError):
        for item in Listing([BODY[:cut]]):
            seen.append(item["name"])
    assert seen == NAMES[: len(seen)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":null}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"}}',
        b'{"items": [\n], "metadata": {"resourceVersion": "7"}}',
    ],
)
def test_a_list_may_be_empty(body: bytes) -> None:
    assert read([body]) == ([], "7", "")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"kind":"Status","message":"no"}',
        b'{"metadata":[],"items":[]}',
        b'{"metadata":{"resourceVersion":"7"},"items":[1]}',
        b"\xff\xfe",
        b'{"items":[{}{}]',
    ],
)
def test_anything_else_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        list(Listing([body]))


def test_an_item_without_an_end_is_refused_before_memory_is_full() -> None:
    chunk = b"x" * (1 << 20)
    asked = 0

    def endless():
        nonlocal asked
        yield b'{"items":[{"a":"'
        while True:
            asked += 1
            yield chunk

    with pytest.raises(ValueError, match="more than"):
        list(Listing(endless()))
    assert asked <= MAX_ITEM_CHARACTERS // len(chunk) + 1
