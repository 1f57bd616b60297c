"""Certificates that sign themselves, for a server on this machine. Made by openssl, which is nobody's of ours."""

import subprocess
from pathlib import Path
from typing import NamedTuple

NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


class Pair(NamedTuple):
    """chain also serves as the ca_file of a client."""

    chain: Path
    key: Path


def make(folder: Path, name: str = "server", names: str = NAMES) -> Pair:
    """A new one each time; its subject is its name, names: those that it is good for. The files are replaced, as most
    tools do it."""
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    made = Pair(folder / f"{name}.crt.new", folder / f"{name}.key.new")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "30", "-subj", f"/CN={name}", "-addext", names, "-keyout", made.key, "-out", made.chain],
        check=True, capture_output=True,
    )  # fmt: skip
    for new, old in zip(made, pair, strict=True):
        new.replace(old)
    return pair


def fingerprint(file: Path) -> str:
    """SHA-256, as openssl tells it."""
    command = ["openssl", "x509", "-in", str(file), "-noout", "-fingerprint", "-sha256"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def shown(port: int) -> str:
    """The fingerprint of what a server shows. Empty where it shows none."""
    client = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, capture_output=True
    )
    command = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    return subprocess.run(command, input=client.stdout, capture_output=True).stdout.decode().strip()
