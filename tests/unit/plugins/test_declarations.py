"""Every impossible declaration is told, with the line where it stands."""

from pathlib import Path

import pytest
from tests.support.plugins import collector, sink

from agent.plugins import declarations
from agent.plugins.finding import of_file

METRIC = 'Counter("made.odd", "Calls of getppid() that a plugin of a test has seen.")'


def told(tmp_path: Path, old: str, new: str, files: dict[str, str] | None = None) -> list[str]:
    made = files or collector("odd")
    assert old in made["odd.py"]
    (tmp_path / "odd.py").write_text(made["odd.py"].replace(old, new))
    (found,) = of_file(tmp_path / "odd.py")
    assert found.kind is not None, found.reason
    return list(declarations.problems(found.kind))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"odd"\n    program', '"Odd"\n    program', "odd.py:4: name must be a text of a-z, 0-9 and _"),
        ('"odd"\n    program', '"x" * 41\n    program', "odd.py:4: name must be a text of a-z"),
        ("program = ", "default = 1\n    program = ", "odd.py:5: default must be True or False"),
        ('"odd.bpf.c"', '"/etc/odd.bpf.c"', "odd.py:5: program must be a file name that ends in .bpf.c"),
        ("program = ", "program_ = ", "odd.py:3: program must be a file name that ends in .bpf.c, not None"),
        ("probes = (", "probes = () and (", "odd.py:6: probes is empty"),
        ('"on_odd"', '"on odd"', "odd.py:6: 'on odd' is no name of a C function"),
        ("(KEY_METRIC,)", "[KEY_METRIC]", "odd.py:7: metrics must be a tuple of Metric, not list"),
        ("(KEY_METRIC,)", "(3,)", "odd.py:7: metrics must be a tuple of Metric, and one is int"),
        ("(KEY_METRIC,)", "(KEY_METRIC,) * 65", "odd.py:7: metrics has 65 elements; at most 64"),
        ("made.odd", "Made.odd", "odd.py:2: metric Made.odd: names are words of a-z, 0-9 and _"),
        ("made.odd", "made.odd_total", "odd.py:2: metric made.odd_total: the suffix comes from the kind"),
        ('seen.")', 'seen.", prefix="")', "odd.py:2: metric made.odd: made_odd_total begins neither with bpfleet_ nor"),
        ('seen.")', 'seen.", unit="ms")', "odd.py:2: metric made.odd: unit 'ms' is none of By, s, 1 (base units)"),
        ('seen.")', 'seen")', "odd.py:2: metric made.odd: help must be a sentence"),
        ('seen.")', 'seen.", labels=("pod",))', "odd.py:2: metric made.odd: label 'pod' is no word"),
        ('seen.")', 'seen.", labels=("a", "a"))', "odd.py:2: metric made.odd: label 'a' is no word"),
        ('seen.")', 'seen.", values=(("a",),))', "odd.py:2: metric made.odd: values has more lists than"),
        (METRIC, METRIC.replace("Counter", "Metric"), "odd.py:2: metric made.odd: a collector has Counter, "),
        (METRIC, METRIC.replace("Counter", "Histogram"), "odd.py:2: metric made.odd: bounds must be a name"),
        (
            METRIC,
            METRIC.replace("Counter", "Histogram").replace('n.")', 'n.", bounds="x", buckets=(2.0, 1.0))'),
            "odd.py:2: metric made.odd: buckets must ascend",
        ),
        ('Channel("odd"', 'Channel("events"', "odd.py:9: channel 'events' is no word of a-z, 0-9 and _, or one of"),
        ('Channel("odd"', 'Channel("sink_x"', "odd.py:9: channel 'sink_x' is no word"),
        ('lost=("never",)', 'lost=("a b",)', "odd.py:9: channel odd: 'a b' is no word"),
        ('"bpfleet.made.event"', '"event"', "odd.py:8: event 'event': names are words joined by dots"),
        ("def events", "def event", "odd.py:8: it declares event_names and has no events()"),
        ("def collect", "def collects", "odd.py:7: it declares metrics and has no collect()"),
        ("program = ", 'interval = "pace"\n    program = ', "odd.py:5: interval names 'pace', which is none"),
        (
            "program = ",
            'interval = "pace"\n    options = (Option("pace", "x", "How often."),)\n    program = ',
            "odd.py:5: interval names the option pace, which is no number",
        ),
        (
            "program = ",
            'options = (Option("pace", 0.5, "How often.", minimum=1),)\n    program = ',
            "odd.py:5: the default of option pace is 0.5: it must be a number, at least 1",
        ),
        ("program = ", 'options = (Option("pace", 1, ""),)\n    program = ', "odd.py:5: option pace has no help"),
        ("probes = (", "probes = (AnyOf(3),) + (", "odd.py:6: probes of AnyOf must be a tuple of Probe, not int"),
        ("program = ", "base = 'x'\n    program = ", "odd.py:5: base must be a Fragment, or None"),
        ("program = ", "base = Fragment('x', 3)\n    program = ", "odd.py:5: probes of base must be a tuple"),
        ("metrics = (KEY_METRIC,)", "metrics = None", "odd.py:7: metrics must be a tuple of Metric, not NoneType"),
    ],
)  # fmt: skip
def test_it_is_told_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    problems = told(tmp_path, old, new)
    assert [each for each in problems if each.startswith(problem)], problems


def test_what_is_possible_has_no_problem(tmp_path: Path) -> None:
    assert told(tmp_path, "made.odd", "made.odd") == []
    assert told(tmp_path, 'made.odd"', 'http.client.odd"', collector("odd")) == []
    assert told(tmp_path, 'made.odd", ', 'http.client.odd", prefix="", help=', collector("odd")) == []


def test_one_that_nobody_would_see_is_told(tmp_path: Path) -> None:
    files = {"odd.py": collector("odd")["odd.py"].replace("    event_names", "    unseen")}
    assert told(tmp_path, "metrics = (KEY_METRIC,)", "metrics = ()", files)[-1] == (
        "odd.py:3: it declares neither metrics nor event_names, so nobody would see what it does"
    )


@pytest.mark.parametrize("method", ["encode", "write"])
def test_a_sink_needs_both_methods(tmp_path: Path, method: str) -> None:
    assert told(tmp_path, f"def {method}", "def other", sink("odd")) == [f"odd.py:2: a sink needs a method {method}()"]


def test_what_cannot_even_be_read_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    problems = told(tmp_path, 'seen.")', 'seen.", labels=7)')
    assert problems[-1].startswith("odd.py:3: its declarations cannot be read: TypeError: ")
