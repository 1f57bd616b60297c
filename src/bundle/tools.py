"""Foreign programs: helm, kubectl, promtool, amtool. The only module of the bundle that starts processes.

`scripts/tools` installs pinned ones into the user's cache; those come first, then the PATH's.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bpfleet.errors import ToolError

SECONDS = 120.0
"""For one call: a chart of a megabyte renders in 2 s on an idle core."""


def directory() -> Path:
    """Where `scripts/tools` puts them."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "bpfleet" / "tools" / "bin"


def find(name: str) -> Path:
    """Raises ToolError where it is not installed."""
    found = shutil.which(name, path=f"{directory()}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
    if found is None:
        raise ToolError(f"{name} is not installed here: scripts/tools installs it")
    return Path(found)


def run(name: str, *arguments: str | Path, input: str | None = None, cwd: Path | None = None) -> str:
    """What it printed. Raises ToolError with its own complaint where it fails."""
    said = ask(name, *arguments, input=input, cwd=cwd)
    if said.returncode:
        raise ToolError(f"{name}: {_complaint(said) or f'ended with status {said.returncode}'}")
    return said.stdout


def ask(
    name: str, *arguments: str | Path, input: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The same where a failure is an answer, too. Raises ToolError where it cannot run or does not end."""
    command: Sequence[str | Path] = (find(name), *arguments)
    try:
        return subprocess.run(command, input=input or "", capture_output=True, text=True, timeout=SECONDS, cwd=cwd)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{name} did not end within {SECONDS:.0f} s") from error
    except OSError as error:
        raise ToolError(f"{name}: {error.strerror}") from error


def _complaint(said: subprocess.CompletedProcess[str]) -> str:
    return said.stderr.strip() or said.stdout.strip()
