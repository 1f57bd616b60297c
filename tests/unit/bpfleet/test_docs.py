from pathlib import Path

import pytest

from bpfleet import catalogue, docs, names

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_what_the_catalogue_says() -> None:
    assert docs.PAGE.is_current(ROOT / docs.PAGE.path), "docs/metrics.md is stale: run `make docs`"


def test_every_metric_and_label_is_on_the_page() -> None:
    page = docs.page(catalogue.ALL)
    for metric in catalogue.ALL:
        assert f"| `{metric.family}` |" in page
        assert metric.help in page
        for label in metric.labels:
            assert f"`{label}`" in page
    for label in (*names.IDENTITY, *names.PEER):
        assert f"| `{label}` |" in page


def test_check_changes_nothing_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "docs" / "metrics.md"
    assert docs.PAGE.main(["--check", "--page", str(page)]) == 1
    assert "make docs" in capsys.readouterr().err
    assert not page.exists()
    assert docs.PAGE.main(["--page", str(page)]) == 0
    assert docs.PAGE.main(["--check", "--page", str(page)]) == 0
    page.write_text(page.read_text() + "by hand\n")
    assert docs.PAGE.main(["--check", "--page", str(page)]) == 1
    assert page.read_text().endswith("by hand\n")
