"""Maps by their names in C: found, owned, and never somebody else's."""

from pathlib import Path

import pytest
from tests.support.plugins import collector, examples

from agent.collectors import BUILT_IN
from agent.kernel import programs
from agent.plugins import texts
from agent.plugins.finding import Finder, Found, of_file
from agent.plugins.texts import Map
from bpfleet.api import Collector


def kind_of(path: Path) -> type[Collector]:
    (found,) = of_file(path)
    assert found.kind is not None and issubclass(found.kind, Collector), found.reason
    return found.kind


def refused(directory: Path, files: dict[str, str], name: str) -> str:
    for file, text in files.items():
        (directory / file).write_text(text)
    found: list[Found] = [each for each in Finder(lambda group: ())(str(directory)).found if each.name == name]
    return found[0].reason


def test_maps_are_found_with_their_lines(tmp_path: Path) -> None:
    for file, text in examples().items():
        (tmp_path / file).write_text(text)
    source = (tmp_path / "fsyncs.bpf.c").read_text().splitlines()
    line = source.index("BPF_HASH(fsyncs, u64, u64, MAX_CGROUPS);") + 1
    found = [Map("fsyncs", f"fsyncs.bpf.c:{line}"), Map("books_fsyncs", f"fsyncs.bpf.c:{line + 1}")]
    assert list(texts.maps(kind_of(tmp_path / "fsyncs.py"))) == found
    assert [each.name for each in texts.maps(kind_of(tmp_path / "executions.py"))] == ["executions", "books_executions"]


def test_in_the_long_form_the_name_comes_fourth(tmp_path: Path) -> None:
    files = collector("odd")
    files["odd.bpf.c"] += 'BPF_TABLE("lru_hash", u64, u64, rows, 10);\n'
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert [each.name for each in texts.maps(kind_of(tmp_path / "odd.py"))] == ["books_odd", "rows"]


def test_every_map_of_our_own_texts_is_found() -> None:
    for path in programs.directory().glob("*.bpf.c"):
        lines = [line for line in path.read_text().splitlines() if line.startswith("BPF_")]
        assert len(texts.names(path.name)) == len(lines), path.name
        assert all(name in line for name, line in zip(texts.names(path.name), lines, strict=True)), path.name
    assert "flows" in texts.names("packet.bpf.c")


@pytest.mark.parametrize(("made", "what"), [("books_peers", "channel"), ("runs_on_ingress", "function of its probes")])
def test_books_and_runs_are_of_what_is_declared(tmp_path: Path, made: str, what: str) -> None:
    files = collector("odd")
    files["odd.bpf.c"] += f"BPF_PERCPU_ARRAY({made}, u64, 1);\n"
    assert refused(tmp_path, files, "odd") == f"odd.bpf.c:9: {made} belongs to no declared {what}"


@pytest.mark.parametrize(
    ("taken", "owner"), [("flows", "packet.bpf.c (built in)"), ("tcp_state_events", "tcp_states (built in)")]
)
def test_a_map_of_our_own_is_nobody_elses(tmp_path: Path, taken: str, owner: str) -> None:
    files = collector("odd")
    files["odd.bpf.c"] += f"BPF_HASH({taken}, u64, u64, 10);\n"
    assert refused(tmp_path, files, "odd") == f"odd.bpf.c:9: map {taken} is taken by {owner}"


def test_our_own_keep_to_it() -> None:
    assert {kind.name: list(texts.problems(kind)) for kind in BUILT_IN} == {kind.name: [] for kind in BUILT_IN}
