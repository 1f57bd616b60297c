"""Finding the bundle."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle import places


def test_the_nearest_directory_above_is_the_bundle(tmp_path: Path) -> None:
    for name in ("clusters/kind", "policies"):
        (tmp_path / name).mkdir(parents=True)

    assert places.root(tmp_path / "clusters" / "kind") == tmp_path.resolve() == places.root(tmp_path)


def test_no_bundle_is_an_error_that_says_what_one_is(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here or above: it has the directories clusters and policies"):
        places.root(tmp_path)
