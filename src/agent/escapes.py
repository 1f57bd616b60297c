"""Names from the node as a terminal may see them: they are not trusted, so nothing in them can act."""

MAX_NAME = 60
"""Columns for a name: the end of a cgroup's path tells more than its beginning."""


def inert(text: str) -> str:
    """A text that cannot do anything to a terminal: escapes for what is not printable."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def clean(name: str) -> str:
    """An inert name; of a long one the end."""
    safe = inert(name)
    return safe if len(safe) <= MAX_NAME else "..." + safe[3 - MAX_NAME :]
