"""Examples keep to what plugins may use, and the page that explains them shows them as they are."""

import ast
import re
import sys
from pathlib import Path

import pytest
from tests.support.agents import REPOSITORY
from tests.support.plugins import EXAMPLES

PLUGINS = sorted(EXAMPLES.glob("*/*.py"))
PAGE = REPOSITORY / "docs/writing-a-collector.md"
BLOCK = re.compile(r"```(python|c)\n(.*?)```", re.S)
EXPLAINED = {path: path.read_text() for path in sorted(EXAMPLES.glob("*/*")) if path.suffix in (".py", ".c")}
MEANT = (*sys.stdlib_module_names, "bpfleet")


def imported(path: Path) -> set[str]:
    """Top-level names of modules."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.name)
def test_an_example_imports_bpfleet_and_pythons_library_only(path: Path) -> None:
    allowed = {*MEANT, "pytest", path.stem.removeprefix("test_")} if path.name.startswith("test_") else set(MEANT)
    assert imported(path) <= allowed
    assert imported(path) & {"bpfleet"}


def test_there_are_three_of_them_and_each_has_a_readme_that_leads_to_the_page() -> None:
    directories = sorted(path.name for path in EXAMPLES.iterdir())
    assert directories == ["01-minimal-collector", "02-ring-buffer-events", "03-sink"]
    page = PAGE.read_text()
    for name in directories:
        assert "docs/writing-a-collector.md" in (EXAMPLES / name / "README.md").read_text()
        assert f"examples/{name}" in page


def test_every_line_that_the_page_shows_stands_so_in_an_example() -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) > 20
    for language, text in blocks:
        assert any(text in source for source in EXPLAINED.values()), f"{language}:\n{text}"


def test_the_page_shows_every_statement_of_the_first_example() -> None:
    shown = "".join(text for _, text in BLOCK.findall(PAGE.read_text()))
    known = {line.strip() for line in shown.splitlines()}
    python = (EXAMPLES / "01-minimal-collector/fsyncs.py").read_text().splitlines()
    imports = ("import ", "from collections", '"""', "Of the system call")
    assert [
        line for line in python if line.strip() and line.strip() not in known and not line.startswith(imports)
    ] == []
