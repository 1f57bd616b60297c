"""Are the looks taken, joined and filtered as asked, and is what goes wrong told?"""

from pathlib import Path

import pytest
from tests.unit.told_flows import Peer, Who, told

from agent import topology
from agent.polling import Server
from agent.topology_edges import edges
from agent.topology_flows import read
from agent.topology_forms import Topology
from bpfleet.errors import HostError, SettingsError

WEB, DB = Who("shop", "web", "Deployment", "web-1"), Who("shop", "db", "StatefulSet", "db-0")
OUTSIDE = Peer("external", "", "payments-api")
TO_DB, TO_OUTSIDE = Peer("pod", "shop", "db-0"), OUTSIDE


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


class Scripted(Server):
    """An agent that answers with these pages in turn; an exception is raised. Each takes a second."""

    def __init__(self, name: str, clock: Clock, *pages: str | Exception) -> None:
        super().__init__(f"http://{name}:9436")
        self.clock, self.pages = clock, list(pages)

    def page(self) -> str:
        self.clock.wait(1.0)
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page


def asked(seconds: float, clock: Clock, *agents: Server) -> tuple[Topology, list[str]]:
    return topology.asked(agents, seconds, clock, clock.wait)


def test_two_looks_at_two_agents_make_one_topology() -> None:
    clock = Clock()
    client = Scripted("a", clock, told(WEB, TO_DB, 80, opened=3, sent=9), told(WEB, TO_DB, 80, opened=5, sent=19))
    pod = Peer("pod", "shop", "web-1")
    server = Scripted("b", clock, told(DB, pod, 80, accepted=3), told(DB, pod, 80, accepted=5))
    found, notes = asked(10.0, clock, client, server)
    assert (found.agents, notes) == (["http://a:9436/metrics", "http://b:9436/metrics"], [])
    assert found.seconds == 10.0
    (edge,) = found.edges
    assert (edge.tally.connections, edge.tally.sent, edge.told["server"].connections) == (2, 10, 2)


def test_one_look_tells_all_since_the_agents_start() -> None:
    clock = Clock()
    found, _ = asked(0.0, clock, Scripted("a", clock, told(WEB, TO_DB, 80, opened=3)))
    assert (found.seconds, found.edges[0].tally.connections, clock.now) == (0.0, 3, 101.0)


def test_an_agent_that_does_not_answer_is_told_of_and_the_others_are_shown() -> None:
    clock = Clock()
    page = told(WEB, OUTSIDE, 443, opened=3)
    found, notes = asked(
        5.0,
        clock,
        Scripted("silent", clock, HostError("silent: no route")),
        Scripted("a", clock, "", page),
        Scripted("left", clock, page, HostError("left: it is gone")),
        Scripted("odd", clock, "", "bpfleet_flow_bytes_total{ 1\n"),
    )
    assert found.agents == ["http://a:9436/metrics"]
    assert len(found.edges) == 1
    assert notes[:2] == ["silent: no route", "left: it is gone"]
    assert notes[2].startswith("http://odd:9436/metrics: not a line of metrics")


def test_where_no_agent_answers_that_is_an_error() -> None:
    clock = Clock()
    with pytest.raises(HostError, match="no route"):
        asked(5.0, clock, Scripted("a", clock, HostError("a: no route\x1b[2J")))


def test_a_collector_that_is_off_is_told() -> None:
    clock = Clock()
    page = 'bpfleet_collector_up{collector="http"} 0\nbpfleet_collector_up{collector="drops"} 0\n'
    assert asked(0.0, clock, Scripted("a", clock, page))[1] == ["collector http is off at an agent"]


@pytest.mark.parametrize(
    ("namespaces", "workloads", "count"),
    [
        (None, None, 3),
        (("shop",), None, 2),
        (("sh*", "x"), None, 2),
        (None, ("payments-api",), 1),
        (("shop",), ("web",), 2),
        (("shop",), ("bank",), 0),
        (("[shop]",), None, 0),
        (None, ("b[a]nk",), 1),
    ],
)
def test_filters_hold_for_either_end(
    namespaces: tuple[str, ...] | None, workloads: tuple[str, ...] | None, count: int
) -> None:
    bank = Who("bank", "b[a]nk", "Deployment")
    page = told(WEB, TO_DB, 80, opened=1) + told(WEB, OUTSIDE, 443, opened=1)
    page += told(bank, Peer("service", "bank", "x"), 80, opened=1)
    found = topology.chosen(Topology(edges([read(page)]), 0.0, []), namespaces, workloads)
    assert len(found.edges) == count


def test_a_saved_page_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page"
    page.write_text(told(WEB, OUTSIDE, 443, opened=3, asked=23))
    assert topology.main(["--page", str(page), "--format", "mermaid"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "flowchart LR",
        '  n1["shop/web"]',
        '  n2["external payments-api"]',
        '  n1 -->|"http :443, 23 requests, 0 B"| n2',
    ]
    assert said.err == ""


def test_a_file_that_is_no_page_is_an_error_with_its_name(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.write_text("bpfleet_flow_bytes_total{ 1\n")
    with pytest.raises(HostError, match=f"{page}: not a line of metrics"):
        topology.main(["--page", str(page)])
    with pytest.raises(SettingsError, match="absent: cannot be read"):
        topology.main(["--page", str(tmp_path / "absent")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "x"], "must be a number of seconds from 0 to 3600"),
        (["--seconds", "nan"], "must be a number of seconds from 0 to 3600"),
        (["--seconds", "-1"], "must be a number of seconds from 0 to 3600"),
        (["--format", "svg"], "invalid choice: 'svg'"),
        (["--namespace", "a,,b"], "has an empty part"),
        (["--agent", "http://a", "--page", "b"], "not allowed with argument"),
    ],
)
def test_wrong_words_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        topology.main(words)
    assert said in capsys.readouterr().err


def test_an_agent_may_not_be_asked_twice() -> None:
    with pytest.raises(HostError, match="is given twice"):
        topology.main(["--agent", "http://a:9436", "--agent", "http://a:9436/metrics"])


def test_a_page_may_not_be_told_twice(tmp_path: Path) -> None:
    saved = tmp_path / "metrics.txt"
    saved.write_text("")
    (tmp_path / "other.txt").symlink_to(saved)
    with pytest.raises(HostError, match="--page .* is given twice"):
        topology.main(["--page", str(saved), "--page", str(tmp_path / "other.txt")])


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(HostError, match="must be http://HOST:PORT"):
        topology.main(["--agent", "localhost"])
