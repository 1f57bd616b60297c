import io
import json
from pathlib import Path

import pytest
from tests.unit.hostile import STRINGS

from agent import cli
from bpfleet.cli import FAILED, OK, main

GOOD = """\
version: 1
name: shells
scope: {namespaces: [shop]}
rules:
  - {name: shell, event: exec, severity: critical, match: {binary: [sh, bash]}, except: [{parent: tini}]}
  - {name: other, event: exec, severity: info, match: {binary: ls}}
  - {name: out, event: egress, severity: info, allow: [{service: shop/db}]}
tests:
  - {event: exec, given: {binary: /bin/sh}, owner: {namespace: shop}, fires: [shell]}
"""
EVENT = {
    "event.name": "bpfleet.security.exec",
    "process.executable.path": "/bin/sh",
    "k8s.namespace.name": "shop",
    "bpfleet.workload.name": "web",
    "k8s.container.name": "main",
}


class Point:
    def load(self) -> object:
        return cli.POLICY


def bpfleet(*arguments: str) -> int:
    return main(["policy", *arguments], {"policy": Point()})  # type: ignore[dict-item]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    return path


def test_the_shipped_policies_are_checked_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert bpfleet("check") == OK
    assert "policies with" in capsys.readouterr().out


def test_check_counts_what_is_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bpfleet("check", str(file)) == OK
    assert capsys.readouterr().out == "1 policies with 3 rules are good; 1 tests pass\n"


def test_check_tells_every_mistake_with_its_place(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("critical", "high").replace("binary: ls", "binery: ls"))
    assert bpfleet("check", str(file.parent)) == FAILED
    assert [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
        f"{file}:5: severity is 'high'; allowed: critical, warning, info",
        f"{file}:6: an event exec has no 'binery'; did you mean binary?; allowed here: binary, parent, ancestor, user, "
        "image, called, script, interpreter, arguments, is_init, is_entered, is_in_memory, is_deleted",
    ]


def test_check_runs_the_tests(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(GOOD.replace("fires: [shell]", "fires: [other]"))
    assert bpfleet("check", str(file)) == FAILED
    assert f"{file}:9: a test: other should fire, shell did" in capsys.readouterr().err


def test_a_directory_without_policies_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bpfleet("check", str(tmp_path)) == FAILED
    assert "no policy here" in capsys.readouterr().err


def explained(file: Path, capsys: pytest.CaptureFixture[str], **more: object) -> list[str]:
    event = file.parent / "event.json"
    event.write_text(json.dumps(EVENT | more))
    assert bpfleet("explain", str(event), "--policies", str(file)) == OK
    return capsys.readouterr().out.splitlines()


def test_explain_says_what_fires_and_what_saved_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explained(file, capsys) == [
        "exec of shop/web/main",
        f"  shells/shell: fires (critical): binary ({file}:5)",
        f"  shells/other: silent: nothing matches: binary is '/bin/sh' ({file}:6)",
    ]
    saved = explained(file, capsys, **{"bpfleet.process.parent.name": "tini"})
    assert saved[1] == f"  shells/shell: silent: an exception parent ({file}:5)"
    elsewhere = explained(file, capsys, **{"k8s.namespace.name": "lab"})
    assert elsewhere[1] == "  shells/shell: silent: out of the policy's scope"
    peer = {"bpfleet.peer.kind": "service", "bpfleet.peer.namespace": "shop", "bpfleet.peer.name": "db"}
    allowed = explained(file, capsys, **{"event.name": "bpfleet.security.egress"}, **peer)
    assert allowed[1] == f"  shells/out: silent: allowed by service ({file}:7)"
    outside = explained(file, capsys, **{"event.name": "bpfleet.security.egress"})
    assert outside[1] == "  shells/out: fires (info): none of what is allowed"


def test_explain_reads_lines_from_a_pipe(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "\n".join([json.dumps(EVENT), "", json.dumps(EVENT)])
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert bpfleet("explain", "-", "--policies", str(file)) == OK
    assert capsys.readouterr().out.count("fires (critical)") == 2


def test_explain_reads_an_event_that_is_written_for_people(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    event = file.parent / "event.json"
    event.write_text(json.dumps(EVENT, indent=2))
    assert bpfleet("explain", str(event), "--policies", str(file)) == OK
    assert capsys.readouterr().out.count("fires (critical)") == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "event.json: no event here"),
        (b"{", "event.json: not valid JSON"),
        (b"[]", "event.json:1: not an object"),
        (
            b'{"event.name": "bpfleet.http.request"}',
            "event.json:1: event.name is 'bpfleet.http.request'; allowed: bpfleet",
        ),
        (b"\xff", "event.json: not UTF-8"),
        (b"[" * 100_000, "event.json:1: not valid JSON"),
    ],
)
def test_an_event_that_is_none_is_told(
    file: Path, capsys: pytest.CaptureFixture[str], content: bytes, problem: str
) -> None:
    event = file.parent / "event.json"
    event.write_bytes(content)
    assert bpfleet("explain", str(event), "--policies", str(file)) == FAILED
    assert problem in capsys.readouterr().err


def test_files_that_are_not_there_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert bpfleet("explain", "/nowhere.json") == bpfleet("check", "/nowhere") == FAILED
    assert capsys.readouterr().err.count("No such file or directory") == 2


def test_nothing_in_an_event_acts_on_the_terminal(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ("process.executable.path", "k8s.namespace.name", "bpfleet.workload.name", "k8s.container.name")
    events = file.parent / "events.jsonl"
    events.write_text("\n".join(json.dumps(EVENT | {key: text}) for text in STRINGS for key in keys))
    assert bpfleet("explain", str(events), "--policies", str(file)) == OK
    told = capsys.readouterr().out
    assert told.count("exec of ") >= len(STRINGS) * len(keys)
    assert [line for line in told.split("\n") if not line.isprintable()] == []
