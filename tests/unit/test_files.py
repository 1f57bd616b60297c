"""Is a file that cannot be read refused, whatever stands in its place, without waiting and without a trace?"""

import os
import pty
from pathlib import Path

import pytest

from agent import files
from bpfleet.errors import SettingsError


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    content = b"\xff" * files.MAX_BYTES
    (tmp_path / "file").write_bytes(content)
    assert files.read(tmp_path / "file") == content
    assert files.read(Path("/dev/null")) == b""


def test_what_is_no_file_is_refused_and_no_descriptor_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * (files.MAX_BYTES + 1))
    terminal, other = pty.openpty()
    before = os.listdir("/proc/self/fd")
    for path, why in (
        (tmp_path, "Is a directory"),
        (tmp_path / "pipe", "it is a pipe"),
        (Path(os.ttyname(other)), "a terminal"),
        (tmp_path / "large", "is it the right file"),
        (tmp_path / "absent", "No such file"),
        (tmp_path / "large" / "below", "Not a directory"),
    ):
        with pytest.raises(SettingsError, match=why):
            files.read(path)
    assert os.listdir("/proc/self/fd") == before
    os.close(terminal)
    os.close(other)


def test_a_name_cannot_move_the_cursor(tmp_path: Path) -> None:
    assert files.named(tmp_path) == str(tmp_path)
    assert "\x1b" not in files.named(Path("\x1b[2J"))
