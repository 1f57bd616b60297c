"""YAML files as values that remember their lines, so that each complaint can name file and line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bpfleet.errors import BpfleetError, BundleError

Keys = Sequence[str | int]
"""Way to a value: names of mappings, places in lists."""

VALUE = "tag:yaml.org,2002:value"
"""YAML 1.1's `=`, which PyYAML knows and cannot construct: a plain text for Kubernetes."""


class Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; a bare `=` is a text; a date stays the text that it was."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML expects that what is tagged as a number or the like is one (`!!int ""`, `!!bool maybe`)."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError) as error:
            told = f"no value of {node.tag}: {error}"
            raise yaml.constructor.ConstructorError(None, None, told, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():  # a list may say that it is one: !!map
            name = self.construct_object(key, deep=True)
            if isinstance(name, str) and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name} stands twice", key.start_mark)
            seen.add(name if isinstance(name, str) else id(key))
        return super().construct_mapping(node, deep)


for _tag in (VALUE, "tag:yaml.org,2002:timestamp"):
    Loader.add_constructor(_tag, lambda loader, node: str(node.value))


@dataclass(frozen=True)
class Document:
    """One YAML document. value: what it says; file: for messages."""

    file: Path
    value: Any
    node: yaml.Node

    def line(self, keys: Keys = ()) -> int:
        """Of the value at `keys`, or of the nearest that is there; from 1."""
        node, line = self.node, self.node.start_mark.line
        for key in keys:
            found = _step(node, key)
            if found is None:
                break
            node, line = found
        return line + 1

    def place(self, keys: Keys = ()) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line(keys)}"


def _step(node: yaml.Node, key: str | int) -> tuple[yaml.Node, int] | None:
    """The child, and the line where its key or its item begins."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key or not isinstance(key, str) and _plain(name) == key:
                return value, name.start_mark.line
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line
    return None


def _plain(node: yaml.Node) -> object:
    """Of a key that is no text: 1, yes."""
    return Loader("").construct_object(node) if isinstance(node, yaml.ScalarNode) else None


def read(file: Path, wrong: type[BpfleetError] = BundleError, most: int = -1) -> list[Document]:
    """The documents of a file that are not empty. Raises `wrong` naming file and line. most: bytes that it may have,
    also where it is a device or a pipe, which say nothing of their size."""
    try:
        with file.open("rb") as stream:
            content = stream.read(most + 1 if most >= 0 else -1)
        if 0 <= most < len(content):
            raise wrong(f"{file}: larger than {most} bytes; is it the right file?")
        text = content.decode()
    except OSError as error:
        raise wrong(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise wrong(f"{file}:{number}: not UTF-8: {error.reason}") from error
    return list(parse(text, file, wrong))


def parse(text: str, file: Path, wrong: type[BpfleetError] = BundleError) -> Iterator[Document]:
    """file: what messages call it."""
    try:
        loader = Loader(text)
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise wrong(f"{file}:{number}: not valid YAML: {ascii(text[error.position])} is not allowed") from error
    try:
        while loader.check_node():
            node = loader.get_node()
            value = loader.construct_document(node)
            if node is not None and value is not None:
                yield Document(file, value, node)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise wrong(f"{file}{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise wrong(f"{file}:{loader.line + 1}: not valid YAML: {str(error).splitlines()[0]}") from error
    finally:
        loader.dispose()
