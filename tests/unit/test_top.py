import io
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.marks import needs
from tests.support.terminals import Terminal

from agent import configuration, settings
from agent.credentials import certificate, token
from agent.metrics.exposition import Form
from agent.own import own_server
from agent.polling import Server
from agent.server import Application
from agent.server import Server as HttpServer
from agent.top import Top, agent_flags, main
from bpfleet.errors import HostError, SettingsError

WHO = 'namespace="_host",pod="",container="",workload="{}",workload_kind="SystemdUnit"'


def page(received: int, name: str = "nginx.service") -> str:
    who = WHO.format(name)
    return (
        f'bpfleet_network_io_bytes_total{{{who},direction="receive",transport="tcp",family="ipv4"}} {received}\n'
        'bpfleet_collector_up{collector="tcp"} 0\n'
        'bpfleet_collector_info{collector="tcp",hook="",reason="needs PERFMON"} 1\n'
    )


class Pages(BaseHTTPRequestHandler):
    """Each page receives 1000 bytes more than the one before; /broken fails."""

    served = 0

    def do_GET(self) -> None:
        if self.path != "/metrics?view=live":
            self.send_error(503)
            return
        Pages.served += 1
        body = page(1000 * Pages.served).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Script(Server):
    """Pages from a list; an exception in it is raised."""

    def __init__(self, *pages: str | Exception) -> None:
        super().__init__("http://script")
        self._pages = iter(pages)

    def page(self) -> str:
        found = next(self._pages)
        if isinstance(found, Exception):
            raise found
        return found


def top(*pages: str | Exception) -> Top:
    seconds = iter(range(0, 1000, 2))
    return Top(Script(*pages), "traffic", 2.0, lambda: None, lambda: float(next(seconds)))


def once(*pages: str | Exception) -> str:
    out = io.StringIO()
    top(*pages).run_plain(out, lambda _: None, once=True)
    return out.getvalue()


def test_plain_rows_come_after_one_interval_with_what_is_off() -> None:
    note, titles, row = once(page(0), page(4000)).splitlines()
    assert note == "# collector tcp is off: needs PERFMON"
    assert titles.split()[:2] == ["NAMESPACE", "WORKLOAD"]
    assert row.split()[:5] == ["_host", "nginx.service", "SystemdUnit", "2", "kB/s"]


def test_an_agent_that_is_not_there_at_the_start_is_an_error() -> None:
    with pytest.raises(HostError, match="refused"):
        once(HostError("refused"))


def test_an_agent_that_goes_away_later_is_told_and_waited_for() -> None:
    watched = top(page(0), HostError("timed out \x1b[2J"), page(4000))
    watched.poll()
    watched.poll()
    assert watched.notes()[-1] == "timed out \\x1b[2J"
    watched.poll()
    assert watched.notes() == ["collector tcp is off: needs PERFMON"]
    assert watched.rows()[0].received == 2000.0


def test_a_page_that_is_no_metrics_is_told() -> None:
    with pytest.raises(HostError, match="not a line of metrics"):
        once("bpfleet_network_io_bytes_total{\n")


def test_keys_sort_and_q_leaves() -> None:
    watched = top(page(0))
    assert watched.press("") and watched.press("l") and watched.press("x")
    assert not watched.press("q")


def test_pages_come_over_http(url: str) -> None:
    assert "bpfleet_network_io_bytes_total" in Server(url).page()
    assert "bpfleet_network_io_bytes_total" in Server(f"{url}/metrics").page()
    assert not Server(url).ready() and Server(url).is_there()
    assert not Server("http://127.0.0.1:1").is_there()
    with pytest.raises(HostError, match="503"):
        Server(f"{url}/broken").page()


@pytest.mark.parametrize("wrong", ["localhost:9436", "ftp://x", "http://", "file:///etc/passwd", ""])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(HostError, match="--url must be"):
        Server(wrong)


TOKEN = "0123456789abcdef"


class Guarded:
    """An agent's own server over HTTPS with a token, and its files."""

    def __init__(self, folder: Path) -> None:
        self.pair, self.token = certificates.make(folder), folder / "token"
        self.token.write_text(f"{TOKEN}\n")
        values = {"certificate_file": self.pair.chain, "key_file": self.pair.key, "token_file": self.token}
        self.settings = settings.Server(**{name: str(path) for name, path in values.items()})
        context = certificate(*self.pair)
        application = Application(Text(), str, lambda: "loading", dict, lambda: token(self.token))
        self.server = HttpServer(application, ("127.0.0.1", 0), lambda: context)
        self.address = f"127.0.0.1:{self.server.address[1]}"


class Text:
    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        return page(1000).encode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    yield made
    made.server.close()


