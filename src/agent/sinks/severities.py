"""How bad is an event? What a security policy says, else whether it is about an error; in the words of each output.

https://opentelemetry.io/docs/specs/otel/logs/data-model/#appendix-b-severitynumber-example-mappings
"""

from typing import Final, NamedTuple

from bpfleet.events import SECURITY_SEVERITY, Record


class Severity(NamedTuple):
    """number, text: OpenTelemetry's; priority: syslog's (RFC 5424, table 2)."""

    number: int
    text: str
    priority: int


INFORMATIONAL: Final = Severity(9, "INFO", 6)
WARNING: Final = Severity(13, "WARN", 4)
CRITICAL: Final = Severity(18, "ERROR2", 2)

BY_WORD: Final = {"critical": CRITICAL, "warning": WARNING, "info": INFORMATIONAL}


def of(record: Record) -> Severity:
    word = record.attributes.get(SECURITY_SEVERITY)
    if isinstance(word, str) and word in BY_WORD:
        return BY_WORD[word]
    return WARNING if "error.type" in record.attributes else INFORMATIONAL
