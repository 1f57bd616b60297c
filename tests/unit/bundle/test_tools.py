"""Foreign programs: found, asked, and named when they fail."""

from pathlib import Path

import pytest

from bpfleet.errors import ToolError
from bundle import tools


def script(directory: Path, name: str, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(f"#!/bin/sh\n{text}\n")
    (directory / name).chmod(0o755)


def test_the_cache_comes_before_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    script(tmp_path / "path", "helm", "echo from the path")
    assert tools.run("helm") == "from the path\n"

    script(tools.directory(), "helm", "echo from the cache")
    assert tools.run("helm") == "from the cache\n"


def test_what_is_missing_or_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script(tools.directory(), "promtool", "echo no good >&2; exit 3")

    with pytest.raises(ToolError, match="^promtool: no good$"):
        tools.run("promtool")
    assert tools.ask("promtool").returncode == 3
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="amtool is not installed here: scripts/tools installs it"):
        tools.run("amtool")


def test_it_reads_what_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script(tools.directory(), "helm", "read line; echo $line in $(basename $PWD)")

    assert tools.run("helm", input="text\n", cwd=tmp_path) == f"text in {tmp_path.name}\n"
