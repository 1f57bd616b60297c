"""Does `bpfleet requests` show what was asked of whom, with an agent that runs and with one of its own?

Witness: nginx's access log, row by row.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.agents import READY_SECONDS, Agent, House, free_port
from tests.support.cgroups import Cgroup
from tests.support.commands import BPFLEET
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.servers import Nginx
from tests.support.terminals import Terminal

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

SERVERS = """log_format asked '$request_method $uri $status'; access_log {folder}/asked.log asked;
server {{ listen 81; return 200; }} server {{ listen 82; return 503; }}"""
WORDS = "{anchor,basket,candle,dragon,engine,forest,garden}"
"""Words that nobody takes for an id."""

FIRST_ROW_SECONDS = 10.0


def web(server: Cgroup, folder: Path) -> None:
    Nginx(server, folder, directives=SERVERS.format(folder=folder))


def asked(folder: Path) -> list[tuple[str, str, int]]:
    """nginx's log: method, path and status."""
    lines = (folder / "asked.log").read_text().splitlines()
    return [(method, path, int(status)) for method, path, status in map(str.split, lines)]


def curl(client: Cgroup, url: str, *words: str) -> None:
    client.run(["curl", "-sS", "-o", "/dev/null", *words, url])


def told(agent: Agent, *words: str) -> list[tuple[str, str, int]]:
    """As nginx has it, in the order of the answers."""
    command = [*BPFLEET, "requests", "--json", "--url", f"http://127.0.0.1:{agent.port}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    return [fields(json.loads(line)) for line in done.stdout.splitlines()]


def fields(request: dict[str, Any]) -> tuple[str, str, int]:
    return request["http.request.method"], request["url.path"], request["http.response.status_code"]


@pytest.fixture
def logging(alone: House) -> Iterator[Agent]:
    with Agent("--requests-log", "all", "--sinks-jsonl-path", "") as agent:
        yield agent


@needs("nginx", "curl")
def test_rows_are_those_of_nginx_and_filters_choose_among_them(
    logging: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    server, client = place("server", pair[0]), place("client", pair[1])
    web(server, tmp_path)
    curl(client, f"http://198.51.100.1:81/fine/{WORDS}")
    curl(client, f"http://198.51.100.1:81/put/{WORDS}", "-X", "PUT")
    curl(client, f"http://198.51.100.1:82/wrong/{WORDS}")
    logging.drained()
    rows = asked(tmp_path)
    assert len(rows) == 21
    for cgroup, role in ((server, "server"), (client, "client")):
        side = ["--role", role, "--workload", cgroup.workload]
        assert told(logging, *side) == rows
        assert told(logging, *side, "--method", "PUT") == rows[7:14]
        assert told(logging, *side, "--status", ">=400", "--path", "/wr") == rows[14:]
        assert told(logging, *side, "--path", "/*/[ab]*", "--status", "2xx", "--count", "4") == [*rows[:2], *rows[7:9]]
    assert told(logging, "--workload", server.workload, "--min-duration", "1000s") == []


@needs("nginx", "curl")
def test_an_agent_of_its_own_shows_requests_as_they_come(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    server, client = place("server", pair[0]), place("client", pair[1])
    web(server, tmp_path)
    words = ["--listen", f"127.0.0.1:{free_port()}", "--identity-kubernetes", "off", "--workload", server.workload]
    with Terminal("requests", *words, "--status", "5xx", command=BPFLEET) as terminal:
        terminal.wait_for("every HTTP/1.x request from now on", READY_SECONDS)
        curl(client, "http://198.51.100.1:81/fine")
        curl(client, "http://198.51.100.1:82/wrong")
        terminal.wait_for(":82/wrong", FIRST_ROW_SECONDS)
        terminal.press("\x03")
        assert terminal.end() == 0
    assert "/fine" not in terminal.seen
