"""Does the agent count exactly on another kernel? One of them, where a guest takes seconds; `make matrix` boots all."""

from pathlib import Path

import pytest
from matrix.archive import Unavailable
from matrix.emulators import accelerates

from matrix import __main__ as matrix

OLDEST = "5.10"


@pytest.mark.skipif(
    not accelerates(), reason="no virtualisation here, and an emulated guest takes minutes: make matrix"
)
def test_the_oldest_kernel_counts_exactly(tmp_path: Path) -> None:
    try:
        results = matrix.boot_all([OLDEST], {"plain": ()}, tmp_path)
    except Unavailable as error:
        pytest.skip(str(error))
    assert matrix.wrong(results[OLDEST]["boots"]["plain"]) == []
