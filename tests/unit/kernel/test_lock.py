import subprocess
import sys
from pathlib import Path

import pytest

from agent.kernel.lock import Lock
from bpfleet.errors import HostError

HOLD = "import sys; sys.path.insert(0, sys.argv[2])\nfrom agent.kernel.lock import Lock\n"
HOLD += "held = Lock(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_the_second_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with Lock(str(tmp_path)):
        with pytest.raises(HostError, match="another bpfleet agent runs on this node"):
            Lock(str(tmp_path))
    Lock(str(tmp_path)).close()


def test_letting_go_twice_is_harmless(tmp_path: Path) -> None:
    lock = Lock(str(tmp_path))
    lock.close()
    lock.close()
    Lock(str(tmp_path)).close()


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    source = str(Path(__file__).parents[3] / "src")
    command = [sys.executable, "-c", HOLD, str(tmp_path), source]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdout.readline() == "held\n"
        with pytest.raises(HostError, match="another"):
            Lock(str(tmp_path))
        other.kill()
        other.wait()
        Lock(str(tmp_path)).close()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="absent: No such file"):
        Lock(str(tmp_path / "absent"))
