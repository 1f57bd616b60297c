"""`bpfleet requests`, with the agent's own way of an event before it: router, sink, server, and the real command."""

import io
import json
import subprocess
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import BPFLEET
from tests.support.terminals import SOURCE, Terminal
from tests.unit.events.fakes import Bench, event, wait_until
from tests.unit.hostile import STRINGS

from agent import configuration
from agent.metrics.exposition import Form
from agent.polling import Server
from agent.server import MAX_REQUESTS, Application
from agent.server import Server as HttpServer
from agent.sinks.recent import MAX_KEPT, Recent
from agent.tail import Follower, Printer, Tail, agent_flags, main
from bpfleet.errors import HostError, SettingsError
from bpfleet.events import HTTP_REQUEST

RUN_SECONDS = 30.0
ENVIRONMENT = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"}


class NoMetrics:
    def render(self, form: Form, compress: bool = False, live: bool = False) -> bytes:
        return b""


class Agent:
    """All of an agent that a request passes, but the kernel. name: another one after each start."""

    def __init__(self, log: str = "all", name: str = "a1", token: str = "") -> None:
        self.collectors: dict[str, dict[str, object]] = {"http": {"up": True, "reason": ""}}
        self.recent = Recent(lambda: log, name) if log != "off" else None
        self.bench = Bench(sinks=[self.recent] if self.recent else [])
        status = {"collectors": self.collectors}
        application = Application(NoMetrics(), str, str, lambda: status, lambda: token.encode(), self.recent)
        self.server = HttpServer(application, ("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.address[1]}"

    def log(self, *requests: dict[str, Any]) -> None:
        """As the collector tells of them; returns when all have arrived."""
        assert self.recent
        wanted = self.recent.look(0, 1).last + len(requests)
        self.bench.drain(*(event(name=HTTP_REQUEST, **request) for request in requests))
        wait_until(lambda: self.recent is not None and self.recent.look(0, 1).last == wanted)

    def close(self) -> None:
        self.bench.router.close()
        for delivery in self.bench.deliveries:
            delivery.close()
        self.server.close()


def request(path: str = "/", status: int = 200, seconds: float = 0.001, **more: Any) -> dict[str, Any]:
    return {
        "http.request.method": "GET",
        "http.response.status_code": status,
        "url.path": path,
        "bpfleet.duration": seconds,
        "bpfleet.http.role": "server",
        **more,
    }


@pytest.fixture
def made() -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def make(**how: str) -> Agent:
        agents.append(Agent(**how))
        return agents[-1]

    yield make
    for each in agents:
        each.close()


@pytest.fixture
def agent(made: Callable[..., Agent]) -> Agent:
    return made()


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*BPFLEET, "requests", *words], capture_output=True, text=True, timeout=RUN_SECONDS, env=ENVIRONMENT
    )


def rows(text: str) -> list[str]:
    return text.splitlines()[1:]


def test_what_an_agent_keeps_is_shown_in_its_order_with_its_owner(agent: Agent) -> None:
    agent.log(*(request(f"/{number}") for number in range(23)))
    told = run("--url", agent.url)
    assert (told.returncode, told.stderr) == (0, "")
    assert [line.split()[-1] for line in rows(told.stdout)] == [f"/{number}" for number in range(23)]
    assert {line.split()[2] for line in rows(told.stdout)} == {"shop/web"}


def test_filters_choose(agent: Agent) -> None:
    agent.log(request("/a"), request("/b", 503), request("/c", 404, 2.0), request("/b/x", 500, 0.1))
    for words, paths in (
        (["--status", "5xx"], ["/b", "/b/x"]),
        (["--status", ">=400", "--min-duration", "50ms"], ["/c", "/b/x"]),
        (["--path", "/b/*"], ["/b/x"]),
        (["--namespace", "sh*", "--workload", "web", "--role", "server", "--method", "GET", "--path", "/a"], ["/a"]),
    ):
        told = run("--url", agent.url, *words)
        assert [line.split()[-1] for line in rows(told.stdout)] == paths
    told = run("--url", agent.url, "--namespace", "other")
    assert (told.stdout, told.stderr) == ("", "bpfleet requests: none of 4 requests matches\n")


def test_json_is_the_record_that_every_sink_gets(agent: Agent) -> None:
    agent.log(request("/ü\x1b", **{"server.address": "x"}))
    told = run("--url", agent.url, "--json")
    (record,) = map(json.loads, told.stdout.splitlines())
    assert record == {
        **request("/ü\x1b", **{"server.address": "x"}),
        "event.name": HTTP_REQUEST,
        "k8s.namespace.name": "shop",
        "k8s.pod.name": "web-7d9f8b6c5d-x2x4z",
        "k8s.container.name": "main",
        "bpfleet.workload.name": "web",
        "bpfleet.workload.kind": "Deployment",
        "k8s.node.name": "node-1",
        "time": record["time"],
    }
    assert told.stdout.isascii()


