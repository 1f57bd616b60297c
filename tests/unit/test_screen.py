import io

import pytest
from rich.console import Console, Group

from agent.activity import Quantile, Row, Workload
from agent.escapes import clean
from agent.screen import (
    FRAME_LINES,
    NUMBERS,
    SORTS,
    WIDE,
    Size,
    duration,
    number,
    ordered,
    plain,
    rate,
    screen,
)

WEB = Row(Workload("shop", "web", "Deployment"), 2e6, 1500.0, 12, 3.25, 0.5, 1.0, Quantile(0.00012), Quantile(0.25))
CRON = Row(Workload("_host", "cron.service", "SystemdUnit"), 10.0, 20.0, 1)
SIZE = Size(200, 40)
HOSTILE = [
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "a\nb",
    "[red]x[/red]",
    "\u202egnp.exe",
    "\x9b31m",
    ":boom:",
    "a\tb",
    "\r",
    "\x00",
]


def drawn(group: Group, width: int = 200) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, markup=False, highlight=False, emoji=False).print(group)
    return out.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_inert_in_plain_rows_and_in_the_table(name: str) -> None:
    row = Row(Workload(name, name, name), 1.0)
    for text in (plain([row]), drawn(screen([row], "traffic", "http://x/metrics", [], SIZE))):
        assert all(c.isprintable() or c == "\n" for c in text)
        assert clean(name) in text
    assert len(plain([row]).splitlines()) == 2


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B/s"), (999, "999 B/s"), (1000, "1 kB/s"), (1234567, "1.23 MB/s"), (5e12, "5000.0 GB/s")]
)
def test_rates_have_three_digits(value: float, text: str) -> None:
    assert rate(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.0"), (9.94, "9.9"), (12.6, "13")])
def test_small_numbers_have_a_decimal(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (Quantile(0.0001234), "123 us"),
        (Quantile(0.0012), "1.2 ms"),
        (Quantile(2.5, beyond=True), ">2.5 s"),
    ],
)
def test_a_round_trip_time_has_its_unit(value: Quantile | None, text: str) -> None:
    assert duration(value) == text


def test_plain_rows_are_aligned_below_the_titles() -> None:
    assert plain([WEB, CRON]) == (
        "NAMESPACE  WORKLOAD      KIND             IN       OUT  ACTIVE  NEW/s  FAIL/s  RETX/s  RTT p50  RTT p99\n"
        "shop       web           Deployment   2 MB/s  1.5 kB/s      12    3.2     0.5     1.0   120 us   250 ms\n"
        "_host      cron.service  SystemdUnit  10 B/s    20 B/s       1    0.0     0.0     0.0        -        -\n"
    )


@pytest.mark.parametrize("sort", [name for name in SORTS if name != "name"])
def test_every_sort_puts_the_busier_first(sort: str) -> None:
    assert ordered([CRON, WEB], sort) == [WEB, CRON]


def test_names_sort_by_alphabet() -> None:
    assert ordered([WEB, CRON], "name") == [CRON, WEB]


def test_every_sort_has_a_key_of_its_own_and_the_screen_names_it() -> None:
    assert len({sort.key for sort in SORTS.values()} | {"q"}) == len(SORTS) + 1
    text = drawn(screen([WEB], "rtt", "http://x/metrics", [], SIZE))
    assert all(f"{sort.key} {name}" in text for name, sort in SORTS.items())
    assert all(column.title in text for column in NUMBERS)


@pytest.mark.parametrize("width", [80, WIDE - 1, WIDE])
def test_a_narrow_terminal_shows_every_number_and_short_names(width: int) -> None:
    text = drawn(screen([WEB, CRON], "traffic", "http://x/metrics", [], Size(width, 24)), width)
    assert all(column.title in text for column in NUMBERS)
    assert "1.5 kB/s" in text and "250 ms" in text
    assert ("_host/cron.service" in text) == (width < WIDE)


@pytest.mark.parametrize("height", [10, 24, 50])
@pytest.mark.parametrize("notes", [[], ["collector tcp is off: needs PERFMON"]])
def test_the_table_fits_the_terminal(height: int, notes: list[str]) -> None:
    rows = [Row(Workload("_host", f"unit-{number}.service", "SystemdUnit"), 1.0) for number in range(100)]
    text = drawn(screen(rows, "traffic", "http://127.0.0.1:9436/metrics", notes, Size(200, height)))
    assert len(text.splitlines()) == height
    assert f"{100 - height + FRAME_LINES + len(notes)} more below" in text
    assert all(note in text for note in notes)
