"""A plugin's Python file as a module: read once, checked before it runs, never compiled to a file beside it."""

import importlib.util
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from agent import files
from agent.options import shown
from agent.plugins import trust
from bpfleet.errors import BpfleetError

PACKAGE = "bpfleet_plugins"
STEM = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_FILES = 100
"""In one directory; a node has a handful."""


class PluginError(BpfleetError):
    """Why a plugin is off; its text begins with file and line where they are known."""


def listed(directory: Path) -> list[Path]:
    """The plugin files of a directory in their order. Raises OSError, and PluginError where there are too many."""
    names = sorted(name for name in os.listdir(directory) if name.endswith(".py") and name[0] not in "._")
    found = [directory / name for name in names if not name.startswith("test_")]
    if len(found) > MAX_FILES:
        raise PluginError(f"{directory}: {len(found)} files; at most {MAX_FILES} are plugins")
    return found


def load(path: Path) -> ModuleType:
    """Run a file as a module of its own. Raises PluginError."""
    if not STEM.fullmatch(path.stem):
        raise PluginError(f"{shown(path.name)[1:-1]}: a plugin's file has a name of a-z, 0-9 and _, at most 40")
    require_trust(path)
    try:
        text = files.read(path)
    except BpfleetError as error:
        raise PluginError(str(error)) from error
    # The directory's identity is in the name: two directories may have a file of the same name.
    name = f"{PACKAGE}.{abs(hash(str(path.absolute())))}_{path.stem}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module
    try:
        exec(compile(text, str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:  # a plugin's failure is its own
        del sys.modules[name]
        raise PluginError(explained(error, path)) from error
    return module


def require_trust(path: Path) -> None:
    """Raises PluginError."""
    try:
        problem = trust.problem(path)
    except OSError as error:
        raise PluginError(f"{path.name}: cannot be read: {error.strerror or error}") from error
    if problem:
        raise PluginError(f"{path.name}: not loaded: {problem}")


def explained(error: BaseException, path: Path) -> str:
    """`file.py:7: ModuleNotFoundError: No module named 'x'`, with the line in the plugin's own file."""
    kind = "it calls sys.exit" if isinstance(error, SystemExit) else f"{type(error).__name__}"
    if isinstance(error, SyntaxError):
        return f"{path.name}:{error.lineno or 1}: {kind}: {error.msg}"
    frames = ((frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__))
    lines = [line for name, line in frames if name == str(path)]
    return f"{path.name}:{lines[-1] if lines else 1}: {kind}: {error}"
