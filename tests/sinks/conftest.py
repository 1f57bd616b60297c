"""One collector for all tests of this suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.receivers import Collector, binary


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("collector")


@pytest.fixture(scope="session")
def server(folder: Path) -> certificates.Pair:
    return certificates.make(folder, "server")


@pytest.fixture(scope="session")
def client(folder: Path) -> certificates.Pair:
    return certificates.make(folder, "client")


@pytest.fixture(scope="session")
def collector(folder: Path, server: certificates.Pair, client: certificates.Pair) -> Iterator[Collector]:
    try:
        binary()
    except OSError as error:
        pytest.skip(str(error))
    made = Collector(folder, server, client)
    yield made
    made.stop()
