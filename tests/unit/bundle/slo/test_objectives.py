"""objectives.yaml: what is refused, where, and what is allowed instead."""

from pathlib import Path

import pytest

from bpfleet.bounds import REQUEST_SECONDS
from bpfleet.errors import BundleError
from bundle.slo import objectives

ROOT = Path(__file__).parents[4]
GOOD = (ROOT / objectives.FILE).read_text("utf-8")


def read(tmp_path: Path, text: str) -> objectives.Objectives:
    file = tmp_path / "objectives.yaml"
    file.write_text(text, "utf-8")
    return objectives.read(file)


def test_the_committed_file_is_good_and_has_a_default_tier(tmp_path: Path) -> None:
    found = read(tmp_path, GOOD)

    assert found.default_tier in found.tiers
    assert found.tiers["critical"]["latency"] == objectives.Objective(0.99, 0.25)
    assert list(found.tiers["best-effort"]) == ["availability", "tcp"]
    assert set(found.windows) == {"default", "kind"}


def test_in_the_profile_default_each_window_lasts_what_its_name_says(tmp_path: Path) -> None:
    times = read(tmp_path, GOOD).windows["default"]

    assert [times[name] for name in (*objectives.WINDOWS, objectives.BUDGET)] == [*objectives.WINDOWS, "30d"]
    assert [objectives.seconds(text) for text in ("30s", "5m", "6h", "3d", "1w")] == [30, 300, 21600, 259200, 604800]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("availability: 0.999", "availability: 1", "objective 1: a share from 0.94 to below 1"),
        ("availability: 0.999", "availability: 99.9", "objective 99.9: a share from 0.94 to below 1"),
        ("availability: 0.999", "availability: 0.9399", "objective 0.9399: a share from 0.94"),
        ("availability: 0.999", "availability: .nan", "objective nan: a share"),
        ("availability: 0.999", "availability: true", "objective True: a share"),
        ("availability: 0.999", "availability: '0.999'", "objective '0.999': a share"),
        ("availability: 0.999", "availabilty: 0.999", "unknown: availabilty; there are availability, latency, tcp"),
        ("seconds: 0.25}", "seconds: 0.3}", "0.3 is no histogram bound of the agent; there are 0.0001, 0.00025,"),
        ("seconds: 0.25}", "second: 0.25}", "unknown: second; there are objective, seconds"),
        (", seconds: 0.25}", "}", "seconds is missing"),
        ("{objective: 0.99, seconds: 0.25}", "0.99", "a mapping of objective, seconds is allowed, not 0.99"),
        ("default_tier: standard", "default_tier: gold", "no tier 'gold'; there are critical, standard, best-effort"),
        ("default_tier: standard", "default_tier: [a]", "no tier ['a']"),
        ("default_tier: standard", "default: standard", "unknown: default; there are default_tier, minimum_events"),
        ("  critical:\n", "  Critical!:\n", "'Critical!' cannot be a tier"),
        ("minimum_events: 20", "minimum_events: 0", "0: a whole number from 1"),
        ("minimum_errors: 5", "minimum_errors: few", "'few': a whole number from 1"),
        ("minimum_errors: 5\n", "", "minimum_errors is missing"),
        ("long_interval: 2m", "long_interval: 5m", "5m: at most 4m is allowed, or what is recorded has gaps"),
        ("interval: 10s", "interval: 2m", "2m: at most 1m is allowed"),
        ("    30m: 30m", "    30m: half an hour", "'half an hour': a duration is allowed"),
        ("    30m: 30m", "    30m: 2m", "2m is shorter than the window before it"),
        ("    30m: 30m\n", "", "30m is missing"),
        ("  kind:\n", "  ../kind:\n", "'../kind' cannot be a profile"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_is_allowed(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    assert before in GOOD
    text = GOOD.replace(before, after, 1)

    with pytest.raises(BundleError) as error:
        read(tmp_path, text)

    told = str(error.value).splitlines()
    assert any(message in line for line in told)
    assert all(line.startswith(f"{tmp_path}/objectives.yaml:") for line in told)
    if "is missing" not in message:  # that is told of the mapping
        changed = GOOD[: GOOD.index(before)].count("\n") + 1
        assert any(line.startswith(f"{tmp_path}/objectives.yaml:{changed}: ") for line in told)


def test_each_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as error:
        read(tmp_path, GOOD.replace("0.999", "2").replace("0.995", "3"))

    assert len(str(error.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one YAML document is allowed, there are 0"),
        ("a: 1\n---\nb: 2\n", "there are 2"),
        ("- 1\n", ":1: a mapping of default_tier, minimum_events, minimum_errors, tiers, windows is allowed"),
        (GOOD + "default_tier: critical\n", "default_tier stands twice"),
        (GOOD.replace("    tcp: 0.995\n", "    tcp: 0.995\n    tcp: 0.9\n"), "tcp stands twice"),
        ("tiers: {}\ndefault_tier: a\nminimum_events: 1\nwindows: {}\n", "a mapping of tiers is allowed, at least one"),
        ("tiers: {a: {}}\ndefault_tier: a\nminimum_events: 1\nwindows: 1\n", "tier a has no objective"),
    ],
)
def test_what_is_no_such_file_is_told(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="objectives.yaml") as error:
        read(tmp_path, text)

    assert message in str(error.value)


def test_every_bound_of_the_agent_is_allowed_and_nothing_else(tmp_path: Path) -> None:
    for bound in REQUEST_SECONDS:
        found = read(tmp_path, GOOD.replace("seconds: 0.25}", f"seconds: {bound:.6f}}}"))
        assert found.tiers["critical"]["latency"].seconds == bound
