"""Programs that say themselves what they were started as."""

import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent


class Said(NamedTuple):
    """pid, parent: of the namespace that /proc is of; vpid: of its own. file: what /proc/self/exe led to."""

    pid: int
    vpid: int
    parent: int
    uid: int
    arguments: int
    argument_bytes: int
    file: str


def compiled(folder: Path) -> Path:
    """The folder, with `witness` and `nothing` in it, which anybody may start."""
    for name, flags in (("witness", ()), ("nothing", ("-nostdlib",))):
        source = HERE / f"exec_{name}.c"
        subprocess.run(["cc", "-static", "-O1", *flags, "-o", str(folder / name), str(source)], check=True)
    for place in (folder, *folder.parents[:2]):
        place.chmod(place.stat().st_mode | 0o055)
    return folder


def read(line: str) -> Said:
    *numbers, file = line.strip().removesuffix(".").split(" ")
    pid, vpid, parent, uid, arguments, argument_bytes = map(int, numbers)
    return Said(pid, vpid, parent, uid, arguments, argument_bytes, bytes.fromhex(file).decode(errors="surrogateescape"))