def test_hostile_words_do_nothing_in_either_form(agent: Agent) -> None:
    agent.log(*(request(text, **{"server.address": text, "error.type": text}) for text in STRINGS))
    as_text, as_json = run("--url", agent.url).stdout, run("--url", agent.url, "--json").stdout
    assert len(as_text.split("\n")) == len(STRINGS) + 2
    assert all(line.isprintable() for line in as_text.split("\n"))
    assert len(as_json.split("\n")) == len(STRINGS) + 1
    assert all(0x20 <= ord(character) < 0x7F for line in as_json.split("\n") for character in line)


def test_more_than_one_page_holds_is_shown_whole(agent: Agent) -> None:
    count = 2 * MAX_REQUESTS + 23
    agent.log(*(request(f"/{number}") for number in range(count)))
    told = run("--url", agent.url, "--json")
    assert [json.loads(line)["url.path"] for line in told.stdout.splitlines()] == [f"/{n}" for n in range(count)]


def test_a_log_that_is_off_is_told_with_how_to_switch_it_on(made: Callable[..., Agent]) -> None:
    told = run("--url", made(log="off").url)
    assert (told.returncode, told.stdout) == (1, "")
    assert "the request log of the agent at http://127.0.0.1:" in told.stderr and " is off; " in told.stderr
    for way in ("requests.log", "BPFLEET_REQUESTS_LOG", "--requests-log", "errors, sampled or all"):
        assert way in told.stderr


def test_a_log_without_requests_yet_and_a_collector_that_is_off_are_told(agent: Agent) -> None:
    agent.collectors |= {"http": {"up": False, "reason": "needs \x1b PERFMON"}, "tcp": {"up": False, "reason": "x"}}
    told = run("--url", agent.url)
    assert told.stderr.splitlines() == [
        "bpfleet requests: collector http is off: needs \\x1b PERFMON",
        "bpfleet requests: no request is logged yet",
    ]


def test_a_token_is_asked_for(made: Callable[..., Agent], tmp_path: Path) -> None:
    agent = made(token="0123456789abcdef")
    agent.log(request("/secret"))
    refused = run("--url", agent.url)
    assert refused.returncode == 1 and "401 Unauthorized" in refused.stderr and "secret" not in refused.stdout
    (tmp_path / "token").write_text("0123456789abcdef")
    assert "/secret" in run("--url", agent.url, "--token-file", str(tmp_path / "token")).stdout


def test_an_agent_that_runs_here_is_found_by_its_settings(agent: Agent) -> None:
    agent.log(request("/here"))
    assert "/here" in run("--listen", agent.url.removeprefix("http://")).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "localhost"], "--url must be"),
        (["--url", "http://127.0.0.1:1"], "refused"),
        (["--count", "0"], "whole number from 1 on"),
        (["--status", "x"], "5xx"),
        (["--requests-log", "some"], "errors"),
    ],
)
def test_what_is_wrong_is_told_in_words(words: list[str], said: str) -> None:
    told = run(*words)
    assert told.returncode in (1, 2) and told.stdout == ""
    assert said in told.stderr and "Traceback" not in told.stderr


def test_wrong_settings_are_refused_before_anything_starts() -> None:
    with pytest.raises(SettingsError, match="limits.flows"):
        main(["--limits-flows", "x"])


def test_an_agent_of_ones_own_logs_every_request_unless_the_user_says_otherwise() -> None:
    def flags(*words: str) -> dict[str, str]:
        parsed: Namespace = configuration.Parser("bpfleet requests", "").parse_args(words)
        return agent_flags(parsed, {}, lambda: 4321)

    assert flags() == {
        "drain_interval_seconds": "1",
        "requests.log": "all",
        "sinks.jsonl.path": "",
        "listen": "127.0.0.1:4321",
    }
    assert flags("--requests-log", "errors")["requests.log"] == "errors"


# Following


class Script(Server):
    """Answers from a list; an exception in it is raised."""

    def __init__(self, *answers: str | Exception) -> None:
        super().__init__("http://script")
        self.asked: list[int] = []
        self._answers = list(answers)

    def requests(self, after: int) -> str:
        self.asked.append(after)
        found = self._answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def answer(*paths: str, next: int, last: int = 0, missed: int = 0, agent: str = "a1", log: str = "all") -> str:
    requests = [{"url.path": path} for path in paths]
    facts = {"log": log, "agent": agent, "next": next, "last": last or next, "missed": missed}
    return json.dumps({**facts, "requests": requests})


