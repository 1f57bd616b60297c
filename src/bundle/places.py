"""Where the bundle is: the directory that holds clusters/, infrastructure/, policies/ and apps/."""

from pathlib import Path

from bpfleet.errors import BundleError

MARKS = ("clusters", "policies")
"""Directories that a bundle has and other trees rarely have together."""


def root(start: Path) -> Path:
    """The nearest directory at or above `start` that is a bundle. Raises BundleError where there is none."""
    for directory in (start.resolve(), *start.resolve().parents):
        if all((directory / mark).is_dir() for mark in MARKS):
            return directory
    raise BundleError(f"{start}: no bundle here or above: it has the directories {' and '.join(MARKS)}")
