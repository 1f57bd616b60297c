"""`bpfleet COMMAND ...`: finds commands by entry point, so that this package imports no application.

An application lists its commands in the group `bpfleet.commands`; only the one that was asked for is loaded, so one
whose requirements are not installed does not stand in the way of the others.
"""

import difflib
import errno
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from bpfleet import __version__
from bpfleet.errors import BpfleetError, SettingsError

GROUP = "bpfleet.commands"

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why a file takes no more."""

OK, FAILED, MISUSED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is what a shell gives to a program that Ctrl-C ended."""


@dataclass(frozen=True)
class Command:
    """help: one line. main: gets the arguments after the command's name, gives the exit code."""

    help: str
    main: Callable[[Sequence[str]], int]


def main(arguments: Sequence[str] | None = None, commands: Mapping[str, EntryPoint] | None = None) -> int:
    """Runs one command and turns what went wrong into a message and an exit code."""
    if sys.stdout is None:  # closed (`>&-`): a file that is opened later must not get its number
        sys.stdout = open(os.devnull, "w")
    words = list(sys.argv[1:] if arguments is None else arguments)
    points = commands if commands is not None else {point.name: point for point in entry_points(group=GROUP)}
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage(points), file=sys.stdout if words else sys.stderr)
        return OK if words else MISUSED
    if words[0] == "--version":
        print(f"bpfleet {__version__}")
        return OK
    try:
        code = _run(words[0], words[1:], points)
        sys.stdout.flush()  # here a full disk has an answer
        return code
    except BpfleetError as error:
        for line in str(error).splitlines():
            _complain(line)
        return MISUSED if isinstance(error, SettingsError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader (`| head`) is gone
        _drop_output()
        return FAILED
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        _complain(f"standard output: {error.strerror}")
        _drop_output()
        return FAILED


def _drop_output() -> None:
    """The interpreter's own flush at exit must not complain again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(name: str, words: Sequence[str], points: Mapping[str, EntryPoint]) -> int:
    if name not in points:
        close = difflib.get_close_matches(name, points, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(points))}"
        _complain(f"no command {ascii(name)}; {hint}")
        return MISUSED
    try:
        command: Command = points[name].load()
    except ImportError as error:
        _complain(f"{name} needs a package that is not installed: {error}")
        return FAILED
    return command.main(words)


def _usage(points: Mapping[str, EntryPoint]) -> str:
    lines = ["usage: bpfleet COMMAND ...", "", "commands (each has --help):"]
    lines += [f"  {name:<12} {_help(points[name])}" for name in sorted(points)]
    return "\n".join([*lines, "", "  --version    print the version"])


def _help(point: EntryPoint) -> str:
    try:
        command: Command = point.load()
    except Exception as error:  # a plugin's failure is its own: the other commands are still to be listed
        return f"(cannot be loaded: {error})"
    return command.help


def _complain(line: str) -> None:
    print(f"bpfleet: {line}", file=sys.stderr)
