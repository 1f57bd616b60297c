"""From an AlertmanagerConfig to Alertmanager's own YAML, as the operator makes it of a global one.

https://github.com/prometheus-operator/prometheus-operator/blob/main/pkg/alertmanager/amcfg.go: receivers and intervals
get the prefix NAMESPACE/NAME/, no matcher is added, Secrets become their values, templates are files in one directory.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bpfleet.errors import BundleError
from bundle.routes.config import Config, Inhibition, Receiver, Route

Secrets = Callable[[str, str], str]
"""The value of a Secret's key."""

FORM = {
    "discordConfigs": {
        "apiURL": "webhook_url",
        "sendResolved": "send_resolved",
        "title": "title",
        "message": "message",
        "content": "content",
        "username": "username",
        "avatarURL": "avatar_url",
    },
    "webhookConfigs": {
        "url": "url",
        "urlSecret": "url",
        "sendResolved": "send_resolved",
        "maxAlerts": "max_alerts",
        "timeout": "timeout",
    },
}
"""The operator's word and Alertmanager's; what is not here is not translated, and refused."""

INTERVAL = {
    "times": "times",
    "weekdays": "weekdays",
    "daysOfMonth": "days_of_month",
    "months": "months",
    "years": "years",
}


def placeholder(name: str, key: str) -> str:
    """An address that reaches nobody, for those who only look."""
    return f"http://secret.invalid/{name}/{key}"


def translate(config: Config, templates: list[Path], secrets: Secrets = placeholder) -> dict[str, Any]:
    """Raises BundleError for what this does not know."""
    prefix = f"{config.namespace}/{config.name}/"
    raw: dict[str, Any] = {"route": _route(config.route, prefix)}
    if config.inhibitions:
        raw["inhibit_rules"] = [_inhibition(each) for each in config.inhibitions]
    raw["receivers"] = [_receiver(each, prefix, secrets) for each in config.receivers.values()]
    if config.intervals:
        raw["time_intervals"] = [_interval(name, each, prefix) for name, each in config.intervals.items()]
    raw["templates"] = [str(file) for file in templates]
    return raw


def text(raw: Mapping[str, Any]) -> str:
    return yaml.safe_dump(raw, sort_keys=False, width=120, allow_unicode=True)


def _route(route: Route, prefix: str) -> dict[str, Any]:
    raw: dict[str, Any] = {"receiver": prefix + route.receiver, "group_by": list(route.group_by)}
    if route.matchers:
        raw["matchers"] = [str(each) for each in route.matchers]
    if route.goes_on:
        raw["continue"] = True
    for name, words in (("groupWait", "group_wait"), ("groupInterval", "group_interval"),
                        ("repeatInterval", "repeat_interval")):  # fmt: skip
        raw[words] = route.times[name]
    for words, names in (("mute_time_intervals", route.mute), ("active_time_intervals", route.active)):
        if names:
            raw[words] = [prefix + each for each in names]
    if route.routes:
        raw["routes"] = [_route(each, prefix) for each in route.routes]
    return raw


def _inhibition(rule: Inhibition) -> dict[str, Any]:
    return {
        "source_matchers": [str(each) for each in rule.source],
        "target_matchers": [str(each) for each in rule.target],
        "equal": list(rule.equal),
    }


def _receiver(receiver: Receiver, prefix: str, secrets: Secrets) -> dict[str, Any]:
    raw: dict[str, Any] = {"name": prefix + receiver.name}
    for kind, value in receiver.integrations:
        if kind not in FORM:
            raise BundleError(f"{receiver.place}: {kind} is not known here: there are {', '.join(FORM)}")
        raw.setdefault(kind.removesuffix("Configs") + "_configs", []).append(
            dict(_integration(receiver, kind, value, secrets))
        )
    return raw


def _integration(
    receiver: Receiver, kind: str, value: Mapping[str, Any], secrets: Secrets
) -> Iterator[tuple[str, Any]]:
    for key, said in value.items():
        if key not in FORM[kind]:
            raise BundleError(
                f"{receiver.place}: {kind} with {key} is not known here: there is {', '.join(FORM[kind])}"
            )
        if key in ("apiURL", "urlSecret"):
            if not isinstance(said, dict) or not {"name", "key"} <= said.keys():
                raise BundleError(f"{receiver.place}: {key} is to be a Secret's name and key: {{name: ..., key: ...}}")
            said = secrets(said["name"], said["key"])
        yield FORM[kind][key], said


def _interval(name: str, value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {"name": prefix + name, "time_intervals": [_times(each) for each in value.get("timeIntervals", [])]}


def _times(value: Mapping[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = {INTERVAL[key]: said for key, said in value.items() if key in INTERVAL}
    if "times" in raw:
        raw["times"] = [{"start_time": each["startTime"], "end_time": each["endTime"]} for each in raw["times"]]
    if "days_of_month" in raw:
        raw["days_of_month"] = [f"{each.get('start', 1)}:{each.get('end', 31)}" for each in raw["days_of_month"]]
    return raw
