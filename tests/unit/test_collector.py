"""`bpfleet collector list` and `check`, without a kernel: what they print, and how they end."""

from pathlib import Path

import pytest
from tests.support.plugins import collector, examples, sink

from agent import trials
from agent.collector import check, main, row, table, wanted
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.plugins.finding import Finder, Plugins
from agent.settings import build
from agent.trials import Trial
from bpfleet.api import Collector
from bpfleet.errors import LoadError, SettingsError


def write(directory: Path, *files: dict[str, str]) -> Path:
    for each in files:
        for name, text in each.items():
            (directory / name).write_text(text)
    return directory


def single(path: Path) -> Plugins:
    return Finder(lambda group: (), [path])()


def checked(path: Path, tables: FakeTables | None, refused: str = "") -> int:
    """tables: of a kernel that there is not; None where programs cannot be loaded."""

    def load(collector: Collector) -> Trial:
        if refused:
            raise LoadError(refused)
        assert tables is not None
        return trials.load(collector, FakeDoor({collector.name: tables}), KernelSettings(cgroup_root="/"))

    plugins = wanted(str(path), path, single(path))
    return check(plugins, build({"collectors": ("good",)}), load if tables or refused else None)


def good(**rows: tuple[int, ...]) -> FakeTables:
    return FakeTables(rows={f"books_{name}": row for name, row in rows.items()})


def test_all_are_listed_with_state_source_and_hooks(tmp_path: Path) -> None:
    write(tmp_path, examples(), {"broken.py": "import os\nimport nowhere_at_all\n"})
    plugins = Finder(lambda group: ())(str(tmp_path))
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in table(plugins, build({"collectors": ("traffic",)}))}
    assert lines["NAME"].split() == ["KIND", "STATE", "DEFAULT", "SOURCE", "HOOKS", "OPTIONS"]
    assert " ".join(lines["traffic"].split()) == "collector on yes built in cgroup_skb/ingress, cgroup_skb/egress"
    assert lines["fsyncs"].split() == [
        "collector",
        "not",
        "asked",
        "for",
        "yes",
        f"{tmp_path}/fsyncs.py",
        "raw_tracepoint/sys_enter",
    ]
    assert lines["otlp"].split() == ["sink", "by", "sinks.otlp", "built", "in"]
    assert "paths=()" in lines["executions"] and " no " in lines["executions"]
    assert lines["webhook"].startswith("sink ") and "not asked for" in lines["webhook"]
    assert "off: broken.py:2: ModuleNotFoundError" in lines["broken"]


def test_one_whose_probes_are_none_is_listed_as_off(tmp_path: Path) -> None:
    text = collector("odd")["odd.py"]
    for number, wrong in enumerate(("probes = (AnyOf(3),)", "base = 3", "base = Fragment('x', 3)")):
        write(tmp_path, {f"odd_{number}.py": f"{text}    {wrong}\n", "odd.bpf.c": ""})
        (found,) = [each for each in single(tmp_path / f"odd_{number}.py").found if each.name == "odd"]
        assert row(found, build({}))[2].startswith(f"off: odd_{number}.py:")


def test_what_is_good_is_ok(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, collector("good"))
    assert checked(tmp_path / "good.py", good(good=(0, 0))) == 0
    assert capsys.readouterr().out == "good: ok\n"


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        (good(), "good.py:9: channel good has no BPF_PERCPU_ARRAY(books_good, ..., 1) in C"),
        (good(good=(0, 0), other=(0,)), "good.py:5: books_other belongs to no declared channel: "),
        (good(good=(0, 0, 0)), "good.py:9: its books in C have other members than seen and the reasons of lost"),
    ],
)
def test_books_that_are_not_those_declared_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tables: FakeTables, problem: str
) -> None:
    write(tmp_path, collector("good"))
    assert checked(tmp_path / "good.py", tables) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(problem)


def test_what_one_reading_raises_is_told_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, collector("good", collect="raise KeyError('rows')", events="yield 3"))
    assert checked(tmp_path / "good.py", good(good=(0, 0))) == 1
    assert capsys.readouterr().out.splitlines() == [
        "good.py:11: collect(): KeyError: 'rows'",
        "good.py:12: events(): TypeError: good.events() yielded int, not Event",
    ]


def test_the_line_of_what_the_verifier_refuses_is_that_of_the_function(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, collector("good"))
    assert checked(tmp_path / "good.py", None, "raw_tracepoint/sys_enter: on_good: Permission denied: R0 !read_ok") == 1
    line = "good.bpf.c:4: raw_tracepoint/sys_enter: on_good: Permission denied: R0 !read_ok\n"
    assert capsys.readouterr().out == line
    assert checked(tmp_path / "good.py", None, "good.bpf.c:6: use of undeclared identifier") == 1
    assert capsys.readouterr().out == "good.bpf.c:6: use of undeclared identifier\n"


def test_who_may_not_load_is_told_what_was_not_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, collector("good"))
    assert checked(tmp_path / "good.py", None) == 1
    assert capsys.readouterr().out.startswith("good.py:5: C and verifier not checked: that takes root")


def test_a_readme_beside_it_has_to_name_what_it_exposes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, collector("good"), {"README.md": "bpfleet_made_good_total"})
    assert checked(tmp_path / "good.py", good(good=(0, 0))) == 1
    assert capsys.readouterr().out == "good.py:8: bpfleet.made.event is not in README.md\n"


def test_every_problem_of_the_declarations_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = collector("good")["good.py"].replace("made.good", "Made").replace('"good.bpf.c"', '"/x"')
    assert checked(write(tmp_path, {"good.py": text}) / "good.py", None) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["good.py:5", "good.py:2"]


def test_a_sink_is_asked_to_encode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, sink("good"), sink("spoilt", encode="return 'text'"))
    assert checked(tmp_path / "good.py", None) == 0
    assert checked(tmp_path / "spoilt.py", None) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == ["good: ok", "spoilt.py:4: encode(): TypeError: encode() returned str, not bytes"]


def test_and_to_close_and_has_a_batch_that_can_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closing = sink("closing")["closing.py"] + "    def close(self):\n        1 / 0\n"
    batched = sink("batched")["batched.py"] + "    batch = 100\n"
    write(tmp_path, {"closing.py": closing, "batched.py": batched})
    assert checked(tmp_path / "closing.py", None) == checked(tmp_path / "batched.py", None) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "closing.py:9: close(): ZeroDivisionError: division by zero"
    assert told[1].startswith("batched.py:8: batch is 100: a Batch of 1 or more")


def test_a_word_that_means_nothing_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="there is no 'nobody'; there are cgroups, traffic"):
        main(["check", "nobody"])
    with pytest.raises(SettingsError, match="'nothing.py' is no file"):
        main(["check", "nothing.py"])
    with pytest.raises(SystemExit):
        main(["chekc"])
    with pytest.raises(SystemExit):
        main([])


def test_names_and_messages_do_nothing_to_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"odd.py": "raise ValueError('\\x1b[2J\\nsecond')\n"})
    assert checked(tmp_path / "odd.py", None) == 1
    assert capsys.readouterr().out == "odd.py:1: ValueError: \\x1b[2J second\n"


def test_list_shows_what_the_settings_say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write(tmp_path, examples())
    assert main(["list", "--plugins-dir", str(tmp_path), "--collectors", "+executions"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("executions ")]
    assert line.split()[1:4] == ["collector", "on", "no"]
