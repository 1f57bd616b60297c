"""Debian's packages for tests, without installing them: a base image, and Docker of a release that knows CAP_BPF.

Kept in the user's cache, because they take half a minute to make and do not depend on the project.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

RELEASE = "trixie"
SECONDS = 300.0
DOCUMENTATION = "--dpkgopt=path-exclude=/usr/share/doc/*"
SMALL = ("--aptopt=Acquire::Languages none", DOCUMENTATION, "--dpkgopt=path-exclude=/usr/share/man/*")


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfleet-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_archive() -> Path:
    """The root of the smallest Debian, as a tar: what an image `debian:trixie-slim` is, byte by byte another one."""
    archive = cache() / f"{RELEASE}.tar"
    if not archive.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as folder:
            made = Path(folder) / archive.name
            _mmdebstrap("--variant=minbase", *SMALL, RELEASE, str(made))
            made.rename(archive)
    return archive


def unpacked(*packages: str) -> Path:
    """A directory with the files of packages and of all they depend on. Nothing of them is configured or runs."""
    digest = hashlib.sha256(" ".join((RELEASE, *packages)).encode()).hexdigest()[:12]
    root = cache() / f"{packages[0]}-{digest}"
    if not root.exists():
        folder = Path(tempfile.mkdtemp(dir=cache()))
        try:
            _mmdebstrap("--variant=extract", f"--include={','.join(packages)}", *SMALL, RELEASE, str(folder / "root"))
            (folder / "root").rename(root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return root


def _mmdebstrap(*arguments: str) -> None:
    """Raises OSError in one line."""
    said = _run(["mmdebstrap", "--quiet", *arguments])
    if said.returncode:
        reason = next((line for line in said.stderr.splitlines() if line.startswith("E:")), said.stderr[-200:])
        raise OSError(f"Debian's packages cannot be had here: {reason}")


def _run(argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
