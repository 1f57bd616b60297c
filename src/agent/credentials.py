"""The server's certificate and token: from files, read again when they change (following.py)."""

import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from agent import files
from agent.configuration import Configuration
from agent.following import Credential, State
from bpfleet.errors import SettingsError

SHORTEST_TOKEN = 16
"""Characters. Nothing slows a guesser down, so the token must be long; 16 random ones are 96 bits in base64."""

LONGEST_TOKEN = 4096
"""A request's header may have four times as much."""


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


def certificate(chain: Path, key: Path) -> ssl.SSLContext:
    """For a server: TLS 1.2 or newer, as Python and the distribution's OpenSSL set it up. Raises SettingsError."""
    for file in (chain, key):
        files.read(file)  # names the file that is not there: ssl does not
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
    found = files.read(file).strip()
    if not found:
        raise SettingsError(f"{file}: the token is empty")
    if not all(0x21 <= byte <= 0x7E for byte in found):
        raise SettingsError(f"{file}: a token is one word of ASCII letters, digits and signs")
    if not SHORTEST_TOKEN <= len(found) <= LONGEST_TOKEN:
        raise SettingsError(
            f"{file}: the token has {len(found)} characters; it must have {SHORTEST_TOKEN} to {LONGEST_TOKEN}"
        )
    return found
