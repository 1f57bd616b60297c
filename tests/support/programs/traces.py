"""Traces another process, or asks its parent to trace it, and says what became of it: one JSON object.

Usage: traces.py attach|seize|traceme [PID] [UID]
"""

import ctypes
import errno
import json
import os
import sys

REQUESTS = {"traceme": 0, "attach": 16, "seize": 0x4206}
DETACH = 17


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    request, process = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    if len(sys.argv) > 3:
        os.setuid(int(sys.argv[3]))
    failed = libc.ptrace(REQUESTS[request], process, None, None)
    error = errno.errorcode[ctypes.get_errno()] if failed else ""
    if not failed and request == "attach":
        os.waitpid(process, 0)
        libc.ptrace(DETACH, process, None, None)
    print(json.dumps({"pid": os.getpid(), "error": error}))


if __name__ == "__main__":
    main()
