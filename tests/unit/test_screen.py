import io
import re

import pytest
from rich.console import Console, Group

from agent.activity import Quantile, Requests, Row, Workload
from agent.escapes import clean
from agent.screen import (
    FRAME_LINES,
    GROUPS,
    NUMBERS,
    SORTS,
    WIDE,
    Size,
    duration,
    number,
    ordered,
    percent,
    plain,
    rate,
    screen,
)

SERVED = Requests(94.5, 0.2, Quantile(0.00085), Quantile(0.0138), Quantile(10.0, beyond=True))
CALLED = Requests(3.0, 0.0, Quantile(0.0012), Quantile(0.0247), Quantile(0.031))
WEB = Row(
    Workload("shop", "web", "Deployment"),
    *(2e6, 1500.0, 12, 3.25, 0.5, 1.0, Quantile(0.00012), Quantile(0.25), SERVED, CALLED),
)
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
    titles, web, cron = plain([WEB, CRON]).splitlines()
    assert titles == (
        "NAMESPACE  WORKLOAD      KIND             IN       OUT  ACTIVE  NEW/s  FAIL/s  RETX/s  RTT p50  RTT p99"
        "  REQ/s  ERR     p50      p95    p99  CALL/s  CALL ERR  CALL p50  CALL p95  CALL p99"
    )
    assert web == (
        "shop       web           Deployment   2 MB/s  1.5 kB/s      12    3.2     0.5     1.0   120 us   250 ms"
        "     94  20%  850 us  13.8 ms  >10 s     3.0        0%    1.2 ms   24.7 ms     31 ms"
    )
    assert cron == (
        "_host      cron.service  SystemdUnit  10 B/s    20 B/s       1    0.0     0.0     0.0        -        -"
        "      -    -       -        -      -       -         -         -         -         -"
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (0.2, "20%"), (1 / 3, "33.3%"), (1e-9, "<0.01%"), (0.0001, "0.01%"), (0.99999, ">99.9%"), (1, "100%")],
)
def test_a_share_is_none_or_all_only_when_it_is(share: float, text: str) -> None:
    assert percent(share) == text


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


NETWORK, REQUESTS, CALLS = ([column.title for column in group.columns] for group in GROUPS)


def titles(sort: str, width: int, rows: list[Row]) -> list[str]:
    """Of the table; each line of what is drawn fits."""
    lines = drawn(screen(rows, sort, "http://x/metrics", [], Size(width, 24)), width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert len([line for line in lines if "WORKLOAD" in line]) == 1
    return re.split(r" +(?=[A-Zp])(?<!RTT )(?<!CALL )", next(line for line in lines if "WORKLOAD" in line).strip())


@pytest.mark.parametrize("width", [80, WIDE - 1, WIDE])
def test_a_narrow_terminal_shows_every_number_of_the_network_and_short_names(width: int) -> None:
    text = drawn(screen([WEB, CRON], "traffic", "http://x/metrics", [], Size(width, 24)), width)
    assert all(title in text for title in NETWORK)
    assert "1.5 kB/s" in text and "250 ms" in text
    assert ("_host/cron.service" in text) == (width < WIDE)


@pytest.mark.parametrize(
    ("sort", "width", "shown"),
    [
        ("traffic", 80, NETWORK),
        ("requests", 80, REQUESTS),
        ("p99", 40, REQUESTS),
        ("call-errors", 80, CALLS),
        ("traffic", 119, [*NETWORK, *REQUESTS]),
        ("calls", 110, [*REQUESTS, *CALLS]),
        ("traffic", 200, [*NETWORK, *REQUESTS, *CALLS]),
    ],
)
def test_columns_that_are_sorted_by_come_first_and_others_as_they_fit(sort: str, width: int, shown: list[str]) -> None:
    names = ["NAMESPACE", "WORKLOAD", "KIND"] if width >= WIDE else ["WORKLOAD"]
    assert titles(sort, width, [WEB, CRON]) == [*names, *shown]


def test_what_has_no_room_is_named_with_its_key() -> None:
    text = drawn(screen([WEB], "traffic", "http://x/metrics", [], Size(80, 24)), 80)
    assert ", served by key 1, called by key 6" in text and "q quit" in text


def test_without_requests_their_columns_are_not_there_unless_sorted_by() -> None:
    assert titles("traffic", 200, [CRON]) == ["NAMESPACE", "WORKLOAD", "KIND", *NETWORK]
    assert titles("errors", 200, [CRON])[-5:] == REQUESTS
    assert titles("requests", 200, []) == ["NAMESPACE", "WORKLOAD", "KIND", *NETWORK, *REQUESTS]


@pytest.mark.parametrize("height", [10, 24, 50])
@pytest.mark.parametrize("notes", [[], ["collector tcp is off: needs PERFMON"]])
def test_the_table_fits_the_terminal(height: int, notes: list[str]) -> None:
    rows = [Row(Workload("_host", f"unit-{number}.service", "SystemdUnit"), 1.0) for number in range(100)]
    text = drawn(screen(rows, "traffic", "http://127.0.0.1:9436/metrics", notes, Size(200, height)))
    assert len(text.splitlines()) == height
    assert f"{100 - height + FRAME_LINES + len(notes)} more below" in text
    assert all(note in text for note in notes)