def followed(*answers: str | Exception, count: int | None) -> tuple[list[str], list[str], list[int]]:
    """Paths that are shown, notes, and what was asked for."""
    server, notes, shown = Script(*answers), list[str](), list[str]()
    follower = Follower(
        Tail(server, notes.append),
        lambda request: True,
        lambda request: shown.append(str(request["url.path"])),
        notes.append,
        wait=lambda _: None,
    )
    follower.run(follow=count is not None, count=count)
    return shown, notes, server.asked


def test_following_shows_each_request_once_and_leaves_after_so_many() -> None:
    answers = answer("/1", "/2", next=2), answer(next=2), answer("/3", next=3, last=4), answer("/4", next=4)
    assert followed(*answers, count=4) == (["/1", "/2", "/3", "/4"], [], [0, 2, 2, 3])
    assert followed(answer("/1", "/2", next=2), count=1) == (["/1"], [], [0])


def test_what_nobody_could_see_in_time_is_told_by_number() -> None:
    shown, notes, _ = followed(answer("/1", next=1, missed=99), answer("/25", next=25, missed=23), count=2)
    assert shown == ["/1", "/25"]  # what had fallen out before the first look was never asked for
    assert notes == ["23 requests are not shown: more came than the agent keeps in a second"]


def test_a_new_start_of_the_agent_is_told_and_its_requests_are_shown_from_the_first_on() -> None:
    answers = answer("/1", next=7), answer(next=2, agent="a2"), answer("/x", "/y", next=2, agent="a2")
    shown, notes, asked = followed(*answers, count=3)
    assert (shown, asked) == (["/1", "/x", "/y"], [0, 7, 0])
    assert notes == ["the agent was started again: what it had logged before and was not shown is gone"]


def test_an_agent_that_goes_away_is_told_once_and_waited_for() -> None:
    gone = HostError("refused")
    shown, notes, _ = followed(answer("/1", next=1), gone, gone, answer("/2", next=2), count=2)
    assert (shown, notes) == (["/1", "/2"], ["refused"])


@pytest.mark.parametrize("text", ["", "<html>", "[]", '{"log": 1}', "{" * 100_000])
def test_an_answer_that_is_none_is_told(text: str) -> None:
    with pytest.raises(HostError, match="does not answer as an agent"):
        followed(text, count=1)


def test_an_answer_that_never_goes_on_is_not_asked_for_ever() -> None:
    assert followed(answer("/1", next=0, last=9), count=None) == (["/1"], [], [0])


def test_a_log_that_only_some_namespaces_ask_for_is_told() -> None:
    shown, notes, _ = followed(answer("/1", next=1, log="off"), count=1)
    assert (shown, notes) == (["/1"], ["the log is off but in namespaces that ask for it"])


def test_an_agent_of_ones_own_that_is_gone_ends_it() -> None:
    def check() -> None:
        raise HostError("the agent ended")

    follower = Follower(Tail(Script(answer(next=0)), str), bool, str, str, check, lambda _: None)
    with pytest.raises(HostError, match="the agent ended"):
        follower.run(follow=True, count=None)


def test_requests_show_up_while_it_follows(agent: Agent) -> None:
    agent.log(request("/before"))
    words = [*BPFLEET, "requests", "--url", agent.url, "--follow", "--json", "--count", str(MAX_KEPT)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as told:
        assert told.stdout
        assert json.loads(told.stdout.readline())["url.path"] == "/before"
        agent.log(request("/after"))
        assert json.loads(told.stdout.readline())["url.path"] == "/after"
        told.terminate()
        assert told.wait(RUN_SECONDS) == 128 + 15


def test_colours_and_cut_lines_are_for_terminals_only(agent: Agent) -> None:
    agent.log(request("/" + "x" * 500, 503), request("/fine"))
    assert "\x1b" not in run("--url", agent.url).stdout
    with Terminal("requests", "--url", agent.url, "--follow", command=BPFLEET) as terminal:
        terminal.wait_for("/fine")
        terminal.press("\x03")
        assert terminal.end() == 0
    broken = next(line for line in terminal.seen.splitlines() if "503" in line)
    assert broken.startswith("\x1b[31m") and broken.endswith("...\x1b[0m")
    assert len(broken.removeprefix("\x1b[31m").removesuffix("\x1b[0m")) == 100


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}, {}])
def test_a_terminal_that_wants_no_colours_gets_none(environment: dict[str, str]) -> None:
    class AtTerminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = AtTerminal()
    Printer(stream, False, environment).show({"http.response.status_code": 503})
    assert "\x1b" not in stream.getvalue()
    stream = AtTerminal()
    Printer(stream, False, {"TERM": "xterm"}).show({"http.response.status_code": 503})
    assert "\x1b[31m" in stream.getvalue()
