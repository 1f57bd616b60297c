"""Which facts a rule may ask for, by event: the one list that the reader, the JSON Schema, the test cases and the docs
are made from.
"""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from bpfleet import events
from bpfleet.events import Attribute
from bpfleet.policies import kinds
from bpfleet.policies.facts import Facts
from bpfleet.policies.globs import LEFT_OUT
from bpfleet.policies.kinds import Flags, Kind, Modes, Names, Networks, Numbers, Paths, Services, Texts, Words

ANCESTORS_APART: Final = " < "
FAILED = "error.type"
SIZE: Final = "bpfleet.process.arguments.size"
"""Is there where not all of them are told."""

EXEC, FILE_OPEN, CHMOD, PTRACE, EGRESS = (name.rpartition(".")[2] for name in events.SECURITY)
EVENTS: Final = (EXEC, FILE_OPEN, CHMOD, PTRACE, EGRESS)


@dataclass(frozen=True)
class Field:
    """look: what an event has of it, nothing where that is not known; one of the values has to match. tell: attributes
    of an event that has this value, for test cases."""

    name: str
    kind: Kind
    help: str
    look: Callable[[Facts], Iterable[object]]
    tell: Callable[[object], Mapping[str, Attribute]]


def _texts(*attributes: str) -> Callable[[Facts], Iterable[object]]:
    return lambda facts: [text for each in attributes if (text := facts.text(each))]


def _text(name: str, kind: Kind, attribute: str, help: str) -> Field:
    return Field(name, kind, help, _texts(attribute), lambda value: {attribute: str(value)})


def _number(name: str, most: int, attribute: str, help: str) -> Field:
    def look(facts: Facts) -> Iterable[object]:
        number = facts.number(attribute)
        return () if number is None else (number,)

    return Field(name, Numbers(most), help, look, lambda value: {attribute: int(str(value))})


def _flag(name: str, attribute: str, help: str) -> Field:
    """An attribute that is there only when it is true is false without it."""

    def tell(value: object) -> Mapping[str, Attribute]:
        return {attribute: True} if value else {}

    return Field(name, Flags(), help, lambda facts: (facts.attributes.get(attribute) is True,), tell)


def _process(name: str, path: str, called: str, help: str) -> Field:
    def tell(value: object) -> Mapping[str, Attribute]:
        return {path: str(value), called: str(value).rpartition("/")[2]}

    return Field(name, Paths(), help, _texts(path), tell)


def _elsewhere(value: object) -> Mapping[str, Attribute]:
    """No attribute: the owner's, or the peer's."""
    return {}


def _failed(facts: Facts) -> Iterable[object]:
    return ("failed" if FAILED in facts.attributes else "ok",)


PATHS: Final = ("file.path", "bpfleet.file.given")
"""Where it led to, and as the process wrote it: a symbolic link is no way around."""

_PATH = Field(
    "path",
    Paths(),
    "The file, as the kernel found it or as the process gave it.",
    _texts(*PATHS),
    lambda value: {"file.path": str(value)},
)
_RESULT = Field(
    "result",
    Words(("ok", "failed")),
    "Whether the kernel allowed it.",
    _failed,
    lambda value: {FAILED: "EACCES"} if value == "failed" else {},
)

COMMON: Final = (
    _process(
        "binary", "process.executable.path", "process.executable.name", "The program, by its file and not by its name."
    ),
    _text("parent", Texts(), "bpfleet.process.parent.name", "Name of the parent's program."),
    Field(
        "ancestor",
        Texts(),
        "Name of the program of any process above it, the parent's too; some are known.",
        lambda facts: [
            *facts.text("bpfleet.process.ancestors").split(ANCESTORS_APART),
            facts.text("bpfleet.process.parent.name"),
        ],
        lambda value: {"bpfleet.process.ancestors": str(value)},
    ),
    _number("user", kinds.MAX_ID, "process.user.id", "Number of the user, as the host counts them."),
    Field(
        "image",
        Texts(),
        "The container's image, as its specification names it.",
        lambda facts: (facts.owner.image,),
        _elsewhere,
    ),
)


def _called(facts: Facts) -> Iterable[object]:
    """Of a line that was cut before its first word ended: as of a path whose end is left out."""
    line = facts.text("process.command_line")
    is_cut = SIZE in facts.attributes and bool(line)
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    words.whitespace_split, words.commenters = True, ""
    try:
        word = words.get_token()
        is_cut = is_cut and not words.instream.read(1)
    except ValueError:  # it was cut within quotes
        word = None
    if is_cut:
        return (f"/{LEFT_OUT}",)
    return (word,) if word else ()


_EXEC = (
    Field(
        "called",
        Paths(),
        "What the program was called by who started it: its first argument, which may be anything.",
        _called,
        lambda value: {"process.command_line": shlex.quote(str(value))},
    ),
    _text("script", Paths(), "bpfleet.process.script", "The script, where one was started; binary is its interpreter."),
    _text("interpreter", Paths(), "bpfleet.process.interpreter", "The interpreter as the script names it."),
    _text("arguments", Texts(), "process.command_line", "The whole command line, quoted as for a shell."),
    _flag("is_init", "bpfleet.process.is_init", "The first process of its container."),
    _flag("is_entered", "bpfleet.process.is_entered", "Came into the container from outside: kubectl exec, nsenter."),
    _flag("is_in_memory", "bpfleet.process.is_in_memory", "The program is a file that has never been on a disk."),
    _flag("is_deleted", "bpfleet.process.is_deleted", "The program's file has been removed."),
)
_FILE_OPEN = (
    _PATH,
    _flag("write", "bpfleet.file.is_write", "Opened for writing."),
    _RESULT,
)
_CHMOD = (
    _PATH,
    _flag("setuid", "bpfleet.file.is_setuid", "The new mode sets the setuid bit, which the old one had not."),
    _flag("setgid", "bpfleet.file.is_setgid", "The same of the setgid bit."),
    _text("mode", Modes(), "file.mode", "The new mode, in octal."),
    _RESULT,
)
_PTRACE = (
    _text("request", Words(("attach", "seize", "traceme")), "bpfleet.ptrace.request", "How tracing began."),
    _text("target", Texts(), "bpfleet.ptrace.target.name", "Name of the program that is traced."),
    _flag("across_containers", "bpfleet.ptrace.is_across", "Tracer and tracee live in different containers."),
    _RESULT,
)
_EGRESS = (
    _text("address", Networks(), "network.peer.address", "Where to."),
    _text("name", Names(), "dns.question.name", "The name for which the DNS answered with this address."),
    Field("service", Services(), "The Kubernetes Service with this address.", lambda facts: facts.services, _elsewhere),
    _number("port", kinds.MAX_PORT, "network.peer.port", "The port there."),
    _text("transport", Words(("tcp", "udp")), "network.transport", "TCP, or UDP."),
)

BY_EVENT: Final[Mapping[str, Mapping[str, Field]]] = {
    event: {field.name: field for field in (*COMMON, *own)}
    for event, own in zip(EVENTS, (_EXEC, _FILE_OPEN, _CHMOD, _PTRACE, _EGRESS), strict=True)
}
