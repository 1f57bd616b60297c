"""The same collector without a kernel, and with one: `pytest test_fsyncs.py`."""

import struct

import pytest

from bpfleet.api import Sample
from bpfleet.testing import FakeMaps, loaded, obstacle, samples
from fsyncs import FSYNCS, Fsyncs

CALLS = "import os; file = os.memfd_create('x'); [os.fsync(file) for _ in range(499)]"


def test_a_row_is_a_sample_and_every_call_is_delivered() -> None:
    maps = FakeMaps(rows={"fsyncs": [(struct.pack("=Q", 23), (7,)), (struct.pack("=Q", 29), (16,))]})
    assert samples(Fsyncs(), maps) == [Sample(FSYNCS, 7, 23), Sample(FSYNCS, 16, 29)]
    assert maps.delivered == {"fsyncs": 23}


@pytest.mark.skipif(bool(obstacle()), reason=obstacle())
def test_each_call_is_counted() -> None:
    with loaded(Fsyncs()) as trial:
        trial.run(["python3", "-c", CALLS])
        assert trial.total(FSYNCS) == 499
        trial.run(["true"])
        assert trial.total(FSYNCS) == 499
        assert trial.books()["fsyncs"].balanced
