"""Lists of words and patterns on a command line, as the filters of several commands take them."""

import argparse
from fnmatch import fnmatchcase

from agent.options import shown


def split(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise argparse.ArgumentTypeError(f"{shown(text)} has an empty part")
    return parts


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """By the pattern, or as it stands: a cgroup's path may hold brackets."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
