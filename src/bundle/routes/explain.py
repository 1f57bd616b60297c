"""What Alertmanager would do with an alert of these labels: receivers in order, grouping, times, what could mute it."""

import re
from collections.abc import Iterator, Mapping, Sequence

from bpfleet.errors import BundleError
from bundle.routes.config import SEVERITIES, Config, Inhibition, Matcher, Receiver, Route

LABEL = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
UPSTREAM = "none"
"""Severity of Watchdog and InfoInhibitor, which say nothing about anything."""

TALKS = {"discordConfigs": "Discord", "webhookConfigs": "a webhook"}


def labels(words: Sequence[str]) -> dict[str, str]:
    """From words NAME=VALUE. Raises BundleError."""
    found: dict[str, str] = {}
    for word in words:
        match = LABEL.fullmatch(word)
        if not match:
            raise BundleError(
                f"{word!r} is no label: they are written NAME=VALUE, e.g. severity=critical namespace=shop"
            )
        name, value = match[1], match[2]
        if value[:1] == '"' and value[-1:] == '"' and len(value) > 1:
            value = value[1:-1]
        if name in found:
            raise BundleError(f"label {name} stands twice")
        found[name] = value
    if found.get("severity", UPSTREAM) not in (*SEVERITIES, UPSTREAM):
        raise BundleError(f"no severity {found['severity']!r}: there are {', '.join((*SEVERITIES, UPSTREAM))}")
    return found


def taken_by(route: Route, alert: Mapping[str, str]) -> Iterator[Route]:
    """The routes that an alert ends at, in order: the deepest, and its siblings as long as they say `continue`."""
    taken = False
    for each in route.routes:
        if all(matcher.matches(alert) for matcher in each.matchers):
            taken = True
            yield from taken_by(each, alert)
            if not each.goes_on:
                break
    if not taken:
        yield route


def muted_by(config: Config, alert: Mapping[str, str]) -> Iterator[Inhibition]:
    """The inhibitions whose target it is."""
    for rule in config.inhibitions:
        if all(matcher.matches(alert) for matcher in rule.target):
            yield rule


def explain(config: Config, alert: Mapping[str, str]) -> str:
    lines = [
        " ".join(f'{name}="{_shown(value)}"' for name, value in sorted(alert.items())) or "an alert without labels"
    ]
    for number, route in enumerate(taken_by(config.route, alert), 1):
        lines += ["", f"{number}. {route.receiver}   {route.place}"]
        lines += [f"   {what:<14}{said}" for what, said in _told(route, config.receivers[route.receiver], alert)]
    lines += ["", "could be muted by" if any(muted_by(config, alert)) else "no inhibition can mute it"]
    lines += [f"   {_source(rule, alert)}   {rule.place}" for rule in muted_by(config, alert)]
    return "\n".join(lines)


def _told(route: Route, receiver: Receiver, alert: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield "sends to", "; ".join(map(_integration, receiver.integrations)) or "nobody: it has no integration"
    grouping = ", ".join(f'{name}="{_shown(alert.get(name, ""))}"' for name in route.group_by)
    yield "grouped by", "each alert alone" if route.group_by == ("...",) else grouping or "nothing: one group for all"
    times = route.times
    yield "first told", f"{times['groupWait']} after the group's first alert"
    yield "news told", f"{times['groupInterval']} after the last message at the earliest"
    yield "told again", f"every {times['repeatInterval']} while it fires"
    if route.mute:
        yield "not during", ", ".join(route.mute)
    if route.active:
        yield "only during", ", ".join(route.active)


def _integration(said: tuple[str, Mapping[str, object]]) -> str:
    kind, value = said
    secret = value.get("apiURL") or value.get("urlSecret")
    where = f" (Secret {secret['name']}, key {secret['key']})" if isinstance(secret, dict) else ""
    # Alertmanager's default.
    resolved = "also when resolved" if value.get("sendResolved", True) else "not when resolved"
    called = ", with mentions" if value.get("content") else ""
    return f"{TALKS.get(kind, kind)}{where}, {resolved}{called}"


def _source(rule: Inhibition, alert: Mapping[str, str]) -> str:
    same = ", ".join(f'{name} ("{_shown(alert.get(name, ""))}")' for name in rule.equal)
    return f"an alert with {_all(rule.source)}" + (f" and the same {same}" if same else "")


def _all(matchers: Sequence[Matcher]) -> str:
    return ", ".join(map(str, matchers))


def _shown(value: str) -> str:
    """What a terminal shows and does not obey."""
    return value if value.isprintable() else ascii(value)[1:-1]
