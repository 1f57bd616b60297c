"""Why a test cannot run here, in one line."""

import shutil

import pytest


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where a program is not installed."""
    absent = [one for one in programs if not shutil.which(one)]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")
