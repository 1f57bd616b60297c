"""Who else could change a file that the agent, with its rights, is about to run?

Nobody but root and the agent's own user may be able to write it, or any directory on the way to it. A file system that
is mounted read-only here (a ConfigMap is, whatever its modes say) cannot be written through this path at all.
"""

import os
import stat
from pathlib import Path

OTHERS = stat.S_IWGRP | stat.S_IWOTH
MAX_LINKS = 40
"""As the kernel follows (ELOOP)."""


def problem(path: Path, user: int | None = None) -> str:
    """Why this file must not be run; empty if it may. user: the agent's. Raises OSError where it is not there."""
    allowed = {0, os.geteuid() if user is None else user}
    for place in _way(path.absolute()):
        said = _said_of(place, allowed)
        if said:
            return said
    return ""


def _way(path: Path, links: int = 0) -> list[Path]:
    """Every directory on the way, the file, and the same for symbolic links on the way and what they lead to."""
    places: list[Path] = []
    for place in (*reversed(path.parents), path):
        if place.is_symlink():
            if links >= MAX_LINKS:
                raise OSError(f"{path}: too many symbolic links")
            target = place.parent / os.readlink(place)
            places += [place, *_way(target, links + 1)]
        else:
            places.append(place)
    return list(dict.fromkeys(places))


def _said_of(place: Path, allowed: set[int]) -> str:
    found = os.lstat(place)
    is_link = stat.S_ISLNK(found.st_mode)  # it has no mode of its own; who owns it may turn it anywhere
    if os.statvfs(place.parent if is_link else place).f_flag & os.ST_RDONLY:
        return ""
    if found.st_uid not in allowed:
        return f"{place} belongs to user {found.st_uid}, not to root"
    is_sticky_directory = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
    if found.st_mode & OTHERS and not is_sticky_directory and not is_link:
        return f"{place} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""
