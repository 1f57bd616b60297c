from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.hostile import STRINGS
from tests.unit.requests.asked import NOW

from agent.requests import annotations, wishes
from agent.requests.wishes import MAX_DAYS, Wish, is_open
from agent.settings import Requests

MODE = "bpfleet.io/request-log"


def test_annotations_are_read_one_by_one() -> None:
    found, problems = annotations.read(
        {
            MODE: "sampled",
            f"{MODE}-one-in": "23",
            f"{MODE}-slow-seconds": "0.25",
            f"{MODE}-queries-until": "2026-11-28T17:00:00+02:00",
            f"{MODE}-paths-until": "2026-11-28t17:00:00.5z",
            "bpfleet.io/something-else": "x",
        }
    )
    assert problems == {}
    assert found == Wish(
        "sampled",
        23,
        0.25,
        datetime(2026, 11, 28, 15, tzinfo=UTC),
        datetime(2026, 11, 28, 17, 0, 0, 500_000, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((MODE, value) for value in ("", "ALL", "on", "yes", "all ")),
        *((f"{MODE}-one-in", value) for value in ("0", "-1", "1.5", "", "1000001", "١", "99999999999999999999")),
        *((f"{MODE}-slow-seconds", value) for value in ("0", "-1", "nan", "inf", "", "1s", "86401")),
        *(
            (f"{MODE}-queries-until", value)
            for value in ("", "tomorrow", "2026-11-28", "2026-11-28T17:00:00", "2026-13-28T17:00:00Z", "1795885200")
        ),
        (f"{MODE}-paths-until", "0001-01-01T00:00:00+14:00"),
        (f"{MODE}-querys-until", "2026-11-28T17:00:00Z"),
    ],
)
def test_what_is_wrong_is_named_and_the_rest_holds(name: str, value: str) -> None:
    found, problems = annotations.read(
        {name: value, "bpfleet.io/request-log-one-in": "7"} if "one-in" not in name else {name: value, MODE: "all"}
    )
    assert list(problems) == [name] and len(problems[name]) < 300
    assert found in (Wish(one_in=7), Wish("all"))


@pytest.mark.parametrize("text", STRINGS)
def test_no_value_raises_anything(text: str) -> None:
    for name in (MODE, *(f"{MODE}-{rest}" for rest in ("one-in", "slow-seconds", "queries-until", "paths-until"))):
        found, problems = annotations.read({name: text})
        assert found == Wish() and list(problems) == [name]
        assert problems[name].isascii() and problems[name].isprintable()


def test_settings_are_read_by_namespace() -> None:
    asked = Requests(
        namespaces=("shop=errors", "lab=sampled/10", "db=off"),
        queries=("shop=2026-11-28T17:00:00Z",),
        paths=("new=2026-11-28T17:00:00Z",),
    )
    until = datetime(2026, 11, 28, 17, tzinfo=UTC)
    assert wishes.of(asked) == {
        "shop": Wish("errors", queries_until=until),
        "lab": Wish("sampled", 10),
        "db": Wish("off"),
        "new": Wish(paths_until=until),
    }
    assert wishes.patterns(("shop=/a/{b}", "shop=/c", "*=/d/*")) == {"shop": ["/a/{b}", "/c"], "*": ["/d/*"]}


@pytest.mark.parametrize("entry", ["shop=all/10", "shop=some", "shop", "shop=sampled/0"])
def test_settings_that_cannot_be_read_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="sampled|is none of|whole number"):
        wishes.of(Requests(namespaces=(entry,)))


def test_a_window_is_open_until_its_end_and_no_earlier_than_a_week_before() -> None:
    week = timedelta(days=MAX_DAYS)
    assert is_open(NOW + week, NOW) and is_open(NOW + timedelta(seconds=1), NOW)
    assert not is_open(NOW, NOW) and not is_open(NOW - week, NOW) and not is_open(None, NOW)
    assert not is_open(NOW + week + timedelta(seconds=1), NOW)
