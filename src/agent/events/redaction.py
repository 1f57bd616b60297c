"""What of a request's text may leave the node: cut, without what looks like a secret, and in printable ASCII only.

Everything here takes what a stranger sent and returns what is inert wherever it is shown: whatever is not a printable
ASCII character is percent-encoded (RFC 3986, 2.1), so that control characters, escape codes and characters that turn
the line around stay visible and do nothing.
"""

import re
from functools import lru_cache
from itertools import pairwise
from urllib.parse import quote

from agent.protocols import secrets

REDACTED = "REDACTED"
"""As OpenTelemetry's conventions for url.query have it."""

CUT = "..."

MAX_QUERY = 512
"""Characters of a query, where one leaves at all."""

MAX_PARAMETERS = 64
"""Of one query; the rest is cut."""

MAX_RAW_PATH = 512
MAX_HOST = 253
"""Of a name in the DNS."""

REMEMBERED = 1024
"""Hosts, which repeat: 1 MiB at the worst."""

MAX_METHOD = 32
"""The longest registered one, UPDATEREDIRECTREF, has 17 characters."""

MAX_PORT = 65535

_SAFE = "".join(chr(code) for code in range(0x21, 0x7F))
_ACTING = re.compile(r"[^!-~]")
_REST = re.compile(r"[/?#]")
"""Where an authority ends (RFC 3986, 3.2)."""
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PORT = re.compile(r"[0-9]{1,5}")
_COLONS = re.compile(r"\[?[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]*(%[0-9A-Za-z._~\-]+)?\]?|[^:]*:[0-9]+")
"""IPv6, or a port that is none."""


def plain(text: str) -> str:
    """text: decoded as Latin-1, byte for byte, or any other."""
    if not _ACTING.search(text):
        return text
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
    return quote(data, safe=_SAFE)


def method(text: str) -> str:
    """What is no method (RFC 9110, 5.6.2) may be anything that stood before a version: a query, the end of a body."""
    is_told = _TOKEN.fullmatch(text) and not secrets.is_secret(text)
    return _short(text if is_told else REDACTED, MAX_METHOD)


@lru_cache(REMEMBERED)
def host(text: str) -> tuple[str, int | None]:
    """Name or address, and the port where one is given: of a Host field or a target's authority. What stands before an
    `@` is a user's, and cut. A colon that belongs to neither address nor port may part a user from a password."""
    name = _REST.split(text.rpartition("@")[2].strip(), 1)[0]
    port = None
    before, colon, after = name.rpartition(":")
    if colon and (":" not in before or before.endswith("]")):
        if _PORT.fullmatch(after) and int(after) <= MAX_PORT:
            name, port = before, int(after)
        elif not after:
            name = before
    if secrets.has_shape(name) or (":" in name and not _COLONS.fullmatch(name)):
        return REDACTED, port
    return _short(plain(name.strip("[]").lower()), MAX_HOST), port


def query(text: str, is_cut: bool = False) -> str:
    """Parameters whose name or value tells that they are secret lose their value. is_cut: the end is missing, so the
    last one's value is not whole, and nothing can be said of it."""
    is_cut = is_cut or len(text) > MAX_QUERY
    parameters = text[:MAX_QUERY].replace(";", "&").split("&", MAX_PARAMETERS)
    if len(parameters) > MAX_PARAMETERS or is_cut:
        del parameters[-1]
        is_cut = True
    told = [_parameter(each) for each in parameters]
    return "&".join([*told, CUT] if is_cut else told)


def path(text: str, is_cut: bool = False) -> str:
    """A path as it was sent, less the segments that look like a secret or follow a word that says that one follows."""
    is_cut = is_cut or len(text) > MAX_RAW_PATH
    parts = text[:MAX_RAW_PATH].split("/")
    *_, plainest = secrets.unfolded(text)
    hides, told, before = plainest.count("/") > text.count("/"), [], ""
    for part in parts:
        told.append(REDACTED if hides and _announces_within(part) else _segment(part, before))
        before = before if part in secrets.NOTHING else part
    if is_cut:
        told[-1] = CUT
    return "/" + REDACTED if secrets.spans(text) else "/".join(told)


def _announces_within(part: str) -> bool:
    """Of segments with an encoded slash between them."""
    return any(
        after and secrets.announces(word)
        for each in secrets.unfolded(part)
        for word, after in pairwise(each.split("/"))
    )


def _segment(part: str, before: str) -> str:
    if part and before and secrets.announces(before):
        return REDACTED
    return ";".join(_parameter(each) for each in part.split(";"))  # parameters of a segment (RFC 3986, 3.3)


def _parameter(text: str) -> str:
    name, equals, value = text.partition("=")
    if secrets.is_secret(name):
        return REDACTED
    if equals and value and (secrets.is_sensitive(name) or secrets.is_secret(value) or secrets.is_secret(text)):
        return f"{plain(name)}={REDACTED}"
    return plain(text)


def _short(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - len(CUT)] + CUT
