"""Files that settings name, read whole while the agent counts: this neither waits for a writer nor fills the memory."""

import os
import stat
from pathlib import Path

from agent.options import shown
from bpfleet.errors import SettingsError

MAX_BYTES = 1 << 20
"""Settings, names, certificates and tokens have some hundred lines; a larger file is another one named by mistake."""


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Raises SettingsError. A pipe or a terminal is refused: it is empty the second time, at a reload, or keeps the
    agent waiting for ever."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode) or stream.isatty():
                raise SettingsError(f"{named(path)}: cannot be read: it is a pipe or a terminal, not a file")
            content = stream.read(limit + 1)
    except OSError as error:
        raise SettingsError(f"{named(path)}: cannot be read: {error.strerror}") from error
    if len(content) > limit:
        raise SettingsError(f"{named(path)}: larger than {limit} bytes; is it the right file?")
    return content


def named(path: Path) -> str:
    """For messages: a file's name cannot move the cursor."""
    return str(path) if str(path).isprintable() else shown(str(path))


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
