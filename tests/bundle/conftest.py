"""What several files of this suite render, once."""

import pytest

from bpfleet.errors import ToolError
from bundle import tools


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """The foreign programs."""
    for name in ("helm", "kubectl"):
        try:
            tools.find(name)
        except ToolError as error:
            pytest.skip(str(error))
