from collections.abc import Iterator

import pytest
from tests.support.socket_rows import made, packed

from agent.collectors.sockets import EverySocket, Row, Sockets, rows
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.loaded import Loaded
from bpfleet.api import Observations, Sample
from bpfleet.catalogue import TCP_CONGESTION_WINDOW, TCP_RECEIVE_WINDOW, TCP_SEND_WINDOW

WIDTH = len(packed(made()))


class Parts(FakeTables):
    """A walk in parts of so many rows."""

    def __init__(self, found: list[Row], size: int) -> None:
        super().__init__()
        self.found, self.size = found, size

    def walk_parts(self, function: str) -> Iterator[bytes]:
        assert function == "on_socket"
        for start in range(0, len(self.found), self.size):
            yield packed(*self.found[start : start + self.size])


def walked(*found: Row, size: int = 100) -> tuple[dict[tuple[str, int], dict[int, int]], Loaded]:
    """By metric and cgroup, how often each value was observed."""
    collector = Sockets()
    loaded = FakeDoor({"sockets": Parts(list(found), size)}).load([collector], KernelSettings())
    observed = {}
    for sample in collector.collect(loaded.maps("sockets")):
        assert isinstance(sample, Sample) and isinstance(sample.value, Observations)
        observed[sample.metric.name, sample.cgroup_id] = dict(sample.value.counts)
    return observed, loaded


CWND, RWND, SWND = (metric.name for metric in (TCP_CONGESTION_WINDOW, TCP_RECEIVE_WINDOW, TCP_SEND_WINDOW))


def test_a_row_is_decoded_member_by_member() -> None:
    row = Row(*range(6), bytes(range(16)), bytes(range(16, 32)), *range(8, 25), b"0123456789abcdef")
    assert list(rows([packed(row), packed(row, row)])) == [row, row, row]


def test_each_connection_gives_one_value_of_each_window_to_its_owner() -> None:
    observed, _ = walked(
        made(1),
        made(2, congestion_window=20, receive_window=0),
        made(3, congestion_window=10, receive_window=65535, send_window=1),
        made(4, cgroup_id=29, congestion_window=7),
    )
    assert observed == {
        (CWND, 23): {10: 2, 20: 1},
        (RWND, 23): {65535: 2, 0: 1},
        (SWND, 23): {64256: 2, 1: 1},
        (CWND, 29): {7: 1},
        (RWND, 29): {65535: 1},
        (SWND, 29): {64256: 1},
    }


def test_a_socket_that_is_shared_counts_once_also_across_parts() -> None:
    shared = [made(1, process=process) for process in range(1, 8)]
    observed, loaded = walked(*shared, made(2), *shared, size=3)
    assert observed[CWND, 23] == {10: 2}
    assert loaded.delivered() == {"sockets": 15}


class Broken(Parts):
    """Breaks off after the first part."""

    def walk_parts(self, function: str) -> Iterator[bytes]:
        yield next(super().walk_parts(function))
        raise OSError("no memory")


def test_of_a_walk_that_breaks_off_nothing_is_booked_as_delivered() -> None:
    collector = Sockets()
    loaded = FakeDoor({"sockets": Broken([made(1), made(2)], 1)}).load([collector], KernelSettings())
    with pytest.raises(OSError):
        list(collector.collect(loaded.maps("sockets")))
    assert loaded.delivered().get("sockets", 0) == 0


def test_a_walk_without_connections_gives_nothing() -> None:
    assert walked()[0] == {}


def test_the_list_walks_every_socket_and_the_metrics_connections_only() -> None:
    assert Sockets().defines({"sockets": 23}) == {"MAX_SOCKET_ROWS": "23", "EVERY_SOCKET": "0"}
    assert EverySocket().defines({"sockets": 23}) == {"MAX_SOCKET_ROWS": "23", "EVERY_SOCKET": "1"}
