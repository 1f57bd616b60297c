"""Options of a sink by their names, with the types that the settings have made sure of."""

from collections.abc import Mapping

Options = Mapping[str, str | int | float]


def text(options: Options, name: str) -> str:
    return str(options[name])


def whole(options: Options, name: str) -> int:
    return int(options[name])


def seconds(options: Options, name: str) -> float:
    return float(options[name])
