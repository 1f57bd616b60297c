"""What of a command line may leave the node: without what looks like a secret, or stands where one is expected.

As agent.events.redaction has it for requests. A command line is told as a shell would be given it; what it holds for a
shell within (`sh -c '...'`) is looked into in the same way. Silence is the safer mistake: a password may be an ordinary
word, so what follows an option that is known for passwords is not told, whatever it is.
"""

import re
import shlex
from collections.abc import Sequence

from agent.events import redaction
from agent.events.redaction import REDACTED
from agent.protocols import secrets

CUT = "..."

MAX_DEPTH = 4
"""Command lines within command lines; what is deeper is not told."""

MAX_NAMES = 8
"""Names before one value, as in a=b:c; what is deeper is not told."""

MAX_TRIES = 6
"""To find the last whole word of a line that ends within quotes, of which there may be some."""

SHORT = frozenset(("-p", "-P", "-u", "-U", "-a", "-w", "-W", "-k", "-K", "-x", "-s", "-t", "-H", "-b", "-pw"))
"""Options of one letter after which some program takes a password, a key, a user with a password, or a header."""

HARMLESS = re.compile(
    r"[0-9]{1,5}|[0-9]{1,5}:[0-9]{1,5}(/(tcp|udp))?|(/|\./|\.\./|~/)[^\s:@=]*|[a-z]{1,2}|https?://[^\s@?]*|tcp|udp"
)
"""Ports, numbers of processes, paths and single letters: what the same options of other programs take."""

ATTACHED = re.compile(r"(?s)(-hp|-[pPuUaw]|/p:)(.+)")
"""A value without a space: mysql -psecret, rar -hpsecret, xfreerdp /p:secret."""

PREDICATES = frozenset(
    (
        *("-perm", "-path", "-print", "-print0", "-printf", "-prune", "-user", "-uid", "-used"),
        *("-amin", "-anewer", "-atime", "-wholename", "-writable"),
    )
)
"""Words of find that look like that, and are worth to be told: who looks for setuid files, and where."""

NAMED = re.compile(r"(?s)(--?[A-Za-z0-9][A-Za-z0-9_.-]*|[A-Za-z_][A-Za-z0-9_.-]*)(=|:=?)(.*)")
"""--option=value, VARIABLE=value, key:value."""

OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9_.-]*|-[0-9]")
ENDING = re.compile(r"(?i).*(pass|auth|passw)|.*(^|[._-])(pwd|pw|user|key|pin|otp)")
"""Names of variables and options whose last part says it: DB_PASS, MYSQL_PWD, --requirepass, --certificate-key."""

APART = re.compile(r"[\s'\"\\]|^$")
"""What needs quotes within a script, whose own signs (`|`, `;`, `$`) stay as they are."""

SPACED = re.compile(r"(?s)\S+\s+\S")
URL = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.-]{0,31}://)([^/?#]*)([^?#]*)(?:\?([^#]*))?.*")
PATH = re.compile(r"(?s)(~|\.{1,2})?/.*")

HERE = "<<<"
"""What a shell gives to a program's input."""

TALKERS = ("echo", "printf", "print")
"""What they say into a pipe may be a password for another program."""

LOGIN = "login"

PLACED = frozenset(
    (
        *(
            "htpasswd",
            "sqlplus",
            "sqlldr",
            "impdp",
            "expdp",
            "isql",
            "tsql",
            "wpa_passphrase",
            "smbclient",
            "smbpasswd",
        ),
        *("add_user", "change_password", "authenticate_user", "unseal", "requirepass", "masterauth", "auth"),
        *("user_pw", "owner_pw", "set-password", "set-credentials"),
    )
)
"""Programs and their commands that take a password as an argument among others: of theirs none is told, up to the end
of the command. By the last component of a path, and in lower case."""

PLACED_AFTER = frozenset(
    (
        *(
            ("alias", "set"),
            ("host", "add"),
            ("kv", "put"),
            ("secrets", "set"),
            ("secret", "set"),
            ("secret", "create"),
        ),
        *(("create", "secret"), ("user-secrets", "set"), ("vault", "write"), ("config", "set")),
    )
)
"""The same of two words: mc alias set, vault kv put, gh secret set, kubectl create secret, npm config set."""

CALL = re.compile(r"(?s)([A-Za-z_]+)\((.+)")
"""SQL's PASSWORD('x')."""

OPTIONS_OF = {
    "curl": ("-E", "--cert", "--proxy-cert"),
    "ssh-keygen": ("-N",),
    "snmp": ("-c", "-A", "-X"),
    "expect": ("-c",),
}
"""Options that mean a password to programs whose names begin so, and something else to most others."""

SEPARATORS = re.compile(r"\|\|?|&&?|;")
"""What ends a command of a shell, as a word of its own; a word may end with one, too."""


def redacted(line: str, is_cut: bool = False) -> str:
    """line: as shlex.join() makes it. is_cut: its end is missing, so of the last word nothing can be said."""
    return _line(line, is_cut, 0)


