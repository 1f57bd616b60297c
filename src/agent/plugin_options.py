"""`plugins.options` from YAML, with a place for each option: what is allowed is known only when the plugins are."""

import json
from collections.abc import Callable, Iterator, Mapping

import yaml

from agent.options import PluginOptions, shown
from bpfleet.options import OptionValue

_SCALARS = {"str", "bool", "int", "float"}
_TRUE = {"true", "yes", "on"}


def given(node: yaml.Node, place: Callable[[yaml.Node], str], problems: list[str]) -> PluginOptions:
    """place: of a node, for messages. problems: told one by one, each with its own place. Raises ValueError."""
    values: dict[str, dict[str, OptionValue]] = {}
    places: dict[str, str] = {}
    for plugin, options, at in _entries(node, "plugins.options", place, problems):
        found = values[plugin] = {}
        places[plugin] = at
        name = f"plugins.options.{plugin}"
        try:
            for option, value, where in _entries(options, name, place, problems):
                found[option] = _value(value, f"{where}: {name}.{option}")
                places[f"{plugin}.{option}"] = where
        except ValueError as error:
            text = str(error)
            problems.append(text if ": plugins.options." in text else f"{at}: {text}")
    return PluginOptions(values, places)


def from_text(text: str, place: str, problems: list[str]) -> PluginOptions:
    """As the environment and flags have it: {name: {option: value}}, YAML or JSON. Raises ValueError."""
    if not text.strip():
        return PluginOptions()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{shown(text)} is not valid YAML") from error
    return given(node, lambda _: place, problems) if node else PluginOptions()


def printed(options: PluginOptions) -> str:
    """As a settings file has it, in one line."""
    return json.dumps(options.values)


def _entries(
    node: yaml.Node, name: str, place: Callable[[yaml.Node], str], problems: list[str]
) -> Iterator[tuple[str, yaml.Node, str]]:
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{name} must be a mapping")
    first: dict[str, str] = {}
    for key, value in node.value:
        at = place(key)
        word = key.value if isinstance(key, yaml.ScalarNode) else ""
        if not word or not word.isprintable():
            problems.append(f"{at}: {name} has a key that is no name")
        elif word in first:
            problems.append(f"{at}: {name}.{word} stands twice; first at {first[word]}")
        else:
            first[word] = at
            yield word, value, at


def _value(node: yaml.Node, where: str) -> OptionValue:
    if isinstance(node, yaml.SequenceNode):
        return tuple(str(_scalar(each, where)) for each in node.value)
    return _scalar(node, where)


def _scalar(node: yaml.Node, where: str) -> bool | int | float | str:
    kind = str(node.tag).removeprefix("tag:yaml.org,2002:")
    if not isinstance(node, yaml.ScalarNode) or kind not in _SCALARS:
        raise ValueError(f"{where} must be text, a number, true or false, or a list of texts")
    text: str = node.value
    if kind == "bool":
        return text.lower() in _TRUE
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        raise ValueError(f"{where}: {shown(text)} is not a decimal number") from None


def by_plugin(options: PluginOptions, plugin: str) -> Mapping[str, OptionValue]:
    """What was given to one of them."""
    return options.values.get(plugin, {})
