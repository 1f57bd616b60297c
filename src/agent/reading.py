"""What was understood of the settings so far, and every mistake on the way: for the file, the environment and flags."""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from agent.options import Leaf, Value, shown

KIND = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "names": "a list of names",
    "numbers": "a list of numbers",
    "options": "plugins with their options",
}


@dataclass(frozen=True)
class Given:
    """A value and the place it was given at, as messages show it ("agent.yaml:3", "--listen")."""

    value: Value
    place: str


@dataclass
class Reading:
    """What was understood so far, and every problem on the way."""

    given: dict[str, Given] = field(default_factory=dict)
    collectors: list[Given] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def take(self, leaf: Leaf, place: str, convert: Callable[[], Value]) -> None:
        try:
            value = convert()
            leaf.option.check(value)
        except ValueError as error:
            self.problems.append(f"{place}: {leaf.name} must be {leaf.allowed}: {error}")
            return
        self.given[leaf.name] = Given(value, place)
        if leaf.name == "collectors":
            self.collectors.append(self.given[leaf.name])


def number(kind: str, text: str) -> int | float:
    try:
        return int(text) if kind == "integer" else float(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not {KIND[kind]}") from None


def did_you_mean(word: str, known: Iterable[str], path: tuple[str, ...] = ()) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {'.'.join((*path, close[0]))}?" if close else ""
