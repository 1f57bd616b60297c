"""The committed dashboards, and broken copies of them."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bpfleet.errors import BundleError
from bundle import tools
from bundle.dashboards.asking import WANTED
from bundle.dashboards.boards import BOARDS
from bundle.dashboards.check import BUILT_IN, filled, may_be_empty, panels, problems, queries
from bundle.dashboards.cli import DASHBOARDS, DIRECTORY, texts

FOLDER = Path(__file__).parents[2] / DIRECTORY
FILES = sorted(FOLDER.glob("*.json"))
UIDS = ("overview", "namespace", "workload", "network", "requests", "security", "topology", "agent", "flux")

Edit = Callable[[dict[str, Any]], object]


def board(uid: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{uid}.json").read_text())
    return found


def edited(folder: Path, edit: Edit, uid: str = "bpfleet-network") -> Path:
    found = board(uid)
    edit(found)
    file = folder / f"{uid}.json"
    file.write_text(json.dumps(found, indent=2))
    return file


def panel(found: dict[str, Any], number: int) -> dict[str, Any]:
    return next(each for each in found["panels"] if each.get("id") == number)


def asks(number: int, expression: str, legend: str = "all") -> Edit:
    return lambda found: panel(found, number)["targets"].__setitem__(
        0, {**panel(found, number)["targets"][0], "expr": expression, "legendFormat": legend}
    )


def test_the_files_are_what_the_boards_say() -> None:
    made = texts()

    assert {file.name: file.read_text() for file in FILES} == made
    assert set(made) == {f"bpfleet-{name}.json" for name in UIDS}


def test_every_file_passes_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert DASHBOARDS.main(["--directory", str(FOLDER), "check"]) == 0

    shown = sum(len(row.panels) for each in BOARDS for row in each.rows)
    asked = sum(len(each.queries) for one in BOARDS for row in one.rows for each in row.panels)
    assert capsys.readouterr().out == f"ok: {len(UIDS)} dashboards, {shown} panels, {asked} queries\n"


def test_what_a_policy_leaves_aside_is_no_loss_for_the_board_and_for_the_alert() -> None:
    shown = next(each for each in panels(board("bpfleet-agent")) if each["title"] == "Lost")
    alert = (FOLDER.parents[2] / "policies/platform/agent.yaml").read_text()

    assert WANTED in shown["targets"][0]["expr"] and f'channel!="series",{WANTED}' in alert


def test_prometheus_itself_reads_every_query(tmp_path: Path) -> None:
    rules = []
    for file in FILES:
        found = json.loads(file.read_text())
        names = [each["name"] for each in found["templating"]["list"]]
        for _, expression in queries(found):
            text = filled(expression, {**BUILT_IN, **dict.fromkeys(names, ".*")})
            rules.append({"record": f"query:number{len(rules)}", "expr": text})
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    said = tools.run("promtool", "check", "rules", "--lint=none", tmp_path / "rules.yaml")

    assert f"SUCCESS: {len(rules)} rules found" in said


def test_kustomize_makes_a_config_map_of_each_that_the_sidecar_finds_and_flux_leaves_alone() -> None:
    made = list(yaml.safe_load_all(tools.run("kubectl", "kustomize", FOLDER)))

    assert {name: text for each in made for name, text in each["data"].items()} == texts()
    for each in made:
        assert each["kind"] == "ConfigMap" and each["metadata"]["namespace"] == "monitoring"
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert each["metadata"]["annotations"] == {
            "grafana_folder": "bpfleet",
            "kustomize.toolkit.fluxcd.io/substitute": "disabled",
        }


def test_what_may_be_empty_when_healthy_says_so_in_its_last_line() -> None:
    marked = {each["id"] for each in panels(board("bpfleet-network")) if may_be_empty(each)}
    said = {
        each.id
        for one in BOARDS
        if one.uid == "bpfleet-network"
        for row in one.rows
        for each in row.panels
        if each.empty
    }

    assert marked == said and 0 < len(said) < len(list(panels(board("bpfleet-network"))))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (asks(1, "sum(rate(bpfleet_network_io_byte_total[5m])"), "panel 1 (Bytes): query A: not PromQL: unclosed left"),
        (asks(1, "sum(rate(bpfleet_network_io_byte_total[5m]))"), "unknown metric bpfleet_network_io_byte_total"),
        (asks(1, "sum(rate(bpfleet_network_io_bytes_total[$__rate_intervall]))"), "no variable $__rate_intervall"),
        (asks(1, 'sum(rate(bpfleet_network_io_bytes_total{dir="x"}[5m]))'), "io_bytes_total has no label dir"),
        (asks(1, "sum(bpfleet_network_io_bytes_total)"), "is a counter: it is read by rate() or increase() only"),
        (
            asks(1, "sum by (pod) (rate(bpfleet_network_io_bytes_total[5m]))", "{{pod}} {{direction}}"),
            "its legend names direction, and of its labels there are left: pod",
        ),
        (
            asks(10, "topk(10, rate(bpfleet_network_io_bytes_total[5m]))"),
            "its result is bytes a second, not percentunit: Bps, binBps would do",
        ),
        (asks(20, "sum(rate(bpfleet_tcp_rtt_seconds_count[5m]))"), "its result is events a second, not s: ops, reqps"),
        (asks(1, "sum(rate(bpfleet_network_io_bytes_total[5m]))", ""), "panel 1 (Bytes): query A: it has no legend"),
        (
            asks(1, 'sum(rate(bpfleet_network_io_bytes_total{pod="$namespace"}[5m]))'),
            '="$namespace": a variable of several values is matched by =~',
        ),
        (lambda found: panel(found, 2).pop("description"), "panel 2 (Packets): it has no description"),
        (
            lambda found: panel(found, 2).update(description="x\n\nEmpty when healthy:"),
            "Empty when healthy: is to be followed by the reason",
        ),
        (lambda found: panel(found, 2)["fieldConfig"]["defaults"].pop("unit"), "panel 2 (Packets): it has no unit"),
        (lambda found: panel(found, 2).update(targets=[]), "panel 2 (Packets): it has no query"),
        (lambda found: panel(found, 2).pop("title"), "panel 2 (without a title): it has no title"),
        (lambda found: panel(found, 2).update(id=1), "panel 1 (Packets): its id 1 is that of panel 1 (Bytes), too"),
        (lambda found: panel(found, 2).pop("id"), "panel ? (Packets): it has no id"),
        (lambda found: panel(found, 2)["gridPos"].update(x=7), "panel 2 (Packets): it overlaps panel 1 (Bytes)"),
        (lambda found: panel(found, 2)["gridPos"].update(w=20), "panel 2 (Packets): it does not lie within 24 columns"),
        (lambda found: panel(found, 2)["gridPos"].update(h=10**9), "panel 2 (Packets): it does not lie within 24"),
        (lambda found: panel(found, 2)["gridPos"].update(y=float("inf")), "not a dashboard as Grafana has it"),
        (
            lambda found: panel(found, 2)["datasource"].update(uid="prometheus"),
            "panel 2 (Packets): its data source is to be ${datasource}",
        ),
        (
            lambda found: panel(found, 2)["targets"][0]["datasource"].update(uid="prometheus"),
            "query A: its data source is to be ${datasource}",
        ),
        (
            lambda found: panel(found, 10)["fieldConfig"]["defaults"]["links"][0].update(
                url="/d/bpfleet-network?var-pod=${__field.labels.pod}"
            ),
            "panel 10 (Sent again): its link takes pod, and of its labels there are left: namespace, workload",
        ),
        (
            lambda found: panel(found, 10)["fieldConfig"]["defaults"]["links"][0].update(url="/d/bpfleet-web?x=y"),
            "panel 10 (Sent again): its link leads to bpfleet-web, and no such dashboard is here",
        ),
        (lambda found: found["templating"]["list"].pop(0), "no variable datasource of type datasource"),
        (
            lambda found: found["templating"]["list"][1].update(query="label_values(up, zone)"),
            "variable namespace: up has no label zone",
        ),
        (
            lambda found: found["templating"]["list"][1].update(query="label_values(namespace)"),
            "variable namespace: its query is to be label_values(SERIES, LABEL)",
        ),
        (lambda found: found.update(uid="network"), "uid network: it begins with bpfleet-"),
        (lambda found: found.update(uid="bpfleet-" + "x" * 33), "and has at most 40 small letters"),
        (lambda found: found.update(uid="bpfleet-net"), "the file is to be called bpfleet-net.json"),
        (lambda found: found.pop("description"), "a dashboard has a title and a description"),
        (lambda found: found.update(panels=["x"]), "not a dashboard as Grafana has it"),
    ],
)  # fmt: skip
def test_a_broken_copy_is_told_by_file_and_panel(tmp_path: Path, edit: Edit, message: str) -> None:
    file = edited(tmp_path, edit)

    found = problems([file])

    assert any(message in each for each in found), found
    assert all(re.match(rf"{re.escape(str(file))}:\d+: ", each) for each in found)


def test_a_problem_is_told_by_the_line_that_says_it(tmp_path: Path) -> None:
    file = edited(tmp_path, asks(10, "topk(10, rate(bpfleet_network_io_byte_total[5m]))"))
    shutil.copy(FOLDER / "bpfleet-agent.json", tmp_path / "a.json")
    shutil.copy(FOLDER / "bpfleet-agent.json", tmp_path / "b.json")
    text = (tmp_path / "b.json").read_text()
    (tmp_path / "b.json").write_text(text.replace('"uid": "${datasource}"', '"uid": "prometheus"', 1))

    found = problems([file, tmp_path / "a.json", tmp_path / "b.json"])

    def lines(where: str, what: str) -> set[str]:
        """Those about it, as they stand in the file."""
        said = [each for each in found if each.startswith(f"{tmp_path}/{where}:") and what in each]
        return {(tmp_path / where).read_text().splitlines()[int(each.split(":")[1]) - 1].strip() for each in said}

    (query,) = lines(file.name, "unknown metric")
    assert query.startswith('"expr": ') and "io_byte_total" in query
    assert lines("b.json", "is taken by a.json") == {'"uid": "bpfleet-agent"'}
    assert lines("b.json", "its data source is to be") == {'"datasource": {'}


def test_a_stolen_uid_is_told_with_its_owner(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "bpfleet-agent.json", tmp_path)
    (tmp_path / "copy.json").write_text((FOLDER / "bpfleet-agent.json").read_text())

    found = problems(sorted(tmp_path.glob("*.json")))

    assert any(
        re.fullmatch(r".*/copy\.json:\d+: uid bpfleet-agent is taken by bpfleet-agent\.json", each) for each in found
    )


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff"])
def test_a_file_that_is_no_dashboard_is_told(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "x.json").write_bytes(text)

    (problem,) = problems([tmp_path / "x.json"])

    assert problem.startswith(f"{tmp_path}/x.json:1: not ")


def test_an_edit_by_hand_is_found_and_built_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in FILES:
        shutil.copy(file, tmp_path)
    command = ["--directory", str(tmp_path), "build"]
    edited(tmp_path, lambda found: found.update(title="Mine"))
    (tmp_path / "mine.json").write_text("{}")

    assert DASHBOARDS.main([*command, "--check"]) == 1
    told = capsys.readouterr().err
    assert f"{tmp_path}/bpfleet-network.json: not what its board says\n" in told
    assert f"{tmp_path}/mine.json: no board makes it\n" in told

    (tmp_path / "mine.json").unlink()
    assert DASHBOARDS.main(command) == 0
    assert DASHBOARDS.main([*command, "--check"]) == 0


def test_a_directory_without_dashboards_is_told(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no dashboard is here"):
        DASHBOARDS.main(["--directory", str(tmp_path), "check"])
    with pytest.raises(BundleError, match="No such file or directory"):
        DASHBOARDS.main(["--directory", str(tmp_path / "none"), "build"])
