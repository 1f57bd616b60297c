"""How many heaps does glibc keep for threads that allocate? Witness: its own malloc_info(3)."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import ctypes, sys, threading
from agent.memory import share_one_heap
if sys.argv[1] == "one":
    assert share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
meet = threading.Barrier(5)

def work():
    libc.malloc(100_000)
    meet.wait()
    meet.wait()

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
meet.wait()
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
meet.wait()
"""


def heaps(how: str, folder: Path) -> int:
    said = folder / how
    subprocess.run([sys.executable, "-c", SCRIPT, how, str(said)], check=True)
    return said.read_text().count("<heap ")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library has no choice of heaps")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    assert heaps("one", tmp_path) == 1
    assert heaps("many", tmp_path) > 1
