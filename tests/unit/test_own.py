from argparse import Namespace
from collections.abc import Iterator

import pytest

from agent import configuration, own
from agent.metrics.exposition import Form
from agent.server import Application, Server
from bpfleet.errors import HostError, SettingsError


class NoMetrics:
    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        return b""


@pytest.fixture
def port() -> Iterator[int]:
    """Of an agent that is not ready yet."""
    server = Server(Application(NoMetrics(), str, lambda: "loading", dict), ("127.0.0.1", 0))
    yield server.address[1]
    server.close()


def parsed(*words: str) -> Namespace:
    parser = configuration.Parser("bpfleet test", "")
    own.add_to(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_an_agent_that_runs_here_is_found_while_it_still_loads(port: int, host: str) -> None:
    found = own.running(parsed("--listen", f"{host}:{port}"), {})
    assert found and found.address == f"http://127.0.0.1:{port}/metrics"
    by_environment = own.running(parsed(), {"BPFLEET_LISTEN": f"{host}:{port}"})
    assert by_environment and by_environment.address == found.address


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:0", "[::1]:1", "no-such-host.invalid:80"])
def test_where_nobody_answers_no_agent_runs(address: str) -> None:
    assert own.running(parsed("--listen", address), {}) is None


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="limits.flows"):
        own.running(parsed("--limits-flows", "x"), {})


def test_an_agent_is_named_by_its_url() -> None:
    found = own.named(parsed("--url", "http://node:9436"))
    assert found and found.address == "http://node:9436/metrics"
    assert own.named(parsed()) is None
    with pytest.raises(HostError, match="--url must be"):
        own.named(parsed("--url", "node:9436"))


def test_what_the_user_says_wins_over_the_defaults_of_a_command() -> None:
    def flags(*words: str, **environment: str) -> dict[str, str]:
        return own.agent_flags(parsed(*words), environment, lambda: 4321, {"log_level": "debug"})

    assert flags() == {"log_level": "debug", "sinks.jsonl.path": "", "listen": "127.0.0.1:4321"}
    assert flags("--log-level", "error")["log_level"] == "error"
    assert "log_level" not in flags(BPFLEET_LOG_LEVEL="error")
    assert flags("--listen", "[::1]:0")["listen"] == "[::1]:4321"
