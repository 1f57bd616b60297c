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
SMALL = (
    "--aptopt=Acquire::Languages none",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
BASE = ("--variant=minbase", *SMALL, "--customize-hook=rm -rf $1/var/lib/apt/lists/* $1/var/cache/apt/* $1/var/log/*")


def cache() -> Path:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpfleet-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def base_archive() -> Path:
    """The root of the smallest Debian, as a tar: what an image `debian:trixie-slim` is, byte by byte another one."""
    return _kept("base.tar", BASE)


def unpacked(*packages: str) -> Path:
    """A directory with the files of packages and of all they depend on. Nothing of them is configured or runs."""
    return _kept(packages[0], ("--variant=extract", f"--include={','.join(packages)}", *SMALL))


def _kept(name: str, options: Sequence[str]) -> Path:
    """Made once. A name that ends in .tar is an archive, another one a directory."""
    digest = hashlib.sha256(" ".join((RELEASE, *options)).encode()).hexdigest()[:12]
    kept = cache() / f"{digest}-{name}"
    if not kept.exists():
        folder = Path(tempfile.mkdtemp(dir=cache()))
        try:
            _mmdebstrap(*options, RELEASE, str(folder / name))
            (folder / name).rename(kept)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return kept


def _mmdebstrap(*arguments: str) -> None:
    """Raises OSError in one line."""
    said = subprocess.run(
        ["mmdebstrap", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if said.returncode:
        reason = next((line for line in said.stderr.splitlines() if line.startswith("E:")), said.stderr[-200:])
        raise OSError(f"Debian's packages cannot be had here: {reason}")
