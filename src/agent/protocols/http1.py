"""What does the head of an HTTP/1.x request ask for, and of whom?

https://www.rfc-editor.org/rfc/rfc9112 (messages), https://www.rfc-editor.org/rfc/rfc9110 (semantics).

As tolerant as the kernel's reader (http.bpf.c): lines end with LF, with or without a CR; empty lines before the first
one are passed over. A head may be cut anywhere: what is not there, or not there whole, is empty. Nothing raises.

Text is decoded as Latin-1, byte for byte: what leaves the node goes through agent.events.redaction first.
"""

from typing import NamedTuple

MAX_HEAD = 64 << 10
"""Bytes that are looked at. Servers refuse heads from 8 to 32 KiB on."""

MAX_LINES = 256
"""Lines that are looked at: common servers refuse more than 100 to 128 header fields."""

MAX_SCHEME = 16
"""Characters in which a target's `://` is looked for: beyond it belongs to something else."""

VERSION_BYTES = len("HTTP/1.1")


class Head(NamedTuple):
    """host: of the target where it names one (RFC 9112, 3.2.2 and 3.2.3), else of the Host field. version: "1.1".
    is_complete: whether the empty line that ends the head was there."""

    method: str
    target: str
    host: str
    version: str
    is_complete: bool


class Target(NamedTuple):
    """RFC 9112, 3.2. authority: of the absolute and the authority form; may hold userinfo and a port. query: what
    stands between the first `?` and a `#`. has_query: the `?` was there, so the path is whole."""

    authority: str
    path: str
    query: str
    has_query: bool = False


def parse_request(head: bytes) -> Head:
    lines, is_complete = _lines(head[:MAX_HEAD])
    first, is_whole = lines[0]
    method, target, version = _request_line(first, is_whole)
    authority = split_target(method, target).authority if version or is_whole else ""
    return Head(method, target, authority or _host(lines[1:]), version, is_complete)


def split_target(method: str, target: str) -> Target:
    if method == "CONNECT":
        return Target(target, "", "")
    authority, rest = "", target
    scheme = target.find("://", 0, MAX_SCHEME)
    if scheme > 0 and target[:scheme].replace("+", "").replace("-", "").replace(".", "").isalnum():
        begin = scheme + 3
        end = min((at for mark in "/?#" if (at := target.find(mark, begin)) >= 0), default=len(target))
        authority, rest = target[begin:end], target[end:]
    rest = rest.partition("#")[0]
    path, mark, query = rest.partition("?")
    return Target(authority, path or ("/" if target else ""), query, bool(mark))


def _lines(head: bytes) -> tuple[list[tuple[str, bool]], bool]:
    """Each line with whether its end was seen, at least one; and whether the head's end was seen."""
    lines: list[tuple[str, bool]] = []
    at = 0
    while len(lines) < MAX_LINES:
        end = head.find(b"\n", at)
        line = head[at : end if end >= 0 else len(head)]
        if end >= 0 and line in (b"", b"\r"):
            if lines:
                return lines, True
        elif line or end >= 0:
            lines.append((line.removesuffix(b"\r").decode("latin-1"), end >= 0))
        if end < 0:
            break
        at = end + 1
    return lines or [("", False)], False


def _request_line(line: str, is_whole: bool) -> tuple[str, str, str]:
    """Method, target and version. A target may hold spaces, against the rules; then the last one parts the version."""
    method, space, rest = line.partition(" ")
    if not space:
        return (method if is_whole else ""), "", ""
    target, space, last = rest.rpartition(" ")
    version = last[:VERSION_BYTES] if is_version(last) else ""
    if version:
        return method, target.strip(" "), version.removeprefix("HTTP/")
    if space and not is_whole and "HTTP/1.".startswith(last[: len("HTTP/1.")]):  # the version is what was cut
        return method, target.strip(" "), ""
    return method, rest.strip(" "), ""


def is_version(word: str) -> bool:
    return len(word) == VERSION_BYTES and word.startswith("HTTP/1.") and "0" <= word[-1] <= "9"


def _host(lines: list[tuple[str, bool]]) -> str:
    """Of the first Host field; the lines that go on from it (obs-fold, RFC 9112, 5.2) belong to it."""
    for number, (line, is_whole) in enumerate(lines):
        name, colon, value = line.partition(":")
        if not colon or name.rstrip(" \t").lower() != "host":
            continue
        folded = [value.strip(" \t")]
        for more, is_more_whole in lines[number + 1 :]:
            if not is_whole or more[:1] not in (" ", "\t"):
                break
            folded.append(more.strip(" \t"))
            is_whole = is_more_whole
        return " ".join(folded).strip(" ") if is_whole else ""
    return ""
