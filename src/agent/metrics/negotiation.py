"""Which form does a client want? Accept and Accept-Encoding of RFC 9110, 12.4 and 12.5."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from agent.metrics.exposition import Form

OPENMETRICS_VERSIONS = ("", "1.0.0", "0.0.1")
TEXT_VERSIONS = ("", "0.0.4", "1.0.0")
"""1.0.0 differs from 0.0.4 in names with other characters than ours, only."""

TEXT_RANGES = {"*/*": 0, "text/*": 1, "text/plain": 2}
"""What the text form answers, by how specific it is: the most specific range decides."""

QUALITY = re.compile(r"(0(\.\d{0,3})?|1(\.0{0,3})?)")
MAX_RANGES = 32
"""Prometheus sends five; a header of 8 KiB is no reason to look at two thousand."""


class Range(NamedTuple):
    """One element: its value in lower case, its parameters but q, and q."""

    value: str
    parameters: dict[str, str]
    quality: float


def ranges(header: str) -> Iterator[Range]:
    """The elements that can be read; the others are as if they were not there."""
    for element in header.split(",")[:MAX_RANGES]:
        value, *rest = (part.strip() for part in element.split(";"))
        parameters = {}
        for part in rest:
            name, _, content = part.partition("=")
            parameters[name.strip().lower()] = content.strip().strip('"')
        quality = parameters.pop("q", "1")
        if value and QUALITY.fullmatch(quality):
            yield Range(value.lower(), parameters, float(quality))


def form(accept: str) -> Form:
    """OpenMetrics where it is asked for by name and nothing else is liked better; else the text every client reads,
    also where nothing fits: an answer is more use than 406."""
    openmetrics, text = 0.0, (-1, 0.0)
    for element in ranges(accept):
        version = element.parameters.get("version", "")
        if element.value == "application/openmetrics-text" and version in OPENMETRICS_VERSIONS:
            openmetrics = max(openmetrics, element.quality)
        elif element.value in TEXT_RANGES and version in TEXT_VERSIONS:
            text = max(text, (TEXT_RANGES[element.value], element.quality))
    return Form.OPENMETRICS if openmetrics and openmetrics >= text[1] else Form.TEXT


def gzip(accept_encoding: str) -> bool:
    quality = {element.value: element.quality for element in ranges(accept_encoding)}
    wanted = quality.get("gzip", quality.get("x-gzip", quality.get("*", 0.0)))
    return wanted > 0 and wanted >= quality.get("identity", 0.0)
