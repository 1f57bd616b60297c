"""The server's certificate and token: from files, read again when they change.

Kubernetes replaces a secret by swapping a symbolic link, tools like certbot write new files: both change what stat(2)
says. Files that cannot be used change nothing: the last good value stays, the log and the state say why.
"""

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from agent.configuration import Configuration
from bpfleet.errors import SettingsError

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_SECONDS = 1.0
"""The files are looked at when they are needed, at most this often: two calls of stat(2)."""

MAX_FILE_BYTES = 1 << 20
"""A chain of certificates has a few kB."""

SHORTEST_TOKEN = 16
"""Characters. Nothing slows a guesser down, so the token must be long; 16 random ones are 96 bits in base64."""

LONGEST_TOKEN = 4096
"""A request's header may have four times as much."""


class State(NamedTuple):
    """problem: why the files are not what is in use; empty when they are."""

    files: tuple[str, ...]
    problem: str


class Credential(Generic[T]):
    """What a set of files stands for. read: raises SettingsError for files that cannot be used, and then so does this.
    clock: monotonic seconds."""

    def __init__(
        self, name: str, files: Sequence[Path], read: Callable[[], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._files, self._read, self._clock = tuple(files), read, clock
        self._lock = threading.Lock()
        self._problem = ""
        self._looked, self._stamps = clock(), self._stamp()
        self._value = read()

    def value(self) -> T:
        """The newest good one. Used from any thread."""
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
            return self._value

    def refresh(self) -> None:
        """Looks now. Raises SettingsError where the files cannot be used; the last good value stays."""
        with self._lock:
            self._look()
            if self._problem:
                raise SettingsError(self._problem)

    def state(self) -> State:
        self.value()
        return State(tuple(map(str, self._files)), self._problem)

    def _look(self) -> None:
        """Files that could not be used are read each time: one may be half written, and change within one tick of the
        file system's clock."""
        self._looked = self._clock()
        stamps = self._stamp()  # before reading: what changes meanwhile is seen the next time
        if stamps == self._stamps and not self._problem:
            return
        try:
            self._value = self._read()
        except SettingsError as error:
            if str(error) != self._problem:
                log.error("the %s stays the last good one: %s", self.name, error)
            self._problem = str(error)
        else:
            log.info("the %s is a new one", self.name)
            self._problem = ""
        self._stamps = stamps

    def _stamp(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(map(_stamp, self._files))


class Credentials:
    """What the server shows and asks for. certificate, token: None where there is none. Raises SettingsError for files
    that cannot be used."""

    def __init__(self, configuration: Configuration) -> None:
        server = configuration.settings.server
        chain, key, file = Path(server.certificate_file), Path(server.key_file), Path(server.token_file)
        self.certificate: Credential[ssl.SSLContext] | None = None
        self.token: Credential[bytes] | None = None
        if server.certificate_file:
            with configuration.blaming("server.certificate_file"):
                self.certificate = Credential("certificate", (chain, key), lambda: certificate(chain, key))
        if server.token_file:
            with configuration.blaming("server.token_file"):
                self.token = Credential("token", (file,), lambda: token(file))

    def check(self, wanted: Configuration) -> None:
        """Raises SettingsError where the files that are in use, or those that are wanted, cannot be used now."""
        Credentials(wanted)
        for each in self._all():
            each.refresh()

    @property
    def context(self) -> Callable[[], ssl.SSLContext] | None:
        """For agent.server.Server."""
        return self.certificate.value if self.certificate else None

    def bearer(self) -> bytes:
        """Empty where none is asked for."""
        return self.token.value() if self.token else b""

    def good(self) -> Mapping[str, bool]:
        """By name: whether its files are what is in use."""
        return {name: not state.problem for name, state in self.states().items()}

    def states(self) -> Mapping[str, State]:
        """By name."""
        return {each.name: each.state() for each in self._all()}

    def _all(self) -> list[Credential[Any]]:
        return [each for each in (self.certificate, self.token) if each]


def _stamp(file: Path) -> tuple[int, ...] | None:
    """Changes with the file, also where a symbolic link on the way to it does."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def certificate(chain: Path, key: Path) -> ssl.SSLContext:
    """For a server: TLS 1.2 or newer, as Python and the distribution's OpenSSL set it up. Raises SettingsError."""
    for file in (chain, key):
        _content(file)  # names the file that is not there: ssl does not
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(chain, key, password=_no_password)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SettingsError(f"{chain}, {key}: no certificate with its key: {reason}") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")


def token(file: Path) -> bytes:
    """Without the white space around it. Raises SettingsError."""
    found = _content(file).strip()
    if not found:
        raise SettingsError(f"{file}: the token is empty")
    if not all(0x21 <= byte <= 0x7E for byte in found):
        raise SettingsError(f"{file}: a token is one word of ASCII letters, digits and signs")
    if not SHORTEST_TOKEN <= len(found) <= LONGEST_TOKEN:
        raise SettingsError(
            f"{file}: the token has {len(found)} characters; it must have {SHORTEST_TOKEN} to {LONGEST_TOKEN}"
        )
    return found


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise SettingsError(f"{file}: larger than {MAX_FILE_BYTES} bytes; is it the right file?")
    return content
