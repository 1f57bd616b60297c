from math import inf

from agent.metrics.hold import UNSCRAPED_SECONDS, Hold


def test_without_a_scrape_the_hold_has_no_end() -> None:
    assert Hold(15, started=0).until(100) == inf


def test_after_the_first_scrape_it_lasts_a_little_more_than_an_interval() -> None:
    hold = Hold(15, started=0)
    hold.scraped = 100
    assert hold.until(100) == 116.5
    assert hold.until(200) == 216.5


def test_an_ended_series_stays_two_intervals_after_its_hold_or_its_last_change() -> None:
    hold = Hold(10, started=0)
    assert hold.gone(until=50, changed=20) == 71
    assert hold.gone(until=50, changed=60) == 81


def test_without_a_scrape_an_ended_series_stays_for_a_bounded_time() -> None:
    assert Hold(10, started=1000).gone(until=inf, changed=1010) == 1000 + UNSCRAPED_SECONDS + 21
