"""What kind of thing is one segment of a path: a word of the program's, or somebody's id?

A number, a UUID, a hash, a date, an e-mail address, a long token becomes the name of its kind in braces; so does a part
of a segment (`order-23` -> `order-{id}`). Only words of plain ASCII stay, so what comes out cannot act on anything.
"""

import re
from functools import lru_cache

from agent.protocols import secrets

MAX_SEGMENT = 256
"""Characters that are looked at; a longer segment is a token. File systems allow 255 bytes for a name."""

MAX_WORD = 64
"""Characters of a segment that may stay as it is."""

MAX_PLACEHOLDERS = 3
"""A segment with more of them is one id."""

MIN_HASH = 8
"""Hexadecimal digits, letters among them: what git abbreviates to seven is mostly told with eight or more by others."""

MIN_LETTERS_HASH = 16
"""The same without a decimal digit: `facade` is a word."""

REMEMBERED = 8192
"""Segments: 2 MiB."""

TECHNICAL = frozenset(
    "oauth oauth1 oauth2 auth0 openid2 md5 sha1 sha2 sha3 sha224 sha256 sha384 sha512 base32 base58 base64 utf8 utf16 "
    "ipv4 ipv6 http1 http2 http3 h2 h3 s3 ec2 k8s k3s i18n l10n a11y e2e p2p b2b b2c mp3 mp4 m3u8 h264 h265 x86 x64 "
    "arm64 amd64 aarch64 x509 web3 d3 log4j neo4j route53 3d 2fa 2d mfa2 p12 pkcs12 woff2 jp2 bz2 7z 404 500".split()
)
"""Words with digits that are no ids."""

WORD_CHARACTERS = re.compile(r"[A-Za-z0-9._~:@!$'()*+,\-]+")
_PIECES = re.compile(r"([._~:@!$'()*+,\-])")
_DATE = re.compile(r"(19|20)\d\d([-.]?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])([T ].{0,32})?")
_MONTH = re.compile(r"(19|20)\d\d-(0[1-9]|1[0-2])")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}|\[?[0-9A-Fa-f]{0,4}(:[0-9A-Fa-f]{0,4}){2,7}\]?")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_SIZE = re.compile(r"\d{1,5}x\d{1,5}")
_VERSION = re.compile(r"[vV]\d{1,3}((alpha|beta|rc|preview|p)\d{0,2})?")
_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")
_COUNTED = re.compile(r"([A-Za-z]+)\d+")
_KINDS = re.compile(r"\{[a-z]+\}")


def kind(segment: str) -> str:
    """segment: as it stands in the path, percent-encoded or not."""
    if len(segment) > MAX_SEGMENT:
        return "{token}"
    if segment.isascii() and segment.isdecimal() and len(segment) != 8:
        return "{id}"
    return _kind(segment)


@lru_cache(REMEMBERED)
def _kind(segment: str) -> str:
    *_, text = secrets.unfolded(segment)
    if not text:
        return ""
    if secrets.is_uuid(text.strip("{}").removeprefix("urn:uuid:")):
        return "{uuid}"
    for pattern, name in ((_DATE, "{date}"), (_MONTH, "{date}"), (_ADDRESS, "{address}"), (_NUMBER, "{id}")):
        if pattern.fullmatch(text):
            return name
    if secrets.is_email(text):
        return "{email}"
    if _HEXADECIMAL.fullmatch(text):
        return _word(text)
    if not WORD_CHARACTERS.fullmatch(text):
        return "{text}" if len(text) <= MAX_WORD and not secrets.is_secret(text) else "{token}"
    if len(text) > MAX_WORD or secrets.is_secret(text):
        return "{token}"
    if text[0] in "@~" and len(text) > 1:
        return text[0] + "{name}"
    return _joined(_PIECES.split(text))


def _joined(pieces: list[str]) -> str:
    """pieces: words, and at every second place what parts them."""
    kinds = [piece if number % 2 else _word(piece) for number, piece in enumerate(pieces)]
    words = [each for each in kinds[::2] if each]
    ids = [each for each in words if _KINDS.search(each)]
    if len(ids) > MAX_PLACEHOLDERS or (len(ids) > 1 and len(ids) == len(words)):
        return (
            max(ids, key=["{id}", "{hash}", "{token}"].index) if set(ids) <= {"{id}", "{hash}", "{token}"} else "{id}"
        )
    return "".join(kinds)


def _word(word: str) -> str:
    if not word or word.lower() in TECHNICAL or _VERSION.fullmatch(word):
        return word
    if word.isdecimal() or _SIZE.fullmatch(word):
        return "{id}"
    if _HEXADECIMAL.fullmatch(word) and len(word) >= (MIN_LETTERS_HASH if word.isalpha() else MIN_HASH):
        return "{hash}"
    if secrets.is_random(word):
        return "{token}"
    if word.isalpha():
        return "{token}" if secrets.is_mixed(word) and not word.islower() else word
    counted = _COUNTED.fullmatch(word)
    return counted[1] + "{id}" if counted and len(word) < secrets.MIN_RANDOM else "{token}"
