"""How a sink sends: what it asks of the queue before it, and how it says what became of what it was given."""

from typing import NamedTuple


class Batch(NamedTuple):
    """What one write is given at most, and how long the queue waits for so much once it has something."""

    items: int = 512
    size_bytes: int = 512 << 10
    seconds: float = 0.0


class Retry(NamedTuple):
    """When items are offered again that the other end could not take: after a random time below first_seconds, which
    doubles with each failure in a row up to longest_seconds. After give_up_seconds they are lost."""

    first_seconds: float = 0.5
    longest_seconds: float = 30.0
    give_up_seconds: float = 300.0


class Written(NamedTuple):
    """What became of the items of a write, from the first on; the others are offered again.

    rejected: the other end will not have them. unanswered: they were sent, and nobody said what became of them; they
    are not sent again, so that nothing arrives twice. why: of the last two, for the log."""

    delivered: int
    rejected: int = 0
    unanswered: int = 0
    why: str = ""


class Unavailable(Exception):
    """No part of these items was taken, and it is worth to offer them again.

    after_seconds: not before, because the other end said so."""

    def __init__(self, why: str, after_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds
