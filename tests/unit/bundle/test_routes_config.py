"""Matchers, routes and inhibitions, by themselves."""

from pathlib import Path

import pytest

from bpfleet.documents import parse
from bpfleet.errors import BundleError
from bundle.routes.config import Matcher, Reader
from bundle.routes.explain import explain, labels, taken_by
from bundle.routes.raw import translate

CONFIG = """\
metadata: {name: all, namespace: watch}
spec:
  route:
    receiver: rest
    groupBy: [namespace]
    routes:
      - receiver: day
        matchers: [{name: team, matchType: "=~", value: "sh.*"}]
        continue: true
        muteTimeIntervals: [night]
        routes:
          - groupWait: 1m
            matchers: [{name: kind, matchType: "!=", value: ""}]
      - receiver: day
        matchers: [{name: team, matchType: "!~", value: "shop|bank"}]
  receivers:
    - name: rest
    - name: day
      webhookConfigs: [{urlSecret: {name: hooks, key: day}, sendResolved: false, maxAlerts: 3}]
  muteTimeIntervals:
    - name: night
      timeIntervals:
        - times: [{startTime: "22:00", endTime: "24:00"}]
          daysOfMonth: [{start: 1, end: -1}]
          weekdays: [monday:friday]
"""


def config(text: str = CONFIG) -> Reader:
    (document,) = parse(text, Path("x.yaml"))
    return Reader(document)


@pytest.mark.parametrize(
    ("operator", "value", "matched"),
    [
        ("=", "shop", {"shop"}),
        ("!=", "shop", {"", "shopping"}),
        ("=~", "shop", {"shop"}),
        ("=~", "shop.*|", {"", "shop", "shopping"}),
        ("!~", "shop.+", {"", "shop"}),
        ("=", "", {""}),
        ("!=", "", {"shop", "shopping"}),
    ],
)
def test_a_matcher_is_anchored_and_a_missing_label_is_empty(operator: str, value: str, matched: set[str]) -> None:
    matcher = Matcher("team", operator, value)

    assert {each for each in ("shop", "shopping") if matcher.matches({"team": each})} == matched - {""}
    assert matcher.matches({}) == matcher.matches({"team": ""}) == ("" in matched)


def test_a_matchers_value_is_escaped_for_alertmanager() -> None:
    assert str(Matcher("a", "=", 'b"\\\n')) == r'a="b\"\\\n"'


@pytest.mark.parametrize(
    ("alert", "receivers", "waits"),
    [
        ({}, ["day"], ["30s"]),
        ({"team": "bank"}, ["rest"], ["30s"]),
        ({"team": "shop"}, ["day"], ["30s"]),
        ({"team": "shoe", "kind": "x"}, ["day", "day"], ["1m", "30s"]),
    ],
)
def test_an_alert_ends_at_the_deepest_route_and_goes_on_where_it_is_told_to(
    alert: dict[str, str], receivers: list[str], waits: list[str]
) -> None:
    found = list(taken_by(config().config().route, alert))

    assert [each.receiver for each in found] == receivers
    assert [each.times["groupWait"] for each in found] == waits
    assert {each.group_by for each in found} == {("namespace",)}


def test_the_operators_form_has_prefixes_secrets_and_intervals() -> None:
    raw = translate(config().config(), [Path("/t/a.tmpl")], lambda name, key: f"https://{name}/{key}")

    assert raw["receivers"] == [
        {"name": "watch/all/rest"},
        {
            "name": "watch/all/day",
            "webhook_configs": [{"url": "https://hooks/day", "send_resolved": False, "max_alerts": 3}],
        },
    ]
    assert raw["route"]["routes"][0] == {
        "receiver": "watch/all/day",
        "group_by": ["namespace"],
        "matchers": ['team=~"sh.*"'],
        "continue": True,
        "group_wait": "30s",
        "group_interval": "5m",
        "repeat_interval": "4h",
        "mute_time_intervals": ["watch/all/night"],
        "routes": [
            {
                "receiver": "watch/all/day",
                "group_by": ["namespace"],
                "matchers": ['kind!=""'],
                "group_wait": "1m",
                "group_interval": "5m",
                "repeat_interval": "4h",
            }
        ],
    }
    assert raw["time_intervals"] == [
        {
            "name": "watch/all/night",
            "time_intervals": [
                {
                    "times": [{"start_time": "22:00", "end_time": "24:00"}],
                    "days_of_month": ["1:-1"],
                    "weekdays": ["monday:friday"],
                }
            ],
        }
    ]
    assert raw["templates"] == ["/t/a.tmpl"]


def test_explain_tells_mute_times_and_what_is_not_sent() -> None:
    told = explain(config().config(), {"team": "shop", "x": "\x1b[31m"})

    assert 'team="shop" x="\\x1b[31m"\n' in told
    assert "a webhook (Secret hooks, key day), not when resolved" in told
    assert "not during    night" in told
    assert "no inhibition can mute it" in told


def test_labels_may_be_empty_quoted_and_hold_anything() -> None:
    assert labels(["a=", 'b="c"', "d=e=f,g"]) == {"a": "", "b": "c", "d": "e=f,g"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("receiver: rest", "receiver: nobody", "x.yaml:4: no receiver 'nobody': there are rest, day"),
        ("receiver: rest", "receiver: [rest]", "x.yaml:4: no receiver ['rest']"),
        ("[night]", "[day]", "x.yaml:10: no muteTimeIntervals entry 'day'"),
        ("continue: true", "continue: yes please", "x.yaml:9: continue is true or false"),
        ("    groupBy: [namespace]", "    matchers: [{name: a, matchType: '='}]", "x.yaml:5: the first route takes"),
        ("groupBy: [namespace]", "groupBy: [1]", "x.yaml:5: a text is to be here"),
        ("{name: all, namespace", "{name: all, spacename", "metadata.namespace is missing"),
        ('matchType: "!=", ', "", "matchType is missing"),
    ],
)
def test_what_is_wrong_is_told_by_line(before: str, after: str, message: str) -> None:
    with pytest.raises(BundleError, match=message.replace("(", r"\(").replace("[", r"\[")):
        config(CONFIG.replace(before, after, 1)).config()
