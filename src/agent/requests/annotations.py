"""What a namespace asks for by annotations about its requests."""

from collections.abc import Mapping
from dataclasses import replace

from agent.identity.namespaces import PREFIX
from agent.requests import wishes
from agent.requests.wishes import Wish

MODE = PREFIX + "request-log"
ONE_IN = PREFIX + "request-log-one-in"
SLOW_SECONDS = PREFIX + "request-log-slow-seconds"
QUERIES_UNTIL = PREFIX + "request-log-queries-until"
PATHS_UNTIL = PREFIX + "request-log-paths-until"
STEM = MODE
"""What begins like this and is none of them is a typing error, and told as one."""


def read(annotations: Mapping[str, str]) -> tuple[Wish, dict[str, str]]:
    """What can be read, and by annotation what is wrong with the others."""
    given: dict[str, object] = {}
    problems: dict[str, str] = {}
    for name, value in annotations.items():
        if name not in _READERS:
            if name.startswith(STEM):
                problems[name] = f"there is no such annotation; there are {', '.join(_READERS)}"
            continue
        field, reader = _READERS[name]
        try:
            given[field] = reader(value)
        except ValueError as error:
            problems[name] = str(error)
    return replace(Wish(), **given), problems  # type: ignore[arg-type]  # each by its own reader


_READERS = {
    MODE: ("mode", wishes.mode),
    ONE_IN: ("one_in", wishes.one_in),
    SLOW_SECONDS: ("slow_seconds", wishes.slow_seconds),
    QUERIES_UNTIL: ("queries_until", wishes.moment),
    PATHS_UNTIL: ("paths_until", wishes.moment),
}
