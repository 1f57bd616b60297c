"""Keys of kube-prometheus-stack's values, against a list of the form of the vendored one."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle.flux import keys

LIST = """# kube-prometheus-stack 1.2.3: every values key
prometheus.prometheusSpec.retention\tstr
prometheus.prometheusSpec.ruleSelector\tmap
prometheus.prometheusSpec.ruleSelectorNilUsesHelmValues\tbool
prometheus.prometheusSpec.remoteWrite\tlist
alertmanager.config.global.resolve_timeout\tstr
grafana.grafana\\.ini.analytics.check_for_updates\tbool
grafana.extra\tnull
"""


@pytest.fixture
def known(tmp_path: Path) -> keys.Known:
    (tmp_path / "list.tsv").write_text(LIST)
    return keys.known(tmp_path / "list.tsv")


def told(known: keys.Known, values: object) -> list[str]:
    return [each.problem for each in known.wrong(values)]


def test_what_the_chart_has_is_right(known: keys.Known) -> None:
    values = {
        "prometheus": {"prometheusSpec": {"retention": "2d", "ruleSelector": {"any": {"thing": 1}}, "remoteWrite": []}},
        "grafana": {"grafana.ini": {"users": {"default_theme": "system"}}, "extra": {"a": 1}},
    }

    assert told(known, values) == []


def test_a_misspelt_key_is_told_with_the_one_that_was_meant(known: keys.Known) -> None:
    values = {"prometheus": {"prometheusSpec": {"retentoin": "2d"}, "resolve_timeout": "1m"}, "grafna": {}}

    assert told(known, values) == [
        "kube-prometheus-stack 1.2.3 has no value prometheus.prometheusSpec.retentoin; did you mean "
        "prometheus.prometheusSpec.retention?",
        "kube-prometheus-stack 1.2.3 has no value prometheus.resolve_timeout; did you mean "
        "alertmanager.config.global.resolve_timeout?",
        "kube-prometheus-stack 1.2.3 has no value grafna; did you mean grafana?",
    ]


def test_a_value_that_a_template_would_misread_is_told(known: keys.Known) -> None:
    spec = {"ruleSelectorNilUsesHelmValues": "false", "remoteWrite": {"url": "x"}, "retention": {"days": 2}}

    assert told(known, {"prometheus": {"prometheusSpec": spec}, "alertmanager": {"config": 1}}) == [
        "prometheus.prometheusSpec.ruleSelectorNilUsesHelmValues: has to be a bool, as its default is",
        "prometheus.prometheusSpec.remoteWrite: has to be a list, as its default is",
        "prometheus.prometheusSpec.retention: has to be a str, as its default is, and is a map",
        "alertmanager.config: has to be a map",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", ":1: the first line has to name"), ("# kube-prometheus-stack 1.2.3: x\na.b str\n", ":2: a key, a tab")],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.tsv").write_text(text)

    with pytest.raises(BundleError, match=message):
        keys.known(tmp_path / "list.tsv")
    with pytest.raises(BundleError, match="No such file"):
        keys.known(tmp_path / "none.tsv")


def test_the_vendored_list_is_whole() -> None:
    known = keys.known()

    assert (known.version, len(known.types)) == ("88.5.3", 2058)
    assert known.types["grafana", "grafana.ini", "analytics", "check_for_updates"] == "bool"
