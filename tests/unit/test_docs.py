import subprocess
from pathlib import Path

import pytest

from agent import docs
from agent.collectors import BUILT_IN
from agent.events import delivery, routing
from agent.settings import leaves
from bpfleet.cli import main
from bpfleet.docs import PAGE as METRICS

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_is_what_the_settings_say() -> None:
    assert docs.PAGE.is_current(ROOT / docs.PAGE.path), "run `make docs`"


def test_the_metrics_page_is_what_the_catalogue_says() -> None:
    assert METRICS.is_current(ROOT / "docs/metrics.md"), "run `make docs`"


def test_every_setting_is_in_the_configuration_page() -> None:
    page = docs.page()
    for leaf in leaves():
        assert leaf.flag in page and leaf.variable in page and leaf.option.help in page


def test_check_changes_nothing_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "configuration.md"
    assert docs.PAGE.main(["--check", "--page", str(page)]) == 1
    assert "run `make docs`" in capsys.readouterr().err
    assert not page.exists()
    assert docs.PAGE.main(["--page", str(page)]) == 0
    assert docs.PAGE.main(["--check", "--page", str(page)]) == 0


def test_every_command_is_in_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    listed = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ") and "--" not in line
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert listed and [name for name in listed if f"bpfleet {name}" not in readme] == []


def test_every_collector_has_a_page_that_names_its_hooks_and_metrics() -> None:
    for collector in BUILT_IN:
        page = (ROOT / "docs" / "collectors" / f"{collector.name}.md").read_text(encoding="utf-8")
        assert [metric.family for metric in collector.metrics if metric.family not in page] == []
        assert [event for event in collector.event_names if event not in page] == []


def test_every_reason_for_which_an_event_is_lost_is_explained() -> None:
    page = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert [reason for reason in (*delivery.REASONS, *routing.REASONS) if f"`{reason}`" not in page] == []


def test_no_file_names_a_package_index_or_a_directory_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = [b"--index" + b"-url", b"--extra-index" + b"-url", b"pypi" + b".org", b"pythonhosted" + b".org"]
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            content = path.read_bytes()
            assert [word for word in words if word in content] == [], name
