"""What an OTLP server's answer means for the events of a request."""

from typing import Any

from bpfleet.api import Written

MAX_BYTES = 64 << 10
"""Of an answer: it is a number and a sentence."""

SHOWN = 200
"""Characters of what a server says that a log repeats."""


def accepted(answer: Any, events: int) -> Written:
    """answer: an ExportLogsServiceResponse. The server does not say which events it rejected."""
    partial = answer.partial_success
    rejected = min(max(0, partial.rejected_log_records), events)
    return Written(events - rejected, rejected=rejected, why=inert(partial.error_message))


def rejected(events: int, why: str) -> Written:
    return Written(0, rejected=events, why=inert(why))


def unanswered(events: int, why: str) -> Written:
    return Written(0, unanswered=events, why=inert(why))


def inert(text: str) -> str:
    return ascii(text[:SHOWN])[1:-1]
