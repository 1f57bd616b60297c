"""The settings file: YAML, read node by node instead of with yaml.safe_load, because nodes know their line, show a key
that stands twice, and keep the text: YAML 1.1 would make a boolean of `kubernetes: on`.
"""

from pathlib import Path

import yaml

from agent import files
from agent.options import Entries, Leaf, Value, shown
from agent.reading import KIND, Reading, did_you_mean, number
from agent.settings import leaves
from bpfleet.errors import SettingsError


def read(path: Path, reading: Reading) -> None:
    file, content = files.named(path), files.read(path)
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"{file}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{file}: not valid YAML: {str(error).splitlines()[0]}") from error
    if root is not None:
        _read_section(file, root, (), reading)


def _read_section(file: str, node: yaml.Node, path: tuple[str, ...], reading: Reading) -> None:
    place = _place(file, node)
    name = ".".join(path) or "the file"
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return
    if not isinstance(node, yaml.MappingNode):
        keys = ", ".join(_keys(path))
        reading.problems.append(f"{place}: {name} must be a mapping with these keys: {keys}")
        return
    first: dict[str, str] = {}
    for key, value in node.value:
        word, at = _word(key), _place(file, key)
        if word in first:
            reading.problems.append(f"{at}: {'.'.join((*path, word))} stands twice; first at {first[word]}")
        elif word not in _keys(path):
            reading.problems.append(f"{at}: {_unknown('.'.join((*path, word)), path)}")
        elif leaf := _LEAVES.get((*path, word)):
            _take_node(reading, leaf, _place(file, value), value)
        else:
            _read_section(file, value, (*path, word), reading)
        first.setdefault(word, at)


def _take_node(reading: Reading, leaf: Leaf, place: str, node: yaml.Node) -> None:
    if leaf.option.entries and isinstance(node, yaml.SequenceNode):
        _take_entries(reading, leaf, leaf.option.entries, place, node)
        return
    reading.take(leaf, place, lambda: _from_node(leaf, node))


def _take_entries(reading: Reading, leaf: Leaf, entries: Entries, place: str, node: yaml.SequenceNode) -> None:
    """Each entry's mistake with its own line."""
    texts: list[str] = []
    before = len(reading.problems)
    for each in node.value:
        at = f"{place.rpartition(':')[0]}:{each.start_mark.line + 1}"
        try:
            found = _entry(entries, each)
            entries.check(found)
            texts += found
        except ValueError as error:
            reading.problems.append(f"{at}: {leaf.name} must be {leaf.allowed}: {error}")
    if len(reading.problems) == before:
        reading.take(leaf, place, lambda: tuple(texts))


def _entry(entries: Entries, node: yaml.Node) -> list[str]:
    """Raises ValueError."""
    if not isinstance(node, yaml.MappingNode):
        return [str(_scalar("text", node, False))]
    values: dict[str, list[str]] = {}
    for key, value in node.value:
        word = _word(key)
        if word not in entries.keys:
            raise ValueError(f"unknown key {shown(word)}; there are {', '.join(entries.keys)}")
        if word in values:
            raise ValueError(f"{word} stands twice")
        many = entries.keys[word]
        if many is not isinstance(value, yaml.SequenceNode):
            raise ValueError(f"{word} is {_kind(value)}, not {'a list' if many else 'text'}")
        values[word] = [str(_scalar("text", each, False)) for each in (value.value if many else [value])]
    for word in entries.needed:
        if not values.get(word):
            raise ValueError(f"{word} is missing")
    return entries.texts(values)


def _from_node(leaf: Leaf, node: yaml.Node) -> Value:
    if leaf.kind not in ("names", "numbers"):
        return _scalar(leaf.kind, node, bool(leaf.option.choices))
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError(f"it is {_kind(node)}, not {KIND[leaf.kind]}")
    if leaf.kind == "names":
        return tuple(str(_scalar("text", each, False)) for each in node.value)
    return tuple(float(_scalar("number", each, False)) for each in node.value)


def _scalar(kind: str, node: yaml.Node, word: bool) -> str | int | float:
    """A text or number. word: any unquoted word is text (`on` would be a boolean)."""
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"it is {_kind(node)}, not {KIND[kind]}")
    text: str = node.value
    if kind == "text":
        if node.tag != "tag:yaml.org,2002:str" and not word:
            raise ValueError(f"{shown(text)} is {_kind(node)} in YAML; put it in quotes")
        return text
    if node.style is not None:
        raise ValueError(f"{shown(text)} is text; write it without quotes")
    return number(kind, text)


def _kind(node: yaml.Node) -> str:
    words = {"map": "a mapping", "seq": "a list", "bool": "a boolean", "null": "nothing", "int": "a number"}
    words |= {"float": "a number", "timestamp": "a date", "str": "text"}
    tag = str(node.tag).removeprefix("tag:yaml.org,2002:")
    return words.get(tag, f"of type {shown(tag)}")


def _word(key: yaml.Node) -> str:
    return key.value if isinstance(key, yaml.ScalarNode) else shown(_kind(key))


def _place(file: str, node: yaml.Node) -> str:
    return f"{file}:{node.start_mark.line + 1}"


def _unknown(name: str, path: tuple[str, ...]) -> str:
    """`limits.flws is not a setting ...`, with the nearest of the section, else the same word elsewhere."""
    word = name.rpartition(".")[2]
    elsewhere = [leaf.name for leaf in leaves() if leaf.path[-1] == word]
    hint = f"; did you mean {elsewhere[0]}?" if elsewhere else did_you_mean(word, _keys(path), path)
    return f"{shown(name)[1:-1]} is not a setting{hint}; allowed here: {', '.join(_keys(path))}"


def _keys(path: tuple[str, ...]) -> list[str]:
    """The keys of a section, in order."""
    inside = (leaf.path[len(path)] for leaf in leaves() if leaf.path[: len(path)] == path)
    return list(dict.fromkeys(inside))


_LEAVES = {leaf.path: leaf for leaf in leaves()}
