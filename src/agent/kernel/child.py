"""The parent's end of the loader child: starts it, asks, takes over its descriptors."""

import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bpfleet.errors import HostError, KernelError

LOADER = Path(__file__).with_name("loader.py")
TIMEOUT_SECONDS = 300.0
"""For one answer: the longest is a load whose verifier walks a million instructions, which takes one to three
seconds; a hundred times that on a starved node, or where the processor is emulated."""

MAX_DESCRIPTORS = 253  # in one message (SCM_MAX_FD)
MAX_MESSAGE = 500  # characters of a child's last words that an outcome repeats
PASSED_ON = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "LIBBCC_PATH")


class LoaderGone(KernelError):
    """The child ended in the middle of its work, e.g. because a text crashes the compiler. was_killed: it was too slow,
    or too large for the memory there is, and would be again."""

    def __init__(self, message: str, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed


class Child:
    """A context: the child lives inside it, and what it attached but did not hand over goes with it."""

    def __init__(self, python: str) -> None:
        self._python = python

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair()
        ours.settimeout(TIMEOUT_SECONDS)
        self._channel = ours
        # In memory: a container may have no directory that can be written.
        self._errors = open(os.memfd_create("loader"), "w+b")  # noqa: SIM115  closed in _leave()
        command = [self._python, "-I", str(LOADER), str(theirs.fileno()), str(os.getpid())]
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        except OSError as error:
            ours.close()
            self._errors.close()
            raise HostError(f"cannot start {self._python}: {error.strerror}") from error
        finally:
            theirs.close()
        try:
            hello = self._answer()
            if "error" in hello:
                raise HostError(hello["error"])
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        """It leaves by itself when the channel closes; one that hangs is ended."""
        self._channel.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The child's answer; {"error": text} where the thing asked for did not work."""
        data = json.dumps({"do": command, **arguments}).encode()
        try:
            self._channel.sendall(struct.pack("=I", len(data)) + data)
        except OSError as error:
            raise self._gone() from error
        return self._answer()

    def hand_over(self) -> dict[str, int]:
        """The unit's descriptors by name: `map:<name>`, `link:<function>`."""
        names = self.ask("hand_over")["names"]
        descriptors: list[int] = []
        while len(descriptors) < len(names):
            _, received, _, _ = socket.recv_fds(self._channel, 1, MAX_DESCRIPTORS)
            if not received:
                raise self._gone()
            descriptors += received
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return dict(zip(names, descriptors, strict=True))

    def _answer(self) -> dict[str, Any]:
        (size,) = struct.unpack("=I", self._receive(4))
        answer: dict[str, Any] = json.loads(self._receive(size))
        return answer

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self._channel.recv(size - len(data))
            except OSError as error:
                raise self._gone() from error
            if not part:
                raise self._gone()
            data += part
        return data

    def _gone(self) -> LoaderGone:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        last = text.splitlines()[-1] if text else "no message"
        return LoaderGone(f"the loader ended with status {status}: {last[:MAX_MESSAGE]}", status == -signal.SIGKILL)
