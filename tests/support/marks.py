"""Why a test cannot run here, in one line."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed."""
    absent = [one for one in programs if not shutil.which(one)]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


def skip_below(folder: Path, items: Iterable[pytest.Item], reason: str) -> None:
    """Skip the tests of a directory where none of them can run; an empty reason lets them."""
    for item in items:
        if reason and folder in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))
