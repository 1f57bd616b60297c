"""What a plugin lets its users set: `plugins.options.<plugin>.<option>` in the agent's settings."""

import re
from dataclasses import dataclass
from typing import TypeVar

Number = TypeVar("Number", int, float)
OptionValue = bool | int | float | str | tuple[str, ...]

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", tuple: "a list of texts"}


@dataclass(frozen=True)
class Option:
    """One option. Its type is the default's: a list is written as a tuple of texts.

    minimum, maximum: of a number. choices, pattern: of a text, and of each text in a list."""

    name: str
    default: OptionValue
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""

    def checked(self, value: object) -> OptionValue:
        """The value as the plugin gets it. Raises ValueError, saying what is allowed."""
        if isinstance(self.default, tuple) and isinstance(value, list | tuple):
            return tuple(self._text(each) for each in value)
        if isinstance(self.default, bool) or isinstance(value, bool):
            if isinstance(self.default, bool) and isinstance(value, bool):
                return value
        elif isinstance(self.default, float) and isinstance(value, int | float):
            return self._within(float(value))
        elif isinstance(self.default, int) and isinstance(value, int):
            return self._within(value)
        elif isinstance(self.default, str) and isinstance(value, str):
            return self._text(value)
        raise ValueError(f"it must be {self.allowed}")

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        limits = [f"at least {self.minimum:g}"] if self.minimum is not None else []
        limits += [f"at most {self.maximum:g}"] if self.maximum is not None else []
        limits += [f"one of {', '.join(self.choices)}"] if self.choices else []
        limits += [f"like {self.pattern}"] if self.pattern else []
        return ", ".join([WORDS[type(self.default)], *limits])

    def _within(self, value: Number) -> Number:
        low, high = self.minimum, self.maximum
        if value != value or (low is not None and value < low) or (high is not None and value > high):
            raise ValueError(f"it must be {self.allowed}")
        return value

    def _text(self, value: object) -> str:
        fits = isinstance(value, str) and (not self.choices or value in self.choices)
        if not isinstance(value, str) or not fits or (self.pattern and not re.fullmatch(self.pattern, value)):
            raise ValueError(f"it must be {self.allowed}")
        return value
