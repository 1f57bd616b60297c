"""The committed rules as their commands see them, and broken copies of them. promtool is the witness."""

import re
import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from bpfleet.cli import GROUP, main
from bpfleet.documents import read
from bundle import tools
from bundle.rules import model
from bundle.rules.cli import RULES
from bundle.slo.cli import SLO

ROOT = Path(__file__).parents[2]
RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
COMMANDS = ("doctor", "ready", "requests", "rules", "slo", "sockets", "top", "topology", "config")

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Of what the commands read."""
    for name in ("policies", "docs/runbooks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "clusters").mkdir()
    return tmp_path


class Point:
    """What `bpfleet.cli` finds an entry point by."""

    def __init__(self, command: object) -> None:
        self.load = lambda: command


OURS = {"rules": Point(RULES), "slo": Point(SLO)}
ALL = {point.name: point for point in entry_points(group=GROUP)} | OURS


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str | Path) -> tuple[int, str]:
        code = main([*map(str, words)], OURS)  # type: ignore[arg-type]
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def change(file: Path, before: str, after: str) -> int:
    """The line of the change."""
    text = file.read_text("utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), "utf-8")
    return text[: text.index(before)].count("\n") + 1


def test_every_rule_passes_and_every_alert_is_tested(copy: Path, run: Run) -> None:
    code, said = run("rules", "test", "--root", copy)

    assert code == 0, said
    assert re.fullmatch(r"\d+ rules in 7 files pass; each of 32 alerts is tested\n", said)


def test_promtool_tells_of_a_test_that_does_not_hold_by_the_repository_s_names(copy: Path, run: Run) -> None:
    for tests in copy.glob("policies/*/tests/*.yaml"):
        if tests.name != "flux.yaml":
            tests.unlink()
    change(copy / "policies/platform/flux.yaml", "for: 15m", "for: 45m")
    code, said = run("rules", "test", "--root", copy)

    assert code == 1
    assert (
        "promtool:   policies/platform/tests/flux.yaml" in said or "alertname: FluxResourceNotReady, time: 30m" in said
    )
    assert str(copy) not in said and "bpfleet-rules-" not in said
    assert re.search(r"policies/platform/agent\.yaml:\d+: BpfleetAgentDown: no positive test", said)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("max by (node) (up{", "max by (node (up{", "BpfleetAgentDown: not PromQL"),
        ("bpfleet_collector_up)", "bpfleet_colector_up)", "unknown metric bpfleet_colector_up"),
        ("agent.md#bpfleetsinkdown", "sinks.md#bpfleetsinkdown", "no runbook https://github.com/bpfleet"),
        ("max by (node) (bpfleet_series", "max by (node, pod) (bpfleet_series", "has the label pod"),
    ],
)
def test_a_broken_rule_is_refused_with_file_and_line(
    before: str, after: str, message: str, copy: Path, run: Run
) -> None:
    file = copy / "policies/platform/agent.yaml"
    line = change(file, before, after)
    code, said = run("rules", "check", "--root", copy)

    assert code == 1
    (told,) = (each for each in said.splitlines() if message in each)
    found = re.match(r"bpfleet: policies/platform/agent\.yaml:(\d+): ", told)
    assert found and line - 1 <= int(found[1]) <= line


def test_rules_that_are_not_what_the_objectives_say_are_told(copy: Path, run: Run) -> None:
    assert run("slo", "generate", "--check", "--root", copy) == (0, "3 files are up to date\n")

    change(copy / "policies/slo/objectives.yaml", "availability: 0.999", "availability: 0.9995")
    code, said = run("slo", "generate", "--check", "--root", copy)
    assert code == 1
    assert said.splitlines() == [
        "bpfleet: policies/slo/rules.yaml: not what bpfleet slo generate writes: run it",
        "bpfleet: policies/slo/kind/rules.yaml: not what bpfleet slo generate writes: run it",
    ]
    assert run("slo", "generate", "--root", copy)[0] == 0
    assert "vector(0.9995)" in (copy / "policies/slo/rules.yaml").read_text()
    assert run("slo", "generate", "--check", "--root", copy)[0] == 0


def test_a_bad_objective_is_refused_with_file_and_line(copy: Path, run: Run) -> None:
    line = change(copy / "policies/slo/objectives.yaml", "tcp: 0.995", "tcp: 1.0")
    for command in (("generate",), ("explain", "shop")):
        code, said = run("slo", *command, "--root", copy)
        assert code == 1
        assert said.startswith(f"bpfleet: {copy}/policies/slo/objectives.yaml:{line}: objective 1.0: a share from 0.94")


def test_explain_says_what_applies(copy: Path, run: Run) -> None:
    code, said = run("slo", "explain", "shop", "--tier", "critical", "--root", copy)

    assert code == 0
    assert said.startswith("namespace shop: tier critical, asked for by --tier\n")
    assert run("slo", "explain", "shop", "--tier", "gold", "--root", copy) == (
        1,
        "bpfleet: --tier gold: no such tier; there are critical, standard, best-effort\n",
    )
    assert run("slo", "explain", "shop", "--profile", "prod", "--root", copy)[1].startswith(
        "bpfleet: --profile prod: no"
    )


@pytest.mark.parametrize(
    ("directory", "names"),
    [
        ("policies/slo", ["bpfleet-slo"]),
        ("policies/slo/kind", ["bpfleet-slo"]),
        ("policies/platform", ["bpfleet-agent", "bpfleet-flux"]),
        ("policies/network", ["bpfleet-anomaly", "bpfleet-network"]),
    ],
)
def test_each_directory_is_built_into_its_rules(directory: str, names: list[str], tmp_path: Path) -> None:
    built = tmp_path / "built.yaml"
    built.write_text(tools.run("kubectl", "kustomize", ROOT / directory))
    found = [document.value for document in read(built)]

    assert sorted(each["metadata"]["name"] for each in found) == names
    for each in found:
        assert each["kind"] == "PrometheusRule" and each["metadata"]["namespace"] == "monitoring"
        assert each["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] == "disabled"


def test_no_rule_has_what_flux_would_substitute() -> None:
    for file in model.files(ROOT):
        assert "${" not in (ROOT / file.path).read_text("utf-8"), file.path


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda file: file.stem)
def test_commands_in_runbooks_have_the_options_that_they_are_given(
    runbook: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = re.sub(r"\s+", " ", runbook.read_text("utf-8"))
    for command, rest in re.findall(r"\bbpfleet (\w+)((?: (?!bpfleet )[^`# |]+)*)", text):
        if command not in COMMANDS:
            continue
        words = [command, *(rest.split()[:1] if command in ("config", "slo") else ())]
        with pytest.raises(SystemExit):
            main([*words, "--help"], ALL)  # type: ignore[arg-type]
        help = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in help, (command, option)


def test_each_alert_has_its_runbook_and_each_heading_its_alert() -> None:
    alerts = {rule.name for file in model.files(ROOT) for rule in file.rules if rule.is_alert}
    headings = {each for file in RUNBOOKS for each in re.findall(r"^## (\w+)$", file.read_text("utf-8"), re.MULTILINE)}

    assert headings == alerts
