"""Does `bpfleet top` tell each workload's requests: how many, which share failed, how long they took?

Witnesses: curl's own count of answers; promtool's quantiles and shares of the very pages that top has read.
"""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.support import commands, promtool
from tests.support.agents import Agent
from tests.support.cgroups import PREFIX, Cgroup
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS, Namespace
from tests.support.servers import Nginx
from tests.support.terminals import BPFLEET
from tests.support.views import Pages

from agent.activity import Activity
from agent.screen import GROUPS

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

GOOD, SLOW, BAD = 15, 5, 5
SERVERS = """limit_req_zone $server_port zone=slow:1m rate=20r/s;
server {{ listen 81; return 503; }}
server {{ listen 82; root {folder}/files; limit_req zone=slow burst=100; }}"""
"""nginx lets a request of the last one wait until 50 ms have passed since the one before."""
_, SERVED, CALLED = ([column.title for column in group.columns] for group in GROUPS)


def curl(client: Cgroup, port: int, path: str, count: int, status: int) -> None:
    """So many requests over one connection, each answered with that status."""
    words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", f"http://198.51.100.1:{port}/{path}?[1-{count}]"]
    assert client.run(words).stdout.split() == [str(status)] * count


def live(agent: Agent) -> str:
    agent.drained()
    return agent.get("/metrics?view=live")[1].decode()


def top(url: str, *words: str) -> dict[str, dict[str, str]]:
    """What a pipe gets of the tests' own cgroups (others may have an empty cell), by workload and title."""
    asked = [*BPFLEET, "top", "--once", "--url", url, "--interval", "0.1", *words]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=RUN_SECONDS, check=True).stdout
    titles, *rows = [re.split(r" {2,}", line.strip()) for line in told.splitlines() if not line.startswith("#")]
    return {row[1]: dict(zip(titles, row, strict=True)) for row in rows if row[1].startswith(f"/{PREFIX}")}


@needs("nginx", "curl", "promtool")
def test_requests_errors_and_quantiles_are_those_of_curl_and_of_prometheus(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path
) -> None:
    server, client, idle = place("server", pair[0]), place("client", pair[1]), place("idle", pair[1])
    Nginx(server, tmp_path, directives=SERVERS.format(folder=tmp_path)).file("slow", 1)
    before = live(agent)
    curl(client, 80, "", GOOD, 200)
    curl(client, 81, "", BAD, 503)
    curl(client, 82, "slow", SLOW, 200)
    assert "REFUSED" in idle.talk("connect", "198.51.100.1", 9, count=1)
    after = live(agent)
    with Pages(before, after) as pages:
        shown = top(pages.url, "--sort", "errors")
    activity = Activity()
    activity.add(before, 0.0)
    activity.add(after, 2.0)
    rows = {row.workload.name: row for row in activity.rows()}
    for cgroup, own, other in ((server, SERVED, CALLED), (client, CALLED, SERVED)):
        cells = shown[cgroup.workload]
        rate, errors, *quantiles = (cells[title] for title in own)
        assert float(rate) > 0 and errors == "20%"
        assert "-" not in quantiles and float(quantiles[-1].removesuffix(" ms")) > 25
        assert {cells[title] for title in other} == {"-"}
    assert {shown[idle.workload][title] for title in (*SERVED, *CALLED)} == {"-"}
    sides = rows[server.workload].served, rows[client.workload].called
    assert [side and side.per_second for side in sides] == [(GOOD + SLOW + BAD) / 2] * 2
    asked = promtool.answers([rows[server.workload], rows[client.workload]])
    assert promtool.verdict(tmp_path, (before, after), asked) == ""
    assert "got" in promtool.verdict(tmp_path, (after, after), asked)


def test_an_agent_whose_request_log_is_off_says_so_and_how_to_switch_it_on(agent: Agent) -> None:
    words = [*commands.BPFLEET, "requests", "--url", f"http://127.0.0.1:{agent.port}"]
    told = subprocess.run(words, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert (told.returncode, told.stdout) == (1, "")
    assert " is off; " in told.stderr and "--requests-log" in told.stderr
