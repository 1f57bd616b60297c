import struct

from agent.security import buckets
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.testing import FakeMaps


def test_what_was_refused_is_its_workloads() -> None:
    maps = FakeMaps(rows={"exec_suppressed": [(struct.pack("=Q", 23), (7,)), (struct.pack("=Q", 29), (1,))]})
    assert list(buckets.suppressed(maps, "exec")) == [
        Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("exec",)),
        Sample(catalogue.SECURITY_SUPPRESSED, 1, 29, ("exec",)),
    ]