def _line(line: str, is_cut: bool, depth: int) -> str:
    words, is_broken = _words(line)
    told = _told(words, depth)
    if told == words and not is_cut and not is_broken:
        return line
    if is_cut and not is_broken and told:
        del told[-1]
    quoted = (shlex.quote(word) if not depth or APART.search(word) else word for word in told)
    return " ".join([*quoted, *([CUT] if is_cut or is_broken else [])])


def _words(line: str) -> tuple[list[str], bool]:
    """And whether it ends within quotes; the words are those before them."""
    rest = line
    for _ in range(MAX_TRIES):
        try:
            return shlex.split(rest), rest is not line
        except ValueError:
            rest = rest[: max(rest.rfind("'"), rest.rfind('"'), rest.rfind("\\"), 0)]
    return [], True


def _told(words: Sequence[str], depth: int) -> list[str]:
    told: list[str] = []
    announced = ""
    is_said = is_placed = is_identified = False
    options: tuple[str, ...] = ()
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        is_said = is_said or before in TALKERS and any("|" in each for each in words[place:])
        is_said = is_said and not word.startswith("|")
        if SEPARATORS.fullmatch(word):
            announced, is_said, is_placed, options = "", False, False, ()
            told.append(word)
            continue
        if is_said or (announced and word != HERE and (announced.startswith("-") or not _is_option(word))):
            told.append(REDACTED)
            announced = ""
            is_said = is_said and "|" not in word
        elif is_placed:
            told.append(_placed(word))
        elif before in options or (before in SHORT and not _is_option(word) and not HARMLESS.fullmatch(word)):
            told.append(REDACTED)
        else:
            is_next = _announces(word) or (is_identified and word.lower() == "by")
            announced = word if is_next else announced
            told.append(_word(word, depth))
        is_identified = is_identified or word.lower() == "identified"
        is_placed = (is_placed or _is_placed(before, word)) and not word.endswith(";")
        options = next((those for name, those in OPTIONS_OF.items() if _called(word).startswith(name)), options)
    return told


def _called(word: str) -> str:
    return word.rpartition("/")[2].lower()


def _is_placed(before: str, word: str) -> bool:
    """SQL's functions and lists of columns: PASSWORD('x'), (name, password) VALUES ('x', 'y')."""
    called = _called(word)
    return (
        called in PLACED
        or (before.lower(), called) in PLACED_AFTER
        or ("(" in word and _is_sensitive(word.strip("(),")))
    )


def _placed(word: str) -> str:
    """Of an option its name."""
    named = NAMED.fullmatch(word)
    if named and named[1].startswith("-"):
        return named[1] + named[2] + REDACTED
    return word if _is_option(word) and word.startswith("--") else REDACTED


def _announces(word: str) -> bool:
    """Whether the next word is a secret: --password x, PASSWORD x; but not a path or a sentence."""
    plain = word.lstrip("-")
    if word == HERE:
        return True
    if not plain or "/" in word or "=" in word or any(each.isspace() for each in word):
        return False
    if word.startswith("-"):
        return _is_sensitive(plain)
    return plain == LOGIN or (secrets.announces(plain) and len(plain) > 2)


def _is_sensitive(name: str) -> bool:
    return secrets.is_sensitive(name) or bool(ENDING.fullmatch(name))


def _is_option(word: str) -> bool:
    return bool(OPTION.fullmatch(word))


def _word(word: str, depth: int, names: int = 0) -> str:
    if names > MAX_NAMES:
        return REDACTED
    if word.startswith(HERE) and word != HERE:
        return HERE + REDACTED
    if SPACED.search(word):
        return _within(word, depth)
    if (call := CALL.fullmatch(word)) and _is_sensitive(call[1]):
        return f"{call[1]}({REDACTED}"
    if url := URL.fullmatch(word):
        return _url(*url.groups(default=""))
    attached = None if word.startswith("--") or word in PREDICATES else ATTACHED.fullmatch(word)
    named = NAMED.fullmatch(word)
    if named and not (attached and named[2] == ":"):
        return _named(named[1], named[2], named[3], depth, names)
    if attached and not HARMLESS.fullmatch(attached[2]):
        return attached[1] + REDACTED
    return _plain(word)


def _named(name: str, sign: str, value: str, depth: int, names: int) -> str:
    if value and (_is_sensitive(name.lstrip("-")) or secrets.has_shape(name + sign + value)):
        return name + sign + REDACTED
    return _plain(name) + sign + (_word(value, depth, names + 1) if value else "")


def _within(text: str, depth: int) -> str:
    """A word with spaces in it: a script for a shell, a header, a sentence."""
    if depth >= MAX_DEPTH or secrets.has_shape(text):
        return REDACTED
    return _line(text, False, depth + 1)


def _url(scheme: str, authority: str, path: str, query: str) -> str:
    host, port = redaction.host(authority)
    told = scheme + host + (f":{port}" if port is not None else "") + (redaction.path(path) if path else "")
    return told + (f"?{redaction.query(query)}" if query else "")


def _plain(word: str) -> str:
    if secrets.has_shape(word):
        return REDACTED
    if not PATH.fullmatch(word):
        return REDACTED if secrets.is_secret(word.replace("/", "+")) else word
    return "/".join(REDACTED if secrets.is_secret(part) else part for part in word.split("/"))
