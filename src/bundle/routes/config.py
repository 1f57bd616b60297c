"""An AlertmanagerConfig as values that remember their lines: matchers, routes, inhibitions, receivers.

Routes below the first are free-form for the API server (the CRD cannot refer to itself), so nothing but the operator
and this module says that a field of theirs is misspelt.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet import documents
from bpfleet.documents import Document, Keys
from bpfleet.errors import BundleError

KIND = "AlertmanagerConfig"
FILE = Path("infrastructure/alertmanager/alertmanagerconfig.yaml")
"""Below the root of a bundle."""

SEVERITIES = ("critical", "warning", "info")
"""What an alert of ours may have: a page, a ticket, for the record."""

DURATION = re.compile(
    r"0|(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII
)
TIMES = {"groupWait": "30s", "groupInterval": "5m", "repeatInterval": "4h"}
"""What Alertmanager has where nothing is said."""

ROUTE = ("receiver", "groupBy", *TIMES, "matchers", "continue", "routes", "muteTimeIntervals", "activeTimeIntervals")
MATCHER = ("name", "matchType", "value")
INHIBITION = ("sourceMatch", "targetMatch", "equal")
SPEC = ("route", "inhibitRules", "receivers", "muteTimeIntervals")


@dataclass(frozen=True)
class Matcher:
    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        """As Alertmanager reads it: the value escaped as in OpenMetrics."""
        escaped = self.value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
        return f'{self.name}{self.operator}"{escaped}"'

    def matches(self, labels: Mapping[str, str]) -> bool:
        """A label that is not there is empty, as in Prometheus."""
        value = labels.get(self.name, "")
        equal = bool(re.fullmatch(self.value, value)) if "~" in self.operator else value == self.value
        return equal != self.operator.startswith("!")


@dataclass(frozen=True)
class Route:
    """With what it has from its parent. place: file and line. goes_on: to its siblings, after it took an alert."""

    place: str
    receiver: str
    group_by: tuple[str, ...]
    times: Mapping[str, str]
    matchers: tuple[Matcher, ...]
    goes_on: bool
    routes: tuple["Route", ...]
    mute: tuple[str, ...]
    active: tuple[str, ...]


@dataclass(frozen=True)
class Inhibition:
    """An alert that matches `source` mutes those that match `target` and have the same values of `equal`."""

    place: str
    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


@dataclass(frozen=True)
class Receiver:
    """integrations: kind ("discordConfigs") and what stands there, in order."""

    place: str
    name: str
    integrations: tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True)
class Config:
    name: str
    namespace: str
    route: Route
    inhibitions: tuple[Inhibition, ...]
    receivers: Mapping[str, Receiver]
    intervals: Mapping[str, Any]


def read(file: Path) -> Config:
    """The one AlertmanagerConfig of a file. Raises BundleError naming file and line."""
    found = [each for each in documents.read(file) if isinstance(each.value, dict) and each.value.get("kind") == KIND]
    if len(found) != 1:
        raise BundleError(f"{file}: one {KIND} is to be here, not {len(found)}")
    return Reader(found[0]).config()


class Reader:
    """One document."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def config(self) -> Config:
        metadata = self._at(("metadata",), dict)
        for key in ("name", "namespace"):
            self._at(("metadata", key), str)
        self._known(("spec",), SPEC)
        receivers = {each.name: each for each in self._receivers()}
        intervals = {each["name"]: each for each in self._items(("spec", "muteTimeIntervals"), dict) if "name" in each}
        route = self._route(("spec", "route"), None, receivers, intervals)
        if route.matchers:
            raise self._wrong(("spec", "route", "matchers"), "the first route takes every alert: it has no matchers")
        inhibitions = tuple(self._inhibitions())
        return Config(metadata["name"], metadata["namespace"], route, inhibitions, receivers, intervals)

    def _receivers(self) -> Iterator[Receiver]:
        seen: set[str] = set()
        for number, each in enumerate(self._items(("spec", "receivers"), dict)):
            keys = ("spec", "receivers", number)
            name = self._at((*keys, "name"), str)
            if name in seen:
                raise self._wrong(keys, f"receiver {name} stands twice")
            seen.add(name)
            integrations = [(kind, one) for kind in each if kind != "name" for one in self._items((*keys, kind), dict)]
            yield Receiver(self._document.place(keys), name, tuple(integrations))

    def _route(
        self, keys: Keys, parent: Route | None, receivers: Mapping[str, Receiver], intervals: Mapping[str, Any]
    ) -> Route:
        self._known(keys, ROUTE)
        value = self._at(keys, dict)
        receiver = value.get("receiver", parent.receiver if parent else None)
        if not isinstance(receiver, str) or receiver not in receivers:
            known = ", ".join(receivers)
            raise self._wrong((*keys, "receiver"), f"no receiver {receiver!r}: there are {known}")
        inherited = parent.times if parent else TIMES
        times = {name: self._duration((*keys, name)) if name in value else inherited[name] for name in TIMES}
        named = {kind: self._texts((*keys, kind)) for kind in ("muteTimeIntervals", "activeTimeIntervals")}
        for kind, names in named.items():
            for name in names:
                if name not in intervals:
                    raise self._wrong((*keys, kind), f"no muteTimeIntervals entry {name!r} in spec")
        if not isinstance(value.get("continue", False), bool):
            raise self._wrong((*keys, "continue"), "continue is true or false")
        route = Route(
            self._document.place(keys),
            receiver,
            self._texts((*keys, "groupBy")) if "groupBy" in value else parent.group_by if parent else (),
            times,
            self._matchers((*keys, "matchers")),
            value.get("continue", False),
            (),
            named["muteTimeIntervals"],
            named["activeTimeIntervals"],
        )
        below = [
            self._route((*keys, "routes", number), route, receivers, intervals)
            for number in range(len(self._items((*keys, "routes"), dict)))
        ]
        return Route(**{**route.__dict__, "routes": tuple(below)})

    def _inhibitions(self) -> Iterator[Inhibition]:
        for number in range(len(self._items(("spec", "inhibitRules"), dict))):
            keys = ("spec", "inhibitRules", number)
            self._known(keys, INHIBITION)
            source, target = self._matchers((*keys, "sourceMatch")), self._matchers((*keys, "targetMatch"))
            if not source or not target:
                raise self._wrong(keys, "an inhibition without sourceMatch or targetMatch would mute everything")
            yield Inhibition(self._document.place(keys), source, target, self._texts((*keys, "equal")))

    def _matchers(self, keys: Keys) -> tuple[Matcher, ...]:
        return tuple(self._matcher((*keys, number)) for number in range(len(self._items(keys, dict))))

    def _matcher(self, keys: Keys) -> Matcher:
        self._known(keys, MATCHER)
        name, value = self._at((*keys, "name"), str), self._at((*keys, "value"), str, "")
        operator = self._at((*keys, "matchType"), str)
        if operator not in ("=", "!=", "=~", "!~"):
            raise self._wrong((*keys, "matchType"), f"matchType is one of = != =~ !~, not {operator}")
        if "~" in operator:
            try:
                re.compile(value)
            except re.error as error:
                raise self._wrong((*keys, "value"), f"not a regular expression: {value}: {error}") from error
        if name == "severity" and operator == "=" and value not in SEVERITIES:
            raise self._wrong((*keys, "value"), f"no severity {value!r}: there are {', '.join(SEVERITIES)}")
        return Matcher(name, operator, value)

    def _duration(self, keys: Keys) -> str:
        text = self._at(keys, str)
        if not text or not DURATION.fullmatch(text):
            raise self._wrong(keys, f"{text!r} is no duration such as 30s, 5m, 4h")
        return str(text)

    def _texts(self, keys: Keys) -> tuple[str, ...]:
        return tuple(self._items(keys, str))

    def _items(self, keys: Keys, kind: type) -> list[Any]:
        """Of a list that may be missing."""
        items = self._at(keys, list, [])
        for number, item in enumerate(items):
            if not isinstance(item, kind):
                raise self._wrong((*keys, number), f"{NAMES[kind]} is to be here")
        return list(items)

    def _at(self, keys: Keys, kind: type, default: Any = None) -> Any:
        value: Any = self._document.value
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                value = None
            if value is None:
                if default is None:
                    raise self._wrong(keys, f"{_dotted(keys)} is missing")
                return default
        if not isinstance(value, kind):
            raise self._wrong(keys, f"{_dotted(keys)} is to be {NAMES[kind]}")
        return value

    def _known(self, keys: Keys, allowed: tuple[str, ...]) -> None:
        for key in self._at(keys, dict):
            if key not in allowed:
                raise self._wrong((*keys, key), f"{_dotted(keys)} has no field {key}: there are {', '.join(allowed)}")

    def _wrong(self, keys: Keys, problem: str) -> BundleError:
        return BundleError(f"{self._document.place(keys)}: {problem}")


NAMES: Mapping[type, str] = {dict: "a mapping", list: "a list", str: "a text"}


def _dotted(keys: Keys) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")
