"""What a setting is: its type, the values it takes, and its name in the file, in the environment and as a flag."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from bpfleet.options import OptionValue


class PluginOptions:
    """What was given to plugins, by plugin and option. places: where, by `plugin.option`; where alone is no change."""

    def __init__(
        self,
        values: Mapping[str, Mapping[str, OptionValue]] | None = None,
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.values = dict(values or {})
        self.places = dict(places or {})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PluginOptions) and self.values == other.values

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.values)))


Value = str | int | float | tuple[str, ...] | tuple[float, ...] | PluginOptions
T = TypeVar("T")

MAX_BOUNDS = 64
"""The kernel finds a bucket by a chain of compares, and every bound is a series of every workload."""

SHOWN = 60
"""Characters of a refused value that a message repeats."""


@dataclass(frozen=True)
class Entries:
    """A list whose entries are mappings in the file, and a text each elsewhere.

    keys: of such a mapping -> whether its value is a list. needed: those that must be there. texts: the texts of a
    mapping whose values are lists, of one where it is not a list. check: raises ValueError for texts that are wrong."""

    keys: Mapping[str, bool]
    needed: tuple[str, ...]
    texts: Callable[[Mapping[str, Sequence[str]]], list[str]]
    check: Callable[[Sequence[str]], None]
    most: int


@dataclass(frozen=True)
class Option:
    """What one setting is for and which values it takes.

    minimum, maximum: of a number, and of each number in a list. pattern: of a text, and of each name in a list.
    allowed: what the pattern says, in words. optional: a list may be empty. most: numbers in a list. live: a reload
    applies it to the running agent; otherwise it takes a restart."""

    help: str
    live: bool = False
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    most: int = MAX_BOUNDS
    choices: tuple[str, ...] = ()
    pattern: str = ""
    allowed: str = ""
    entries: Entries | None = None

    def check(self, value: Value) -> None:
        """Raises ValueError, saying what is wrong with a value of the right type."""
        if isinstance(value, PluginOptions):
            return  # what is allowed the plugins say
        if isinstance(value, tuple):
            self._check_list(value)
        elif isinstance(value, str):
            self._check_text(value)
        elif not self._within(value):
            raise ValueError(f"{shown(value)} is out of range")

    def _check_text(self, text: str) -> None:
        if self.choices and text not in self.choices:
            raise ValueError(f"{shown(text)} is not one of them")
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError(f"{shown(text)} does not look like that")

    def _check_list(self, values: tuple[str, ...] | tuple[float, ...]) -> None:
        if not values and not self.entries and not self.optional:
            raise ValueError("it is empty")
        if len(values) > (self.entries.most if self.entries else self.most):
            raise ValueError(f"it has {len(values)} elements")
        if self.entries:
            self.entries.check([str(value) for value in values])
            return
        for value in values:
            self.check(value)
        numbers = [value for value in values if not isinstance(value, str)]
        for low, high in zip(numbers, numbers[1:], strict=False):
            if high <= low:
                raise ValueError(f"{high:g} comes after {low:g}")

    def _within(self, value: float) -> bool:
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


class Leaf(NamedTuple):
    """One setting with its place: ("limits", "flows") is `limits.flows` in messages."""

    path: tuple[str, ...]
    option: Option
    default: Value

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        return "BPFLEET_" + "_".join(self.path).upper()

    @property
    def kind(self) -> str:
        """text | integer | number | names | numbers | options, from the default."""
        if isinstance(self.default, PluginOptions):
            return "options"
        if isinstance(self.default, tuple):
            return "numbers" if self.default and not isinstance(self.default[0], str) else "names"
        return {str: "text", int: "integer", float: "number"}[type(self.default)]

    @property
    def allowed(self) -> str:
        """What may be given, for messages and docs."""
        option = self.option
        if option.choices:
            return "one of " + ", ".join(option.choices)
        if self.kind in ("integer", "number"):
            noun = "a whole number" if self.kind == "integer" else "a number"
            return f"{noun} from {self._range}"
        if self.kind == "numbers":
            return f"1 to {option.most} ascending numbers from {self._range}"
        return option.allowed or "text"

    @property
    def _range(self) -> str:
        return f"{numeral(self.option.minimum or 0)} to {numeral(self.option.maximum or 0)}"


def numeral(value: float) -> str:
    """Shortest form without an exponent, which YAML 1.1 would read as text."""
    return str(value) if isinstance(value, int) else f"{value:.9f}".rstrip("0").rstrip(".")


def shown(value: object) -> str:
    """A value as a message may repeat it: one line, no control characters, not long."""
    text = ascii(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def setting(default: T, help: str, **rules: Any) -> T:
    """A dataclass field that is a setting."""
    return field(default=default, metadata={"option": Option(help, **rules)})
