"""The kernels of the matrix: the newest that Debian serves of each series, unpacked, nothing installed."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from matrix.archive import Archive, Unavailable

SERIES = ("5.10", "6.1", "6.12", "6.18", "7.2")
"""Debian's 11, 12, 13 and its backports: the floor, what most nodes run, and the newest."""


@dataclass(frozen=True)
class Kernel:
    """series: e.g. 5.10. image: what boots. modules: the directory that is named like the release."""

    series: str
    image: Path
    modules: Path

    @property
    def release(self) -> str:
        return self.modules.name


def kernel(series: str, folder: Path, archive: Archive, refresh: bool = False) -> Kernel:
    """From `folder`, and from the archive where it is not there yet. Raises Unavailable."""
    place = folder / series
    if refresh or not place.is_dir():
        archive.update()
        partial = folder / f"{series}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        archive.unpack(packages(series, archive), partial)
        shutil.rmtree(place, ignore_errors=True)
        partial.rename(place)
    return _unpacked(series, place)


def packages(series: str, archive: Archive) -> list[str]:
    """The kernel for virtual machines: small, and as Debian configures all of them. Since 7.0 its image and modules are
    packages of their own."""
    pattern = rf"linux-(image|binary|modules)-({re.escape(series)}\.[\w.+-]*-cloud-amd64)"
    found: dict[str, list[str]] = {}
    for name in archive.matching(pattern):
        parts = re.fullmatch(pattern, name)
        assert parts
        found.setdefault(parts[2], []).append(name)
    if not found:
        raise Unavailable(f"the Debian mirror serves no kernel of series {series}")
    return found[max(found, key=lambda version: [int(number) for number in re.findall(r"\d+", version)])]


def _unpacked(series: str, place: Path) -> Kernel:
    """Before 7.0 the image is in /boot; since, beside its modules."""
    images = [*place.glob("boot/vmlinuz-*"), *place.glob("usr/lib/modules/*/vmlinuz")]
    modules = [*place.glob("lib/modules/*"), *place.glob("usr/lib/modules/*")]
    if len(images) != 1 or len(modules) != 1:
        raise Unavailable(f"{place} does not hold one kernel; remove it")
    return Kernel(series, images[0], modules[0])
