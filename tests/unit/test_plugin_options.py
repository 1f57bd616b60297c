"""`plugins.options` in the file, the environment and flags: values with their places, mistakes with their lines."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from agent import configuration
from agent.configuration import Configuration
from agent.options import PluginOptions
from bpfleet.errors import SettingsError


class Known:
    """Plugins of which every option is good but those called `bad`."""

    def collectors(self) -> Mapping[str, bool]:
        return {"traffic": True, "mine": True}

    def problems(self, options: PluginOptions) -> Iterable[str]:
        for plugin, values in options.values.items():
            yield from (f"{options.places[f'{plugin}.{name}']}: {name} is bad" for name in values if name == "bad")


def load(tmp_path: Path, text: str, **environment: str) -> Configuration:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return configuration.load(file, environment, {}, lambda directory: Known())


def refused(tmp_path: Path, text: str, **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text, **environment)
    return [line.removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()]


def options(text: str) -> str:
    return "plugins:\n  options:\n" + "".join(f"    {line}\n" for line in text.splitlines())


def test_values_keep_their_types(tmp_path: Path) -> None:
    text = 'mine: {a: 1, b: 1.5, c: yes, d: word, e: "1", f: [x, y], g: []}\nother:'
    found = load(tmp_path, options(text)).settings.plugins.options
    mine = {"a": 1, "b": 1.5, "c": True, "d": "word", "e": "1", "f": ("x", "y"), "g": ()}
    assert found.values == {"mine": mine, "other": {}}
    assert found.places["mine.a"] == f"{tmp_path}/agent.yaml:3"
    assert found.places["other"] == f"{tmp_path}/agent.yaml:4"


def test_the_environment_and_flags_have_them_as_yaml_or_json(tmp_path: Path) -> None:
    given = load(tmp_path, options("mine: {a: 1}"), BPFLEET_PLUGINS_OPTIONS="{mine: {a: 2}}").settings.plugins.options
    assert given.values == {"mine": {"a": 2}}
    assert given.places["mine.a"] == "environment BPFLEET_PLUGINS_OPTIONS"
    assert load(tmp_path, "", BPFLEET_PLUGINS_OPTIONS='{"mine": {"f": ["x"]}}').settings.plugins.options.values == {
        "mine": {"f": ("x",)}
    }
    assert load(tmp_path, "", BPFLEET_PLUGINS_OPTIONS="").settings.plugins.options.values == {}


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    text = options('mine: {a: 1, c: true, d: "x: y", f: ["x", "y"]}')
    shown = configuration.show(load(tmp_path, text))
    assert load(tmp_path, shown).settings == load(tmp_path, text).settings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mine: 3", "agent.yaml:3: plugins.options.mine must be a mapping"),
        ("- mine", "agent.yaml:3: plugins.options must be"),
        ("mine:\n  a: {b: 1}", "agent.yaml:4: plugins.options.mine.a must be text, a number, true or false, or a list"),
        ("mine:\n  a: 2001-01-01", "agent.yaml:4: plugins.options.mine.a must be text, a number"),
        ("mine:\n  a: [[1]]", "agent.yaml:4: plugins.options.mine.a must be text, a number"),
        ("mine:\n  a: 0x1F", "agent.yaml:4: plugins.options.mine.a: '0x1F' is not a decimal number"),
        ("mine:\n  a: 1\n  a: 2", "agent.yaml:5: plugins.options.mine.a stands twice; first at "),
        ("mine:\n  ? [x]\n  : 1", "agent.yaml:4: plugins.options.mine has a key that is no name"),
        ("mine:\n  a: 1\n  bad: 1", "agent.yaml:5: bad is bad"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    told = refused(tmp_path, options(text))
    assert len(told) == 1 and told[0].startswith(problem), told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = refused(tmp_path, options("mine: 3\nother:\n  bad: 1") + "limits: {flows: x}\n")
    assert len(told) == 3


@pytest.mark.parametrize("text", ["{", "[" * 5000, "{mine: [}", "3", "word"])
def test_text_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (told,) = refused(tmp_path, "", BPFLEET_PLUGINS_OPTIONS=text)
    assert told.startswith("environment BPFLEET_PLUGINS_OPTIONS: plugins.options must be a mapping of plugins to ")


def test_where_a_value_stands_is_no_change(tmp_path: Path) -> None:
    one = load(tmp_path, options("mine: {a: 1}")).settings
    assert one == load(tmp_path, "\n\n" + options("mine: {a: 1}")).settings
    assert hash(one.plugins.options) == hash(PluginOptions({"mine": {"a": 1}}))
    assert one != load(tmp_path, options("mine: {a: 2}")).settings


def test_a_directory_that_cannot_be_read_is_a_mistake_with_its_place(tmp_path: Path) -> None:
    def find(directory: str) -> Known:
        raise SettingsError(f"{directory} cannot be read")

    file = tmp_path / "agent.yaml"
    file.write_text("plugins: {dir: /nowhere}\n")
    with pytest.raises(SettingsError, match=r"agent.yaml:1: plugins.dir: /nowhere cannot be read$"):
        configuration.load(file, {}, {}, find)
