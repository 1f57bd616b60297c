"""Does a text look like something that must not be told: a key, a token, a password, a person's data?

By shape only, so it errs on the side of silence, and cannot know a password that is an ordinary word. Every search is
linear: no repetition within a repetition, and texts are cut before they get here.
"""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from urllib.parse import unquote

MAX_ROUNDS = 3
"""How often a text is percent-decoded to look into it: links within links are encoded twice."""

REMEMBERED = 2048
"""Names, which repeat: of at most 1,024 characters each, 2 MiB at the worst."""

MIN_RANDOM = 16
"""Characters of a word from which on it may be a key: shorter ones are too often names."""

MIN_MIXED = 8

MIN_RANDOM_IN_ALL = 20
"""The same for words with dashes or underscores between them, which are counted together."""

PREFIXES = (
    *("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "gldt-", "glrt-", "xoxa-", "xoxb-", "xoxe-"),
    *("xoxe.", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-", "sk_live_", "sk_test_", "rk_live_", "rk_test_", "pk_live_"),
    *("pk_test_", "whsec_", "sk-", "AIza", "ya29.", "1//0", "SG.", "npm_", "pypi-", "dop_v1_", "doo_v1_", "shpat_"),
    *("shpss_", "shpca_", "shppa_", "hf_", "PMAK-", "lin_api_", "sq0atp-", "sq0csp-", "ATATT", "dapi", "hvs.", "hvb."),
    *("rubygems_", "NRAK-", "NRJS-", "figd_", "sntrys_", "sntryu_", "gsk_", "tskey-", "xkeysib-", "amzn.mws."),
    *("AGE-SECRET-KEY-", "key-", "EAACEdEose0cBA", "oauth2:", "vault:", "dckr_pat_", "r8_", "nvapi-", "glsa_", "phc_"),
)
_TAIL = r"[A-Za-z0-9_\-./+=~]{8}"
_SPANNING = (
    r"//[^/\s@]{1,256}@",  # user:password@host
    r"(?:^|/)T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/[A-Za-z0-9]{8}",  # Slack's incoming hooks
)
_SPANS = re.compile("|".join(_SPANNING))
_SHAPES = re.compile(
    "|".join(
        (
            rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, PREFIXES))}){_TAIL}",
            r"(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{12}",
            r"eyJ[A-Za-z0-9_\-]{4}",  # {" in Base64: a JWT, whole or cut
            r"-----BEGIN",
            *_SPANNING,
            r"(?i:\b(?:bearer|basic|digest|negotiate|hawk|apikey|token)[\s:+]{1,8}[^\s]{4})",
            r"(?i:(?:passw(?:or)?d|passphrase|\bpass|\bpwd|secret|token|api[_\-]?key|access[_\-]?key|private[_\-]?key"
            r"|\bauth|authorization|credentials?|session(?:[_\-]?id)?|signature|\bsig|\bjwt|\botp|\bpin|\bcvv|\bssn)"
            r"[\"'\]]{0,2}\s{0,4}[=:])",
            r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)",  # a US social security number
            r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}[A-Z0-9]{11}",  # an IBAN
        )
    )
)
_GAP = re.compile(r"[/\s]")
_EMAIL = re.compile(r"[^\s/@:]@[^\s/@.:]{1,63}\.[^\s/@.:]{0,63}[A-Za-z]")
_CARD = re.compile(r"(?<!\d)\d(?:[ \-]?\d){12,18}(?!\d)")
_RUN = re.compile(r"[A-Za-z0-9+_=\-]{16,}")
_PART = re.compile(r"[A-Za-z0-9+=]+")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CHANGE = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[0-9])|[0-9](?=[A-Za-z])")
_CONSONANTS = re.compile(r"(?i)[bcdfghjklmnpqrstvwxz]{5}")
_VOWELS = re.compile(r"(?i)[aeiouy]")

MIN_VOWELS = 0.3
"""Of a text's letters, in the languages that paths are written in; of random letters 23 % are vowels."""

KEYS = frozenset(
    (
        *("auth", "key", "sig", "sid", "pin", "otp", "code", "pass", "pw", "pwd", "cvv", "cvc", "ssn", "iban", "card"),
        *("pan", "jwt", "email", "mail", "phone", "hash", "hmac", "nonce", "ticket", "saml", "samlresponse", "invite"),
        *("assertion", "login", "user", "username", "account", "dob", "birthday", "magic", "salt", "mfa", "totp"),
    )
)
"""Names whose values are not told, as they are."""

