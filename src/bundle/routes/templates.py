"""Are the templates that routes and templates name there?

Alertmanager and amtool read a name that nobody defines without complaint; the message that needs it then fails, and
nobody is told.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bpfleet.errors import BundleError

DEFINED = re.compile(r'\{\{-?\s*(?:define|block)\s+"([^"]+)"')
USED = re.compile(r'\{\{-?\s*template\s+"([^"]+)"')
COMMENT = re.compile(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", re.DOTALL)

OWN = re.compile(r"__\w+|\w+\.default\.[\w.]+")
"""Alertmanager brings them itself: `__subject`, `discord.default.title`."""


def problems(config: Path, templates: Sequence[Path]) -> list[str]:
    """Each with file and line. config: an AlertmanagerConfig, whose texts use templates."""
    texts = {file: _without_comments(_read(file)) for file in (config, *templates)}
    defined = {name for file in templates for name in DEFINED.findall(texts[file])}
    return [
        f"{file}:{line}: no template {name}{_hint(name, defined)}"
        for file, text in texts.items()
        for line, name in _used(text)
        if name not in defined and not OWN.fullmatch(name)
    ]


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{file}: {error}") from error


def _without_comments(text: str) -> str:
    """With as many lines as before."""
    return COMMENT.sub(lambda found: "\n" * found[0].count("\n"), text)


def _used(text: str) -> Iterator[tuple[int, str]]:
    for found in USED.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, found[1]


def _hint(name: str, defined: set[str]) -> str:
    close = difflib.get_close_matches(name, defined, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(sorted(defined)) or 'none'}"
