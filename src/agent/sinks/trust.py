"""What a sink shows to a server and what it trusts: from files, which are followed when they change."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from agent import files
from agent.following import Credential
from agent.sinks import options
from bpfleet.errors import OptionError, SettingsError

FILES = ("ca_file", "certificate_file", "key_file", "token_file")
LONGEST_TOKEN = 16384
"""A header of an HTTP request; more is no token but another file."""


class Trust(NamedTuple):
    """A new object where a file has changed. context: None without TLS. roots, chain, key: as PEM, empty where the
    system's certificates serve or nothing is shown. token: of the HTTP header, empty for none."""

    context: ssl.SSLContext | None = None
    roots: bytes = b""
    chain: bytes = b""
    key: bytes = b""
    token: str = ""


def follow(
    sink: str, given: options.Options, encrypted: bool, clock: Callable[[], float] = time.monotonic
) -> Callable[[], Trust]:
    """clock: monotonic seconds. Raises OptionError for files that cannot be used; what they become later changes
    nothing until it is good."""
    paths = {name: Path(options.text(given, name)) for name in FILES if given.get(name)}
    if not paths:
        trust = read(paths, encrypted)
        return lambda: trust
    try:
        credential = Credential(f"trust of sink {sink}", list(paths.values()), lambda: read(paths, encrypted), clock)
    except SettingsError as error:
        raise OptionError(next(iter(paths)), str(error)) if not isinstance(error, OptionError) else error from error
    return credential.value


def read(paths: dict[str, Path], encrypted: bool) -> Trust:
    """Raises OptionError."""
    content = {name: _read(name, path) for name, path in paths.items()}
    token = _token(paths["token_file"], content["token_file"]) if "token_file" in paths else ""
    context = _context(paths) if encrypted else None
    roots, chain, key = (content.get(name, b"") for name in FILES[:3])
    return Trust(context, roots, chain, key, token)


def _read(name: str, path: Path) -> bytes:
    try:
        return files.read(path)
    except SettingsError as error:
        raise OptionError(name, str(error)) from error


def _token(path: Path, content: bytes) -> str:
    found = content.strip()
    if not found or len(found) > LONGEST_TOKEN or not all(0x21 <= byte <= 0x7E for byte in found):
        problem = f"a token is one word of 1 to {LONGEST_TOKEN} ASCII letters, digits and signs"
        raise OptionError("token_file", f"{files.named(path)}: {problem}")
    return found.decode("ascii")


def _context(paths: dict[str, Path]) -> ssl.SSLContext:
    """TLS 1.2 or newer with the server's name checked, as Python and the distribution's OpenSSL set it up."""
    try:
        context = ssl.create_default_context(cafile=paths.get("ca_file"))
    except (OSError, ValueError) as error:
        raise OptionError("ca_file", f"{files.named(paths['ca_file'])}: no certificates: {_why(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if "certificate_file" in paths:
        chain, key = paths["certificate_file"], paths["key_file"]
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (OSError, ValueError) as error:
            told = f"{files.named(chain)}, {files.named(key)}: no certificate with its key: {_why(error)}"
            raise OptionError("certificate_file", told) from error
    return context


def _why(error: Exception) -> object:
    return getattr(error, "reason", None) or error


def _no_password() -> str:
    """OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")
