"""Changes modes by the system calls that it is told, and says what became of each: one JSON list.

Usage: modes.py '[{"call": "fchmodat2", "path": "file", "directory": "/x", "mode": 2541, "flags": 0, "as": 65534}, ...]'
directory: of a descriptor that the path is relative to. Modes before and after are those of stat(2).
"""

import ctypes
import errno
import json
import os
import platform
import stat
import sys

NUMBERS = {"chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452}
if platform.machine() == "aarch64":
    NUMBERS = {"fchmod": 52, "fchmodat": 53, "fchmodat2": 452}
AT_FDCWD = -100


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    said = []
    for asked in json.loads(sys.argv[1]):
        call, path, mode = asked["call"], os.fsencode(asked["path"]), asked["mode"]
        whole = os.path.join(asked.get("directory", "."), asked["path"])
        directory = os.open(asked["directory"], os.O_PATH) if asked.get("directory") else AT_FDCWD
        file = os.open(path, os.O_RDONLY) if call == "fchmod" else -1
        before = modes(whole)
        if asked.get("as"):
            os.setresuid(asked["as"], asked["as"], 0)
        arguments = {
            "chmod": (path, mode),
            "fchmod": (file, mode),
            "fchmodat": (directory, path, mode),
            "fchmodat2": (directory, path, mode, asked.get("flags", 0)),
        }[call]
        failed = libc.syscall(NUMBERS[call], *arguments)
        error = errno.errorcode[ctypes.get_errno()] if failed else ""
        if asked.get("as"):
            os.setresuid(0, 0, 0)
        said.append({"call": call, "path": os.path.realpath(whole), "old": before, "new": modes(whole), "error": error})
        for descriptor in (file, directory):
            if descriptor >= 0:
                os.close(descriptor)
    print(json.dumps(said))


def modes(path: str) -> str:
    try:
        return f"{stat.S_IMODE(os.stat(path).st_mode):04o}"
    except OSError:
        return ""


if __name__ == "__main__":
    main()
