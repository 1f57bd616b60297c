import os
from pathlib import Path

import pytest

from agent.configuration import Configuration, load, show
from agent.files import MAX_BYTES
from bpfleet.errors import SettingsError

KNOWN = {"traffic": True, "tcp": True, "icmp": False}


def read(tmp_path: Path, text: str) -> Configuration:
    file = tmp_path / "agent.yaml"
    file.write_text(text)
    return load(file, {}, {}, KNOWN)


def complaint(tmp_path: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("text", ["", "# nothing\n", "limits:\n", "---\n...\n"])
def test_an_empty_file_or_section_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text).settings == load(None, {}, {}, KNOWN).settings


@pytest.mark.parametrize(("word", "value"), [("on", "on"), ("off", "off"), ("auto", "auto"), ('"on"', "on")])
def test_on_and_off_are_words_although_yaml_thinks_otherwise(tmp_path: Path, word: str, value: str) -> None:
    assert read(tmp_path, f"identity: {{kubernetes: {word}}}\n").settings.identity.kubernetes == value


def test_bounds_may_be_written_in_any_way_a_number_can(tmp_path: Path) -> None:
    read_bounds = read(tmp_path, "histograms:\n  rtt_seconds: [.001, 1e-2, 0.5, 1]\n").settings.histograms.rtt_seconds
    assert read_bounds == (0.001, 0.01, 0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "\nlimts:\n  flows: 5\n",
            "agent.yaml:2: limts is not a setting; did you mean limits?; allowed here: listen, collectors",
        ),
        (
            "limits:\n  flws: 5\n",
            "agent.yaml:2: limits.flws is not a setting; did you mean limits.flows?; allowed here: flows, cgroups",
        ),
        ("flows: 5\n", "agent.yaml:1: flows is not a setting; did you mean limits.flows?"),
        (
            "limits: 5\n",
            "agent.yaml:1: limits must be a mapping with these keys: flows, cgroups, http_rows",
        ),
        ("- listen\n", "agent.yaml:1: the file must be a mapping with these keys: listen, collectors"),
        ("just text\n", "agent.yaml:1: the file must be a mapping with these keys"),
        (
            "limits:\n  flows: many\n",
            "agent.yaml:2: limits.flows must be a whole number from 16 to 4194304: 'many' is not a whole number",
        ),
        ("limits:\n  flows: 1.5\n", "'1.5' is not a whole number"),
        ("limits:\n  flows: '64'\n", "'64' is text; write it without quotes"),
        ("limits:\n  flows: true\n", "'true' is not a whole number"),
        ("limits:\n  flows:\n", "agent.yaml:2: limits.flows must be a whole number from 16 to 4194304: '' is not"),
        ("limits:\n  flows: [64]\n", "it is a list, not a whole number"),
        ("limits:\n  flows: " + "9" * 400 + "\n", "is out of range"),
        ("drain_interval_seconds: .nan\n", "must be a number from 0.1 to 300: '.nan' is not a number"),
        ("drain_interval_seconds: nan\n", "nan is out of range"),
        ("node_name: 12\n", "'12' is a number in YAML; put it in quotes"),
        ("node_name: yes\n", "'yes' is a boolean in YAML; put it in quotes"),
        ("node_name: 2026-01-01\n", "is a date in YAML; put it in quotes"),
        ("node_name: {a: b}\n", "it is a mapping, not text"),
        ("log_level: loud\n", "log_level must be one of debug, info, warning, error: 'loud' is not one of them"),
        ("identity:\n  kubernetes: true\n", "must be one of auto, on, off: 'true' is not one of them"),
        ("kernel:\n  python: python3\n", "kernel.python must be an absolute path: 'python3' does not look like that"),
        ("histograms:\n  rtt_seconds: [1, 0.5]\n", "agent.yaml:2: histograms.rtt_seconds must be 1 to 64 ascending"),
        ("histograms:\n  rtt_seconds: [1, 0.5]\n", "0.5 comes after 1"),
        ("histograms:\n  rtt_seconds: [1, 1]\n", "1 comes after 1"),
        ("histograms:\n  rtt_seconds: [0, 1]\n", "0.0 is out of range"),
        ("histograms:\n  rtt_seconds: []\n", "it is empty"),
        ("histograms:\n  rtt_seconds: 5\n", "it is a number, not a list of numbers"),
        ("histograms:\n  rtt_seconds: [a]\n", "'a' is not a number"),
        ("identity:\n  external: a\n", "agent.yaml:2: identity.external must be NAME=CIDR"),
        ("identity:\n  external: [a]\n", "agent.yaml:2: identity.external must be NAME=CIDR"),
        ("identity:\n  external:\n  - name: a\n", "agent.yaml:3: identity.external must be NAME=CIDR"),
        ("identity:\n  external:\n  - name: a\n", "cidrs is missing"),
        ("identity:\n  external:\n  - cidrs: [10.0.0.0/8]\n", "name is missing"),
        ("identity:\n  external:\n  - {name: a, cidrs: []}\n", "cidrs is missing"),
        ("identity:\n  external:\n  - {name: a, cidr: x}\n", "unknown key 'cidr'; there are name, cidrs, zone"),
        ("identity:\n  external:\n  - {name: a, name: b}\n", "name stands twice"),
        ("identity:\n  external:\n  - {name: a, cidrs: '::/0'}\n", "cidrs is text, not a list"),
        ("identity:\n  external:\n  - {name: [a], cidrs: ['::/0']}\n", "name is a list, not text"),
        ("identity:\n  external:\n  - a=::/1\n  - {name: a, cidrs: [10.0.0.1/8]}\n", "agent.yaml:4: identity.external"),
        ("identity:\n  external:\n  - {name: a, cidrs: [10.0.0.1/8]}\n", "10.0.0.1/8 has host bits set"),
        ("identity:\n  external:\n  - a=::/0\n  - b=::/0\n", "agent.yaml:3: identity.external must be NAME=CIDR"),
        ("identity:\n  external:\n  - a=::/0\n  - b=::/0\n", "::/0 is there twice: a and b"),
        ("limits:\n  flows: 64\n  flows: 65\n", "agent.yaml:3: limits.flows stands twice; first at agent.yaml:2"),
        ("? [a]\n: b\n", "agent.yaml:1: 'a list' is not a setting"),
        ("collectors: [trafic]\n", "agent.yaml:1: there is no collector 'trafic'; did you mean traffic?; there are"),
        ("collectors: [traffic, +icmp]\n", "agent.yaml:1: collectors mixes names (a) and changes (+a, -a)"),
        ("collectors: [-traffic, -tcp]\n", "agent.yaml:1: collectors leaves none to run; there are traffic, tcp, icmp"),
        ("collectors: []\n", "collectors must be names (a, b) or changes (+a, -b): it is empty"),
        ("listen: [\n", "agent.yaml:2: not valid YAML: "),
        ("a: &a [*a]\n", "agent.yaml:1: a is not a setting"),
        ("a: b\n---\nc: d\n", "agent.yaml:2: not valid YAML: but found another document"),
        ("a: \x00\n", "agent.yaml: not valid YAML: unacceptable character"),
        ("[" * 5000, "agent.yaml: not valid YAML"),
        ("!!python/object/apply:os.abort []\n", "agent.yaml:1: the file must be a mapping"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_what_is_allowed(tmp_path: Path, text: str, message: str) -> None:
    assert message in complaint(tmp_path, text)


def test_networks_are_named_one_by_one_or_several_at_once(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(
        """
identity:
  zone: eu-1
  external:
  - name: payments-api
    cidrs: [203.0.113.0/24, 2001:db8::/32]
    zone: eu-2
  - partner=198.51.100.7
"""
    )
    settings = load(file, {}, {}, KNOWN).settings.identity
    assert settings.zone == "eu-1"
    assert settings.external == (
        *("payments-api=203.0.113.0/24@eu-2", "payments-api=2001:db8::/32@eu-2"),
        "partner=198.51.100.7",
    )
    again = tmp_path / "again.yaml"
    again.write_text(show(load(file, {}, {}, KNOWN)))
    assert load(again, {}, {}, KNOWN).settings.identity == settings
    by_flag = load(None, {}, {"identity.external": ",".join(settings.external), "identity.zone": "eu-1"}, KNOWN)
    assert by_flag.settings.identity == settings


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = complaint(tmp_path, "limits:\n  flows: x\n  series: y\nnope: 1\n")
    assert [line.split(": ")[0] for line in told.splitlines()] == ["agent.yaml:2", "agent.yaml:3", "agent.yaml:4"]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="none.yaml: cannot be read: No such file"):
        load(tmp_path / "none.yaml", {}, {}, KNOWN)
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path, {}, {}, KNOWN)


def test_a_file_that_is_far_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    assert "is it the right file?" in complaint(tmp_path, "#" * (MAX_BYTES + 1))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "agent.yaml")
    with pytest.raises(SettingsError, match="agent.yaml: cannot be read: it is a pipe"):
        load(tmp_path / "agent.yaml", {}, {}, KNOWN)


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_bytes(b"node_name: \xff\xfe\n")
    with pytest.raises(SettingsError, match="not valid YAML"):
        load(file, {}, {}, KNOWN)


def test_a_file_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path / "\x1b[2J", {}, {}, KNOWN)
    assert "\x1b" not in str(caught.value)
