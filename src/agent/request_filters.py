"""Which requests of the log a user wants to see: words of the command line, checked, and the question they ask."""

import argparse
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

from agent.filter_words import matches, split
from agent.options import shown
from agent.request_pages import Request

Question = Callable[[Request], bool]
StatusTest = Callable[[int | None], bool]

NAMESPACE, POD, WORKLOAD = "k8s.namespace.name", "k8s.pod.name", "bpfleet.workload.name"
METHOD, ORIGINAL, STATUS = "http.request.method", "http.request.method_original", "http.response.status_code"
PATH, HOST, ROLE, DURATION = "url.path", "server.address", "bpfleet.http.role", "bpfleet.duration"

ROLES = ("client", "server")
STATUSES = "200, 5xx, >=400, 400-499, or none for a request without a response"
MAX_SECONDS = 1e10
"""More than the age of any connection: what is above is no duration."""

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}", re.ASCII)
"""A token of RFC 9110, 5.6.2."""

_CLASS = re.compile(r"([1-9])xx", re.ASCII | re.IGNORECASE)
_BOUND = re.compile(r"(>=|<=|>|<)([1-9][0-9]{2})", re.ASCII)
_RANGE = re.compile(r"([1-9][0-9]{2})(?:-([1-9][0-9]{2}))?", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(us|ms|s)", re.ASCII)


def add_to(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters (all that are given must hold; of a list one)")
    names = "names or patterns (shop-*)"
    group.add_argument("--namespace", type=split, metavar="A,B", help=f"of the owner: {names}")
    group.add_argument("--workload", type=split, metavar="A,B", help=f"of the owner: {names}")
    group.add_argument("--pod", type=split, metavar="A,B", help=f"of the owner: {names}")
    group.add_argument("--role", choices=ROLES, help="the owner sent the request (client) or answered it (server)")
    group.add_argument("--method", type=_methods, metavar="A,B", help="GET, POST, ... as the client wrote it")
    group.add_argument("--status", type=_statuses, metavar="A,B", help=STATUSES.replace("%", "%%"))
    group.add_argument("--min-duration", type=_duration, metavar="T", help="with its unit: 200us, 50ms, 1.5s")
    group.add_argument(
        "--host", type=split, metavar="A,B", help="of the Host header: names or patterns (*.example.org)"
    )
    group.add_argument(
        "--path", metavar="P", help="how the path begins (/api/), or a pattern of all of it (/api/*/new)"
    )


def question_of(wanted: argparse.Namespace) -> Question:
    """Whether a request is one of those that were asked for."""
    tests: list[Question] = []
    for given, test in (
        (wanted.namespace, lambda request: matches(word(request, NAMESPACE), wanted.namespace)),
        (wanted.workload, lambda request: matches(word(request, WORKLOAD), wanted.workload)),
        (wanted.pod, lambda request: matches(word(request, POD), wanted.pod)),
        (wanted.role, lambda request: word(request, ROLE) == wanted.role),
        (wanted.method, lambda request: method(request) in wanted.method),
        (wanted.status, lambda request: any(test(status(request)) for test in wanted.status)),
        (wanted.min_duration, lambda request: duration(request) >= wanted.min_duration),
        (wanted.host, lambda request: matches(word(request, HOST), wanted.host)),
        (wanted.path, lambda request: _is_path(word(request, PATH), wanted.path)),
    ):
        if given is not None:
            tests.append(test)
    return lambda request: all(test(request) for test in tests)


# What a request says; of another type than it should be counts as absent


def word(request: Request, name: str) -> str:
    value = request.get(name)
    return value if isinstance(value, str) else ""


def method(request: Request) -> str:
    """As the client wrote it."""
    return word(request, ORIGINAL) or word(request, METHOD)


def status(request: Request) -> int | None:
    value = request.get(STATUS)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def duration(request: Request) -> float:
    """In seconds; below 0 where there is none."""
    value = request.get(DURATION)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_SECONDS:
        return -1.0
    return float(value)


def _is_path(path: str, wanted: str) -> bool:
    """A path may hold the very characters that patterns have."""
    return bool(path) and (path.startswith(wanted) or fnmatchcase(path, wanted))


# Words of the command line


def _methods(text: str) -> tuple[str, ...]:
    words = split(text)
    for each in words:
        if not _METHOD.fullmatch(each):
            raise argparse.ArgumentTypeError(f"{shown(each)} is no method; GET, POST and the like are")
    return words


def _statuses(text: str) -> tuple[StatusTest, ...]:
    return tuple(map(_status, split(text)))


def _status(text: str) -> StatusTest:
    if text == "none":
        return lambda status: status is None
    if found := _CLASS.fullmatch(text):
        return _between(100 * int(found[1]), 100 * int(found[1]) + 99)
    if found := _RANGE.fullmatch(text):
        return _between(int(found[1]), int(found[2] or found[1]))
    if found := _BOUND.fullmatch(text):
        number = int(found[2])
        bounds = {">=": (number, 999), ">": (number + 1, 999), "<=": (0, number), "<": (0, number - 1)}
        return _between(*bounds[found[1]])
    raise argparse.ArgumentTypeError(f"{shown(text)} is no status; there are {STATUSES}")


def _between(lowest: int, highest: int) -> StatusTest:
    return lambda status: status is not None and lowest <= status <= highest


def _duration(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{shown(text)} is no duration; 200us, 50ms and 1.5s are")
    return float(found[1]) * UNITS[found[2]]
