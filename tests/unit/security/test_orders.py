import struct

from agent.security.orders import NO_GROUP, OFF, OTHERS, Orders, Watch, Watching


def test_a_watch_is_an_interval_a_full_bucket_and_a_group() -> None:
    assert Watch(50, 23).row == (20_000_000, 23 * 20_000_000, NO_GROUP)
    assert Watch(1, 1, group=7).row == (1_000_000_000, 1_000_000_000, 7)


def test_who_is_known_and_not_watched_has_no_interval() -> None:
    assert OFF.row == (0, 0, 0)
    assert Watch(0, 23, group=7).row == (0, 0, 0)


def test_the_row_of_those_that_nobody_knows_is_the_first() -> None:
    orders = Orders({"exec": {23: OFF, 7: Watch(10, 2), OTHERS: Watch(5, 5)}})
    rows = orders.rows("exec")
    assert [struct.unpack("=Q", key)[0] for key in rows] == [OTHERS, 7, 23]
    assert list(rows.values()) == [(200_000_000, 1_000_000_000, 0), (100_000_000, 200_000_000, 0), (0, 0, 0)]


def test_a_collector_without_orders_watches_nobody() -> None:
    assert Orders({"exec": {OTHERS: Watch(5, 5)}}).rows("chmod") == {}


def test_what_has_steer_takes_orders() -> None:
    class Watcher:
        def steer(self, maps: object, orders: Orders) -> int:
            return 0

    assert isinstance(Watcher(), Watching)
    assert not isinstance(object(), Watching)
