"""Debian packages of several releases, by an apt of its own: its sources are this machine's Debian mirror with other
suites, and apt checks what it fetches. Nothing is installed, and the machine's own apt is not touched."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SUITES = ("bullseye", "bookworm", "trixie", "trixie-backports")
SECURITY_SUITES = ("bullseye-security", "bookworm-security", "trixie-security")


class Unavailable(Exception):
    """What the matrix needs is not to be had here; the message says what."""


class Archive:
    """folder: where its lists and packages are kept. architecture: Debian's name of it."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self._folder = folder
        self._architecture = architecture
        self._is_updated = False
        self.sources = folder / "sources.list"

    def update(self) -> None:
        """Fetch the lists of all suites, once. Raises Unavailable."""
        if self._is_updated:
            return
        for part in ("lists/partial", "archives/partial"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        main, security = mirrors()
        signed = f"[arch={self._architecture} signed-by={KEYRING}]"
        lines = [f"deb {signed} {main} {suite} main" for suite in SUITES]
        lines += [f"deb {signed} {security} {suite} main" for suite in SECURITY_SUITES if security]
        self.sources.write_text("\n".join([*lines, ""]))
        self._apt("apt-get", "update", "-qq")
        self._is_updated = True

    def matching(self, pattern: str) -> list[str]:
        """Names of packages that match a regular expression as a whole."""
        names = [line.split(" ", 1)[0] for line in self._apt("apt-cache", "search", "--names-only", ".").splitlines()]
        return [name for name in names if re.fullmatch(pattern, name)]

    def unpack(self, packages: list[str], into: Path) -> None:
        downloads = self._folder / "archives"
        self._apt("apt-get", "download", "-qq", *packages, where=downloads)
        for package in packages:
            (file,) = downloads.glob(f"{package}_*.deb")
            run("dpkg-deb", "-x", str(file), str(into))
            file.unlink()

    def _apt(self, command: str, *arguments: str, where: Path | None = None) -> str:
        folder = self._folder
        options = {
            "Dir::Etc::SourceList": self.sources,
            "Dir::Etc::SourceParts": "-",
            "Dir::State::Lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder,
            "APT::Architecture": self._architecture,
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        }
        return run(command, *(f"-o{name}={value}" for name, value in options.items()), *arguments, where=where)


def mirrors() -> tuple[str, str]:
    """Where this machine's apt has Debian from, and Debian's security updates (empty if it has none)."""
    found = {"Debian": "", "Debian-Security": ""}
    listed = run("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages")
    for line in listed.splitlines():
        label, _, address = line.partition(" ")
        if label in found and not found[label]:
            found[label] = address
    if not found["Debian"]:
        raise Unavailable("this machine's apt knows no Debian mirror (or has not been updated)")
    return found["Debian"], found["Debian-Security"]


def run(*command: str, where: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Its output. Raises Unavailable with the last line of what it complained of."""
    try:
        done = subprocess.run(
            command, cwd=where, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise Unavailable(f"not installed: {command[0]}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise Unavailable(f"{command[0]}: {said[-1]}")
    return done.stdout
