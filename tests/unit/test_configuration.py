from pathlib import Path

import pytest

from agent.configuration import Configuration, Parser, flags_of, load, show
from agent.settings import Settings
from bpfleet.errors import SettingsError

KNOWN = {"traffic": True, "tcp": True, "icmp": False}


def read(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return load(file, {}, {}, KNOWN)


def test_nothing_given_means_the_defaults_and_the_default_collectors() -> None:
    configuration = load(None, {}, {}, KNOWN)
    assert configuration.settings == Settings(collectors=("traffic", "tcp"))
    assert configuration.places == {}


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("limits:\n  flows: 100\n  cgroups: 100\nlog_level: debug\n")
    environment = {"BPFLEET_LIMITS_FLOWS": "200", "BPFLEET_LIMITS_CGROUPS": "200"}
    configuration = load(file, environment, {"limits.flows": "300"}, KNOWN)
    assert configuration.settings.limits.flows == 300
    assert configuration.settings.limits.cgroups == 200
    assert configuration.settings.log_level == "debug"
    assert configuration.places == {
        "limits.flows": "flag --limits-flows",
        "limits.cgroups": "environment BPFLEET_LIMITS_CGROUPS",
        "log_level": f"{file}:4",
    }


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("log_level: error\n")
    assert load(None, {"BPFLEET_CONFIG": str(file)}, {}, KNOWN).settings.log_level == "error"


def test_a_combination_names_both_places(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text("limits:\n  series: 1000\n")
    with pytest.raises(SettingsError) as caught:
        load(file, {}, {"limits.series_per_metric": "2000"}, KNOWN)
    assert str(caught.value) == (
        f"limits.series_per_metric (2000, flag --limits-series-per-metric) is more than limits.series (1000, {file}:2)"
    )


def test_an_unknown_variable_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match="BPFLEET_LIMIT_FLOWS: no such setting; did you mean BPFLEET_LIMITS_FLOWS"):
        load(None, {"BPFLEET_LIMIT_FLOWS": "64"}, {}, KNOWN)


def test_a_wrong_value_in_the_environment_names_the_variable() -> None:
    with pytest.raises(SettingsError, match="environment BPFLEET_LISTEN: listen must be HOST:PORT"):
        load(None, {"BPFLEET_LISTEN": "9436"}, {}, KNOWN)


def test_variables_that_kubernetes_makes_for_a_service_are_not_settings() -> None:
    links = ("BPFLEET_PORT", "BPFLEET_AGENT_SERVICE_HOST", "BPFLEET_SERVICE_PORT_HTTP", "BPFLEET_PORT_80_TCP_ADDR")
    assert load(None, dict.fromkeys(links, "tcp://10.96.0.1:80"), {}, KNOWN).places == {}


@pytest.mark.parametrize(
    ("file", "flag", "chosen"),
    [
        ("", "icmp", ("icmp",)),
        ("", "tcp, traffic", ("traffic", "tcp")),
        ("", "+icmp", ("traffic", "tcp", "icmp")),
        ("", "+icmp,-tcp", ("traffic", "icmp")),
        ("collectors: [tcp]\n", "", ("tcp",)),
        ("collectors: [tcp]\n", "+icmp", ("tcp", "icmp")),
        ("collectors: [-tcp]\n", "+icmp", ("traffic", "icmp")),
        ("collectors: [-tcp]\n", "icmp", ("icmp",)),
    ],
)
def test_collectors_are_a_set_or_changes_to_the_one_below(
    tmp_path: Path, file: str, flag: str, chosen: tuple[str, ...]
) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(file)
    flags = {"collectors": flag} if flag else {}
    assert load(path, {}, flags, KNOWN).settings.collectors == chosen


def test_every_flag_reaches_its_setting_and_a_minus_may_begin_a_value() -> None:
    parsed = Parser("agent", "").parse_args(
        ["--collectors", "-tcp,+icmp", "--limits-flows=64", "--identity-kubernetes", "off", "--config", "x.yaml"]
    )
    assert flags_of(parsed) == {"collectors": "-tcp,+icmp", "limits.flows": "64", "identity.kubernetes": "off"}
    assert parsed.config == Path("x.yaml")


def test_what_show_prints_is_a_settings_file_that_says_the_same(tmp_path: Path) -> None:
    first = load(
        None, {}, {"limits.flows": "64", "histograms.rtt_seconds": "0.000001,2", "kernel.cache": '/a "b"'}, KNOWN
    )
    printed = show(first)
    assert "  flows: 64  # flag --limits-flows\n" in printed
    assert read(tmp_path, printed).settings == first.settings


def test_a_section_inside_a_section_is_read_and_shown(tmp_path: Path) -> None:
    configuration = read(tmp_path, "sinks:\n  jsonl:\n    path: /var/log/events.jsonl\n")
    assert configuration.settings.sinks.jsonl.path == "/var/log/events.jsonl"
    shown = show(configuration)
    assert 'sinks:\n  jsonl:\n    path: "/var/log/events.jsonl"  # ' in shown
    assert read(tmp_path, shown).settings == configuration.settings
    with pytest.raises(SettingsError, match="sinks.jsonl.path must be -, an absolute path, or empty"):
        read(tmp_path, "sinks:\n  jsonl:\n    path: events.jsonl\n")
