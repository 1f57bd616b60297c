"""Time as text: points of it for sinks, spans of it for a person."""

import time
from functools import lru_cache

SECOND_NS = 1_000_000_000


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 has it, in UTC and exact: 2026-11-21T17:34:25.123456789Z."""
    seconds, rest_ns = divmod(time_ns, SECOND_NS)
    return f"{_second(seconds)}.{rest_ns:09d}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    """Kept for the few seconds that one drain's events are of."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def span(seconds: float) -> str:
    """For a person: three digits and a unit."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"