KEY_PARTS = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "accesskey", "secretkey", "authkey"),
    *("privatekey", "signingkey", "sharedkey", "authorization", "authentication", "credential", "session", "signature"),
    *("bearer", "cookie", "csrf", "xsrf", "cardnumber", "creditcard", "oauth", "keyid", "accountkey"),
)
"""The same, wherever in the name they stand."""

ANNOUNCING = (
    *("password", "passwd", "passphrase", "passcode", "secret", "token", "apikey", "accesskey", "privatekey"),
    *("credential", "sessionid", "bearer", "invitation"),
)
"""In a segment of a path: the next one is the secret. Fewer than above, for `oauth2` and `user` are parts of routes."""

ANNOUNCING_ALONE = frozenset(
    ("jwt", "otp", "pin", "sid", "auth", "magic", "invite", "key", "pwd", "pass", "unsubscribe")
)

NOTHING = ("", ".")
"""Segments of a path that stand for none: what is before them is before the next one."""

_PUNCTUATION = str.maketrans("", "", "-_. []\"'$")


def unfolded(text: str) -> Iterator[str]:
    """The text, and what percent-decoding makes of it, as often as that changes it and no more than MAX_ROUNDS."""
    yield text
    if "%" not in text:
        return
    for _ in range(MAX_ROUNDS):
        decoded = unquote(text, "latin-1")
        if decoded == text:
            return
        text = decoded
        yield text


@lru_cache(REMEMBERED)
def is_sensitive(name: str) -> bool:
    """Whether the value of a parameter of this name must not be told."""
    return _is_named(name, KEYS, KEY_PARTS)


@lru_cache(REMEMBERED)
def announces(segment: str) -> bool:
    """Whether the segment of a path that follows this one is a secret. Its parameters have values of their own."""
    return _is_named(segment.partition(";")[0], ANNOUNCING_ALONE, ANNOUNCING)


def _is_named(name: str, alone: Collection[str], parts: Collection[str]) -> bool:
    for each in unfolded(name):
        plain = each.lower().translate(_PUNCTUATION)
        if plain in alone or any(part in plain for part in parts):
            return True
    return False


def has_shape(text: str) -> bool:
    """A known shape is in it; what only looks random does not count (names of hosts do)."""
    return any(_has_shape(each) for each in unfolded(text))


def spans(path: str) -> bool:
    """A shape goes over several segments."""
    return any(_SPANS.search(each) for each in unfolded(path))


def is_secret(text: str) -> bool:
    return any(_has_shape(each) or _has_random(each) for each in unfolded(text))


def is_random(word: str) -> bool:
    """Letters and digits that nobody would speak. word: without punctuation."""
    if len(word) < MIN_RANDOM or word.isdecimal():
        return False
    if _changes(word) >= len(word) // 5 or _CONSONANTS.search(word):
        return True
    return len(_VOWELS.findall(word)) < MIN_VOWELS * len(word)


def is_mixed(word: str) -> bool:
    """The same of fewer letters, for who would rather be wrong than tell."""
    return len(word) >= MIN_MIXED and bool(_changes(word) >= len(word) // 3 or _CONSONANTS.search(word))


def is_email(text: str) -> bool:
    return bool(_EMAIL.search(text))


def is_uuid(text: str) -> bool:
    return bool(_UUID.fullmatch(text))


def _has_shape(text: str) -> bool:
    if _SHAPES.search(text) or ("@" in text and (_EMAIL.search(text) or _has_userinfo(text))):
        return True
    return any(is_card(found.group()) for found in _CARD.finditer(text))


def _has_userinfo(text: str) -> bool:
    """user:password@host, also where the slashes before it are missing."""
    return any(":" in _GAP.split(before)[-1] for before in text.split("@")[:-1])


def _has_random(text: str) -> bool:
    return any(_is_random_run(run.group()) for run in _RUN.finditer(_UUID.sub("", text)))


def _is_random_run(run: str) -> bool:
    parts = _PART.findall(run)
    if any(is_random(part) for part in parts):
        return True
    together = "".join(parts)
    return len(together) >= MIN_RANDOM_IN_ALL and _changes(together) >= len(together) // 3


def _changes(word: str) -> int:
    """Between lower case, upper case and digits; the capital that begins a word within a word is one."""
    return len(_CHANGE.findall(word))


def is_card(text: str) -> bool:
    """By the check digit (ISO/IEC 7812)."""
    digits = [int(digit) for digit in text if digit.isdecimal()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
