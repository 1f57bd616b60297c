"""Which plugins there are, and why one is off: everything that needs no kernel."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from tests.support.agents import REPOSITORY
from tests.support.plugins import BROKEN, Broken, as_config_map, collector, examples, sink

from agent.collectors import BUILT_IN
from agent.options import PluginOptions
from agent.plugins import declarations
from agent.plugins.finding import COLLECTORS, SINKS, Finder, Plugins
from agent.sinks import BUILT_IN as BUILT_IN_SINKS
from bpfleet.errors import SettingsError

FOUND_BY_LOOKING = ("garbled", "wild", "counts", "tells", "quits", "endless")
"""Those that are good until they are compiled or run."""


def nobody(group: str) -> Iterable[EntryPoint]:
    return ()


def find(directory: Path, points: Any = nobody) -> Plugins:
    return Finder(points)(str(directory))


def write(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def reason(plugins: Plugins, name: str) -> str:
    return next(each.reason for each in plugins.found if each.name == name)


def test_the_built_in_ones_are_there_in_their_order_and_are_possible() -> None:
    plugins = Finder(nobody)()
    assert list(plugins.kinds().values()) == list(BUILT_IN)
    assert plugins.collectors() == {kind.name: kind.default for kind in BUILT_IN}
    assert {kind: list(declarations.problems(kind)) for kind in BUILT_IN} == {kind: [] for kind in BUILT_IN}


def entry_points_of_ours(group: str) -> dict[str, Any]:
    points = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["entry-points"][group]
    return {name: EntryPoint(name, value, group).load() for name, value in points.items()}


def test_the_built_in_collectors_are_entry_points_like_anybodys() -> None:
    assert entry_points_of_ours(COLLECTORS) == {kind.name: kind for kind in BUILT_IN}


def test_the_built_in_sinks_are_entry_points_like_anybodys() -> None:
    kinds = entry_points_of_ours(SINKS)
    assert set(kinds) == set(BUILT_IN_SINKS)
    assert {name: kind.name for name, kind in kinds.items()} == {name: name for name in kinds}
    assert {kind: list(declarations.problems(kind)) for kind in kinds.values()} == {kind: [] for kind in kinds.values()}


def test_entry_points_that_name_the_built_in_ones_make_none_twice() -> None:
    def points(group: str) -> Iterable[EntryPoint]:
        return [EntryPoint(k.name, f"{k.__module__}:{k.__name__}", group) for k in BUILT_IN if group == COLLECTORS]

    assert [each.name for each in Finder(points)().found] == [each.name for each in Finder(nobody)().found]


def test_a_package_that_cannot_be_imported_is_off_with_its_reason() -> None:
    def points(group: str) -> Iterable[EntryPoint]:
        return [EntryPoint("gone", "acme_gone:Gone", group)] if group == COLLECTORS else []

    plugins = Finder(points)()
    assert reason(plugins, "gone") == "acme_gone:Gone: ModuleNotFoundError: No module named 'acme_gone'"
    assert list(plugins.refused(["gone"])) == ["gone"]


def test_the_examples_are_found_in_a_directory_that_is_laid_out_like_a_config_map(tmp_path: Path) -> None:
    as_config_map(tmp_path, examples())
    plugins = find(tmp_path)
    assert {name for name in plugins.kinds()} - {kind.name for kind in BUILT_IN} == {"fsyncs", "executions"}
    assert list(plugins.sinks()) == ["webhook"]
    assert plugins.collectors()["fsyncs"] is True
    assert plugins.collectors()["executions"] is False
    assert not [each.reason for each in plugins.found if each.reason]


@pytest.mark.parametrize("broken", [each for each in BROKEN if each.off not in FOUND_BY_LOOKING], ids=lambda b: b.off)
def test_a_broken_one_is_off_with_its_reason_and_the_one_beside_it_is_not(tmp_path: Path, broken: Broken) -> None:
    plugins = find(write(tmp_path, {**broken.files, **collector("good")}))
    assert reason(plugins, broken.off).startswith(broken.reason)
    assert "good" in plugins.kinds() and "traffic" in plugins.kinds()
    refused = plugins.refused(plugins.collectors()) | plugins.refused_sinks()
    assert list(refused) == [broken.off]


def test_one_that_is_off_is_not_reported_to_who_did_not_ask_for_it(tmp_path: Path) -> None:
    plugins = find(write(tmp_path, {"imports.py": "import nowhere_at_all\n"}))
    assert plugins.collectors()["imports"] is True
    assert plugins.refused(["traffic"]) == {}


def test_of_two_with_one_name_or_channel_or_function_the_first_has_it(tmp_path: Path) -> None:
    second = {name.replace("good", "later"): text for name, text in collector("good").items()}
    plugins = find(write(tmp_path, {**collector("good"), **second}))
    assert reason(plugins, "good (later.py)") == "later.py:4: the name good is taken"
    second["later.py"] = (
        second["later.py"].replace('name = "good"', 'name = "later"').replace("made.good", "made.later")
    )
    plugins = find(write(tmp_path, second), nobody)
    assert reason(plugins, "later") == f"later.py:9: channel good is taken by good ({tmp_path}/good.py)"
    second["later.py"] = (
        second["later.py"].replace('Channel("good"', 'Channel("later"').replace("good.bpf", "later.bpf")
    )
    second["later.bpf.c"] = second["later.bpf.c"].replace("books_good", "books_later")
    plugins = find(write(tmp_path, second), nobody)
    assert reason(plugins, "later") == f"later.py:6: function on_good is taken by good ({tmp_path}/good.py)"


def test_a_directory_is_read_once_so_that_a_module_stays_what_it_was(tmp_path: Path) -> None:
    finder = Finder(nobody)
    first = finder(str(write(tmp_path, collector("good"))))
    write(tmp_path, sink("late"))
    assert finder(str(tmp_path)) is first


def test_files_that_are_no_plugins_are_left_alone(tmp_path: Path) -> None:
    files = dict.fromkeys(("_x.py", ".x.py", "test_x.py", "x.txt", "x.bpf.c"), "raise SystemExit(1)")
    assert find(write(tmp_path, files)).found == find(Path()).found


def test_nothing_is_written_beside_a_plugin(tmp_path: Path) -> None:
    find(write(tmp_path, collector("good")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.bpf.c", "good.py"]


def test_a_directory_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read: No such file or directory"):
        find(tmp_path / "nowhere")


def test_a_c_file_that_others_can_write_is_refused_with_its_collector(tmp_path: Path) -> None:
    write(tmp_path, collector("good"))
    (tmp_path / "good.bpf.c").chmod(0o666)
    said = f"good.py:5: good.bpf.c: not loaded: {tmp_path}/good.bpf.c can be written by others (mode 0666)"
    assert reason(find(tmp_path), "good") == said


def test_what_plugins_are_given_is_compared_with_what_they_declare(tmp_path: Path) -> None:
    write(tmp_path, {name: text for name, text in examples().items() if "executions" in name or "webhook" in name})
    values: dict[str, Any] = {
        "executions": {"paths": ("usr",), "path": 3},
        "webhook": {"url": "http://x/"},
        "webhok": {},
        "sockets": {"interval_seconds": 3},
    }
    places = {"executions.paths": "a.yaml:3", "executions": "a.yaml:2", "webhok": "a.yaml:7", "sockets": "a.yaml:8"}
    assert list(find(tmp_path).problems(PluginOptions(values, places))) == [
        "a.yaml:3: plugins.options.executions.paths: it must be a list of texts, like /.*",
        "a.yaml:2: plugins.options.executions.path is no option; did you mean paths?; there are paths",
        "a.yaml:7: plugins.options: no plugin 'webhok'; did you mean webhook?; there are executions, webhook",
        "a.yaml:8: plugins.options: no plugin 'sockets'; there are executions, webhook",
    ]


@pytest.mark.parametrize("name", ["jsonl", "otlp", "owner", "recent"])
def test_a_sink_has_no_name_that_the_agents_own_books_have(tmp_path: Path, name: str) -> None:
    plugins = find(write(tmp_path, sink(name)))
    assert reason(plugins, f"{name} ({name}.py)") == f"{name}.py:3: the name {name} is taken"
    assert name not in plugins.sinks()


def test_bounds_of_a_plugin_are_its_own_and_not_a_settings(tmp_path: Path) -> None:
    files = collector("timed")
    text = files["timed.py"].replace('Counter("made.timed", ', 'Histogram("made.timed", unit="s", BOUNDS, help=')
    files["timed.py"] = text.replace("BOUNDS", 'bounds="flush_seconds", buckets=(0.001, 0.1)')
    assert find(write(tmp_path, files)).bounds() == {"flush_seconds": (0.001, 0.1)}
    write(tmp_path, {"timed.py": files["timed.py"].replace("flush_seconds", "rtt_seconds")})
    assert "bounds rtt_seconds is taken by the setting" in reason(find(tmp_path), "timed")