@needs("openssl")
def test_an_agent_of_ones_own_is_asked_as_its_settings_demand(guarded: Guarded, tmp_path: Path) -> None:
    """Its certificate need not be for this address, and nobody need have signed it; but it must be the very one."""
    own = own_server(guarded.address, guarded.settings)
    assert own.address == f"https://{guarded.address}/metrics"
    assert "bpfleet_network_io_bytes_total" in own.page()
    assert not own.ready()
    foreign = certificates.make(tmp_path, "foreign").chain
    with pytest.raises(HostError, match="certificate verify failed"):
        own_server(guarded.address, replace(guarded.settings, certificate_file=str(foreign))).page()
    with pytest.raises(HostError, match="401"):
        own_server(guarded.address, replace(guarded.settings, token_file="")).page()
    guarded.token.write_text("")
    with pytest.raises(HostError, match="the token is empty"):
        own.page()


def test_an_agent_of_ones_own_without_certificate_or_token_is_asked_plainly(url: str) -> None:
    own = own_server(url.removeprefix("http://"), settings.Server())
    assert "bpfleet_network_io_bytes_total" in own.page()


@needs("openssl")
def test_another_agent_is_asked_with_the_files_that_are_named(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--once", "--interval", "0.1", "--url", f"https://{guarded.address}"]
    ca, given = ["--ca-file", str(guarded.pair.chain)], ["--token-file", str(guarded.token)]
    assert main([*asked, *ca, *given]) == 0
    assert "collector tcp is off" in capsys.readouterr().out
    for words, why in (
        (ca, "401 Unauthorized"),
        (given, "certificate verify failed"),
        ([*given, "--ca-file", "/absent"], "No such file"),
    ):
        with pytest.raises(HostError, match=why):
            main([*asked, *words])


def parsed(*words: str) -> Namespace:
    parser = configuration.Parser("bpfleet top", "")
    parser.set_defaults(interval=2.0)
    return parser.parse_args(words)


def test_an_agent_of_ones_own_gets_a_free_port_and_a_quick_pace() -> None:
    assert agent_flags(parsed("--collectors", "-tcp"), {}, lambda: 4321) == {
        "collectors": "-tcp",
        "listen": "127.0.0.1:4321",
        "drain_interval_seconds": "1",
        "sinks.jsonl.path": "",
    }


def test_the_users_own_address_and_pace_are_kept() -> None:
    words = parsed("--listen", "[::1]:80", "--drain-interval-seconds", "3")
    kept = {"listen": "[::1]:80", "drain_interval_seconds": "3", "sinks.jsonl.path": ""}
    assert agent_flags(words, {}, lambda: 4321) == kept


def test_events_go_to_a_file_that_the_user_names_and_never_to_the_screen() -> None:
    named = agent_flags(parsed("--sinks-jsonl-path", "/var/log/events.jsonl"), {}, lambda: 4321)
    assert named["sinks.jsonl.path"] == "/var/log/events.jsonl"
    assert agent_flags(parsed("--sinks-jsonl-path", "-"), {}, lambda: 4321)["sinks.jsonl.path"] == ""
    environment = {"BPFLEET_SINKS_JSONL_PATH": "/var/log/events.jsonl"}
    assert "sinks.jsonl.path" not in agent_flags(parsed(), environment, lambda: 4321)


def test_an_address_in_the_environment_is_kept_and_port_0_is_made_a_real_one() -> None:
    assert agent_flags(parsed(), {"BPFLEET_LISTEN": "0.0.0.0:0"}, lambda: 4321)["listen"] == "0.0.0.0:4321"


def test_wrong_settings_are_refused_before_anything_starts() -> None:
    with pytest.raises(SettingsError, match="limits.flows"):
        main(["--limits-flows", "x"])


def test_at_a_terminal_the_table_is_live_and_sorts_by_key(url: str) -> None:
    with Terminal("top", "--url", url, "--interval", "0.1") as terminal:
        terminal.wait_for("workloads by traffic")
        terminal.wait_for("nginx.service")
        terminal.press("l")
        terminal.wait_for("workloads by rtt")
        terminal.press("q")
        assert terminal.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(url: str, number: signal.Signals) -> None:
    with Terminal("top", "--url", url, "--interval", "0.1") as terminal:
        terminal.wait_for("workloads by traffic")
        terminal.process.send_signal(number)
        assert terminal.end() == (0 if number == signal.SIGINT else 128 + number)


def test_an_agent_of_ones_own_that_fails_is_told_at_the_terminal() -> None:
    with Terminal("top", "--kernel-python", "/nonexistent/python3") as terminal:
        terminal.wait_for("starting an agent on this host")
        terminal.wait_for("the agent ended")
        assert terminal.end() == 1
