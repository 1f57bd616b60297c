from agent.events.limits import Limit

SECOND_NS = 10**9


def admitted(limit: Limit, times_ns: list[int]) -> int:
    return sum(limit.admits(each) for each in times_ns)


def test_in_one_moment_as_many_as_in_a_second() -> None:
    assert admitted(Limit(23), [5 * SECOND_NS] * 100) == 23


def test_a_steady_stream_above_the_limit_is_cut_to_it() -> None:
    """1,000 a second for ten seconds where 100 are allowed: the burst and 100 for each second."""
    stream = [number * SECOND_NS // 1000 for number in range(10_000)]
    assert admitted(Limit(100), stream) in (100 + 999, 100 + 1000)


def test_a_stream_below_the_limit_is_whole_however_late_it_is_read() -> None:
    stream = [number * SECOND_NS // 50 for number in range(5000)]
    assert admitted(Limit(51), stream) == 5000


def test_the_bucket_holds_no_more_than_a_second() -> None:
    limit = Limit(10)
    assert admitted(limit, [0] * 10) == 10
    assert admitted(limit, [3600 * SECOND_NS] * 100) == 10


def test_events_out_of_order_neither_gain_nor_cost() -> None:
    limit = Limit(10)
    assert admitted(limit, [SECOND_NS] * 10) == 10
    assert admitted(limit, [0, SECOND_NS, 0]) == 0
    assert admitted(limit, [SECOND_NS + SECOND_NS // 10]) == 1


def test_one_a_second_and_a_million_a_second() -> None:
    assert admitted(Limit(1), [0, 1, SECOND_NS, SECOND_NS + 1]) == 2
    assert admitted(Limit(1_000_000), [0] * 1_000_001) == 1_000_000
