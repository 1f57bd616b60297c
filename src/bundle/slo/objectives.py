"""policies/slo/objectives.yaml: what people promise, checked before anything is made of it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfleet import documents
from bpfleet.bounds import REQUEST_SECONDS
from bpfleet.documents import Document, Keys
from bpfleet.errors import BundleError

FILE = Path("policies/slo/objectives.yaml")

LABEL = "bpfleet.dev/slo-tier"
"""Of a Namespace: its tier."""

LOWEST = 0.94
"""The fast page asks for 14.4 times the allowed error ratio: at 0.94 that is 0.864; below 0.9306 it is more than all,
so that it could never fire."""

SLIS = ("availability", "latency", "tcp")
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Of the error ratios. Their names stay in each profile, so that dashboards and alerts are the same ones."""

BUDGET = "30d"
TIMES = ("interval", "long_interval", "page_for", "ticket_for", "absent_for")
TOP = ("default_tier", "minimum_events", "minimum_errors", "tiers", "windows")
DEFAULT = "default"

LONGEST_INTERVAL = "4m"
"""Prometheus takes a value for gone after 5 m: what is recorded less often comes and goes."""

MAX_EVENTS = 1_000_000
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_TIME = re.compile(r"([1-9][0-9]{0,4})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def seconds(duration: str) -> int:
    """Of a duration that was checked: `5m` is 300."""
    found = _TIME.fullmatch(duration)
    assert found
    return int(found[1]) * _SECONDS[found[2]]


@dataclass(frozen=True)
class Objective:
    """ratio: share of good events. seconds: the bound of a good request, for latency."""

    ratio: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Objectives:
    """tiers: by name, then by SLI. windows: by profile; what each name lasts there."""

    default_tier: str
    minimum_events: int
    minimum_errors: int
    tiers: Mapping[str, Mapping[str, Objective]]
    windows: Mapping[str, Mapping[str, str]]


def read(file: Path) -> Objectives:
    """Raises BundleError with each mistake, its file and line, and what is allowed."""
    found = documents.read(file)
    if len(found) != 1:
        raise BundleError(f"{file}: one YAML document is allowed, there are {len(found)}")
    document = found[0]
    problems = [f"{document.place(keys)}: {problem}" for keys, problem in _problems(document)]
    if problems:
        raise BundleError("\n".join(problems))
    value = document.value
    tiers = {
        tier: {sli: _objective(stated[sli]) for sli in SLIS if sli in stated} for tier, stated in value["tiers"].items()
    }
    return Objectives(value["default_tier"], value["minimum_events"], value["minimum_errors"], tiers, value["windows"])


def _objective(stated: Any) -> Objective:
    if isinstance(stated, dict):
        return Objective(stated["objective"], stated["seconds"])
    return Objective(stated)


Problems = Iterator[tuple[Keys, str]]


def _problems(document: Document) -> Problems:
    value = document.value
    yield from _keys((), value, TOP, required=TOP)
    if not isinstance(value, dict):
        return
    tiers = value.get("tiers")
    if "tiers" in value:
        yield from _tiers(tiers)
    if "default_tier" in value and isinstance(tiers, dict) and value["default_tier"] not in list(tiers):
        yield ("default_tier",), f"no tier {value['default_tier']!r}; there are {_list(tiers)}"
    for name in ("minimum_events", "minimum_errors"):
        least = value.get(name, 1)
        if type(least) is not int or not 1 <= least <= MAX_EVENTS:
            yield (name,), f"{least!r}: a whole number from 1 to {MAX_EVENTS} is allowed"
    if "windows" in value:
        yield from _windows(value["windows"])


def _tiers(tiers: Any) -> Problems:
    if not isinstance(tiers, dict) or not tiers:
        yield ("tiers",), "a mapping of tiers is allowed, at least one"
        return
    for tier, stated in tiers.items():
        keys = ("tiers", tier)
        if not isinstance(tier, str) or not _NAME.fullmatch(tier):
            yield keys, f"{tier!r} cannot be a tier: its name is a label's value: a-z, 0-9 and -, at most 63"
            continue
        yield from _keys(keys, stated, SLIS)
        if isinstance(stated, dict):
            if not stated:
                yield keys, f"tier {tier} has no objective; there are {_list(SLIS)}"
            for sli in SLIS:
                if sli in stated:
                    yield from _stated((*keys, sli), sli, stated[sli])


def _stated(keys: Keys, sli: str, stated: Any) -> Problems:
    ratio, at = stated, keys
    if sli == "latency":
        both = ("objective", "seconds")
        yield from _keys(keys, stated, both, required=both)
        if not isinstance(stated, dict):
            return
        bound = stated.get("seconds", REQUEST_SECONDS[0])
        if not _is_number(bound) or bound not in REQUEST_SECONDS:
            yield (
                (*keys, "seconds"),
                f"{bound!r} is no histogram bound of the agent; there are {_list(REQUEST_SECONDS)}",
            )
        ratio, at = stated.get("objective", LOWEST), (*keys, "objective")
    if not _is_number(ratio) or not LOWEST <= ratio < 1:
        yield at, f"objective {ratio!r}: a share from {LOWEST} to below 1 is allowed (0.999 is 99.9 %)"


def _windows(profiles: Any) -> Problems:
    if not isinstance(profiles, dict) or DEFAULT not in profiles:
        yield ("windows",), f"a mapping of profiles is allowed, {DEFAULT} among them"
        return
    names = (*TIMES, *WINDOWS, BUDGET)
    for profile, times in profiles.items():
        keys = ("windows", profile)
        if not isinstance(profile, str) or not _NAME.fullmatch(profile):
            yield keys, f"{profile!r} cannot be a profile: its name is a directory's: a-z, 0-9 and -"
            continue
        yield from _keys(keys, times, names, required=names)
        if not isinstance(times, dict):
            continue
        wrong = [name for name in names if name in times and not _is_time(times[name])]
        for name in wrong:
            yield (*keys, name), f"{times[name]!r}: a duration is allowed, such as 30s, 5m, 1h or 3d"
        if wrong or not all(name in times for name in names):
            continue
        for name, most in (
            ("interval", min(LONGEST_INTERVAL, times["5m"], key=seconds)),
            ("long_interval", LONGEST_INTERVAL),
        ):
            if seconds(times[name]) > seconds(most):
                yield (*keys, name), f"{times[name]}: at most {most} is allowed, or what is recorded has gaps"
        lasts = [seconds(times[name]) for name in (*WINDOWS, BUDGET)]
        for name, before, after in zip((*WINDOWS[1:], BUDGET), lasts, lasts[1:], strict=False):
            if after < before:
                yield (*keys, name), f"{times[name]} is shorter than the window before it"


def _keys(keys: Keys, value: Any, allowed: tuple[str, ...], required: tuple[str, ...] = ()) -> Problems:
    if not isinstance(value, dict):
        yield keys, f"a mapping of {_list(allowed)} is allowed, not {value!r}"
        return
    for key in value:
        if key not in allowed:
            yield (*keys, key), f"unknown: {key}; there are {_list(allowed)}"
    for key in required:
        if key not in value:
            yield keys, f"{key} is missing"


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _list(values: Any) -> str:
    return ", ".join(map(str, values))
