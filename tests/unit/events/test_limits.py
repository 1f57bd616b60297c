from agent.events.limits import MAX_KEYS, PARTS, Limit, Shared

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


def test_a_clock_that_is_set_back_stops_nothing() -> None:
    limit, hour = Limit(10), 3600 * SECOND_NS
    assert admitted(limit, [2 * hour] * 23) == 10
    assert admitted(limit, [hour]) == 0, "nor does it gain by it"
    assert admitted(limit, [hour + number * SECOND_NS // 10 for number in range(1, 24)]) == 23


def test_one_a_second_and_a_million_a_second() -> None:
    assert admitted(Limit(1), [0, 1, SECOND_NS, SECOND_NS + 1]) == 2
    assert admitted(Limit(1_000_000), [0] * 1_000_001) == 1_000_000


def shared(limit: Shared, key: int, times_ns: list[int]) -> int:
    return sum(limit.admits(key, each) for each in times_ns)


def test_who_is_alone_has_what_all_may_have_and_no_more() -> None:
    stream = [number * SECOND_NS // 50_000 for number in range(150_000)]
    assert shared(Shared(10_000), 7, stream) == admitted(Limit(10_000), stream) < 40_000


def test_a_flood_of_one_takes_no_others_place() -> None:
    limit, loud, quiet = Shared(10_000), 0, 0
    for number in range(200_000):  # ten seconds: five times what is allowed, and 90 a second of another
        loud += limit.admits(7, number * SECOND_NS // 20_000)
        if number % 222 == 0:
            quiet += limit.admits(8, number * SECOND_NS // 20_000)
    assert quiet == 901 and loud <= 110_000


def test_the_quiet_together_have_as_many_again() -> None:
    limit = Shared(1_000)
    assert shared(limit, 0, [0] * 5_000) == 1_000
    each = 1_000 // PARTS
    assert [shared(limit, key, [0] * (each + 7)) for key in range(1, PARTS + 1)] == [each] * PARTS
    assert shared(limit, PARTS + 1, [0]) == 0


def test_who_was_loud_is_quiet_again_after_two_seconds_and_no_key_is_kept_for_ever() -> None:
    limit = Shared(1_000)
    assert shared(limit, 7, [0] * 5_000) == 1_000
    assert shared(limit, 8, [5 * SECOND_NS // 2] * 5_000) == 1_000
    assert shared(limit, 7, [5 * SECOND_NS // 2] * 3) == 3
    for key in range(MAX_KEYS + 23):
        limit.admits(key, 0)
    assert len(limit._quiet) == MAX_KEYS
