"""From settings to collectors and sinks that work; what cannot be made is off and says where it failed."""

from pathlib import Path

import pytest
from tests.support.plugins import collector, examples, sink

from agent.collectors import BUILT_IN
from agent.options import PluginOptions
from agent.plugins.finding import Finder, Plugins
from agent.plugins.making import intervals, make, makers
from agent.settings import Settings, build
from bpfleet.errors import LoadError

ALL = tuple(kind.name for kind in BUILT_IN)
URL = {"webhook": {"url": "http://127.0.0.1/"}}


def found(directory: Path, *files: dict[str, str]) -> Plugins:
    for each in files:
        for name, text in each.items():
            (directory / name).write_text(text)
    return Finder(lambda group: ())(str(directory))


def asked(*collectors: str, **options: dict[str, object]) -> Settings:
    return build({"collectors": collectors, "plugins.options": PluginOptions(options)})  # type: ignore[arg-type]


def test_all_built_in_ones_are_made_in_their_order(tmp_path: Path) -> None:
    made = make(found(tmp_path), asked(*ALL))
    assert ([each.name for each in made.collectors], made.off) == (list(ALL), {})


def test_the_chosen_ones_are_made_in_their_order_with_what_they_are_given(tmp_path: Path) -> None:
    plugins = found(tmp_path, examples())
    made = make(plugins, asked("traffic", "executions", executions={"paths": ["/usr"]}))
    assert [each.name for each in made.collectors] == ["traffic", "executions"]
    assert made.collectors[1].given == {"paths": ("/usr",)}
    assert make(plugins, asked("executions")).collectors[0].given == {"paths": ()}
    assert (made.off, made.sinks_off) == ({}, {})


def test_a_sink_that_is_off_by_default_runs_when_it_is_given_something(tmp_path: Path) -> None:
    plugins = found(tmp_path, examples(), sink("always"))
    assert [each.name for each in make(plugins, asked()).sinks] == ["always"]
    assert [each.name for each in make(plugins, asked(**URL)).sinks] == ["always", "webhook"]


def test_one_that_raises_when_it_is_made_is_off_with_the_place(tmp_path: Path) -> None:
    text = collector("odd")["odd.py"]
    raising = {
        "odd.py": text.replace("    def collect", "    def __init__(self, given):\n        1 / 0\n    def collect")
    }
    plugins = found(tmp_path, examples(), raising | {"odd.bpf.c": ""})
    made = make(plugins, asked("odd", "fsyncs", webhook={}))
    assert made.off == {"odd": "odd.py:11: ZeroDivisionError: division by zero"}
    assert [each.name for each in made.collectors] == ["fsyncs"]
    (reason,) = made.sinks_off.values()
    assert reason.startswith("webhook.py:") and reason.endswith("ValueError: plugins.options.webhook.url is not set")


def test_one_that_is_switched_on_later_is_made_then_and_one_that_is_off_says_why(tmp_path: Path) -> None:
    later = makers(found(tmp_path, collector("good"), {"bad.py": "import nowhere_at_all"}), asked())
    assert later["good"]().name == "good"
    with pytest.raises(LoadError, match="^bad.py:1: ModuleNotFoundError"):
        later["bad"]()


def test_a_pace_is_an_option_of_a_plugin_and_a_setting_of_our_own(tmp_path: Path) -> None:
    text = collector("slow")["slow.py"]
    paced = 'interval = "pace"\n    options = (Option("pace", 30.0, "How often."),)\n    program = '
    plugins = found(tmp_path, {"slow.py": text.replace("program = ", paced), "slow.bpf.c": ""})
    kinds = plugins.kinds().values()
    assert intervals(kinds, asked()) == {"sockets": 15.0, "slow": 30.0}
    settings = build({"sockets.interval_seconds": 2.0, "plugins.options": PluginOptions({"slow": {"pace": 7}})})
    assert intervals(kinds, settings) == {"sockets": 2.0, "slow": 7.0}


def test_a_plugin_that_has_the_name_of_a_section_is_not_given_the_section(tmp_path: Path) -> None:
    (made,) = make(found(tmp_path, collector("kernel")), asked("kernel")).collectors
    assert made.given == {}
