import struct

import pytest

from agent.security import buckets
from agent.security.orders import Watch
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.testing import FakeMaps


@pytest.mark.parametrize(
    "watch, row",
    [
        (Watch(per_second=10, burst=50), (100_000_000, 5_000_000_000, 0, 0)),
        (Watch(per_second=3, burst=1, group=7), (333_333_333, 333_333_333, 7, 0)),
        (Watch(per_second=0, burst=0), (1_000_000_000, 1_000_000_000, 0, 0)),
        (Watch(per_second=10**12, burst=2), (1, 2, 0, 0)),
    ],
)
def test_a_bucket_is_an_interval_and_how_many_of_them_at_once(watch: Watch, row: tuple[int, ...]) -> None:
    assert buckets.row(watch) == row
    assert buckets.rows({23: watch}) == {struct.pack("=Q", 23): row}


def test_what_was_refused_is_its_workloads() -> None:
    maps = FakeMaps(rows={"exec_suppressed": [(struct.pack("=Q", 23), (7,)), (struct.pack("=Q", 29), (1,))]})
    assert list(buckets.suppressed(maps, "exec")) == [
        Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("exec",)),
        Sample(catalogue.SECURITY_SUPPRESSED, 1, 29, ("exec",)),
    ]
