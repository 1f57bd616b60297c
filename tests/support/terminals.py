"""A terminal with a program at it: what it shows can be waited for, and keys can be pressed."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE_SECONDS = 20.0
SOURCE = Path(__file__).parents[2] / "src"
BPFLEET = [sys.executable, "-c", "import sys; from bpfleet.cli import main; sys.exit(main())"]
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes stdin the controlling terminal, so that Ctrl-C there is a signal; then becomes the program."""


class Terminal:
    """`bpfleet WORDS` at a terminal of 100 columns and 24 lines; killed with the `with` if it still runs."""

    def __init__(self, *words: str, command: Sequence[str] = BPFLEET) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.before = termios.tcgetattr(self.master)
        self.seen = ""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BPFLEET_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, *command, *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=inherited | {"TERM": "xterm", "PYTHONPATH": str(SOURCE)},
            start_new_session=True,
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def wait_for(self, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], f"no {text!r} in {self.seen!r}"
            try:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError as error:  # EIO: nobody is at the other end any more
                raise AssertionError(f"ended without {text!r}: {self.seen!r}") from error

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def end(self) -> int:
        """The exit code. The terminal must be as it was."""
        code = self.process.wait(PATIENCE_SECONDS)
        assert termios.tcgetattr(self.master) == self.before
        return code
