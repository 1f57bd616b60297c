"""Which files may run with the agent's rights? On a real file system: modes and owners are the kernel's business."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.agents import REPOSITORY

from agent.plugins.trust import problem

ME = os.geteuid()
ROOT_ONLY = pytest.mark.skipif(ME != 0, reason="needs root")
NOBODY = 65534
READ_ONLY = (
    'mount -t tmpfs -o mode=0777 none "$0" && touch "$0/a.py" && chmod 666 "$0/a.py" && mount -o remount,ro "$0"'
)
ASK = f"from agent.plugins.trust import problem; from pathlib import Path; print(repr(problem(Path('%s'), {ME})))"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "plugins" / "a.py"
    made.parent.mkdir(mode=0o755)
    made.write_text("")
    made.chmod(0o644)
    return made


def test_what_only_its_owner_can_write_is_trusted(file: Path) -> None:
    assert problem(file) == ""


@pytest.mark.parametrize("mode", [0o646, 0o664, 0o666])
def test_a_file_that_others_can_write_is_not(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert problem(file) == f"{file} can be written by others (mode {mode:04o})"


def test_nor_is_one_in_a_directory_where_others_can_put_another_in_its_place(file: Path) -> None:
    file.parent.chmod(0o777)
    assert problem(file) == f"{file.parent} can be written by others (mode 0777)"
    file.parent.chmod(0o1777)  # sticky, like /tmp: nobody can remove what is another's
    assert problem(file) == ""


def test_a_directory_above_counts_as_well(file: Path) -> None:
    deeper = file.parent / "deeper" / "b.py"
    deeper.parent.mkdir()
    deeper.write_text("")
    file.parent.chmod(0o775)
    assert problem(deeper) == f"{file.parent} can be written by others (mode 0775)"


def test_what_a_symbolic_link_leads_to_counts_and_so_does_the_place_where_the_link_is(file: Path) -> None:
    elsewhere = file.parents[1] / "elsewhere"
    elsewhere.mkdir()
    link = elsewhere / "a.py"
    link.symlink_to(Path("..", "plugins", "a.py"))
    assert problem(link) == ""
    elsewhere.chmod(0o777)
    assert problem(link) == f"{elsewhere} can be written by others (mode 0777)"
    elsewhere.chmod(0o755)
    file.parent.chmod(0o777)
    assert "can be written by others (mode 0777)" in problem(link)


def test_links_in_a_circle_are_no_file(file: Path) -> None:
    link = file.with_name("b.py")
    link.symlink_to("b.py")
    with pytest.raises(OSError, match="symbolic links"):
        problem(link)


def test_what_is_not_there_is_no_file(file: Path) -> None:
    with pytest.raises(FileNotFoundError):
        problem(file.with_name("b.py"))


@ROOT_ONLY
def test_another_users_file_is_refused_unless_that_is_the_agents_user(file: Path) -> None:
    os.chown(file, NOBODY, NOBODY)
    assert problem(file) == f"{file} belongs to user {NOBODY}, not to root"
    assert problem(file, NOBODY) == ""


@ROOT_ONLY
def test_another_users_link_is_refused_who_could_turn_it_elsewhere_after_the_look(file: Path) -> None:
    """In a directory like /tmp, where it can be made and turned, to a file that is trusted now."""
    sticky = file.parents[1] / "sticky"
    sticky.mkdir()
    sticky.chmod(0o1777)
    link = sticky / "plugins"
    link.symlink_to(file.parent)
    assert problem(link / file.name) == ""
    os.lchown(link, NOBODY, NOBODY)
    assert problem(link / file.name) == f"{link} belongs to user {NOBODY}, not to root"


@ROOT_ONLY
def test_what_is_mounted_read_only_is_trusted_whatever_its_modes_say(tmp_path: Path) -> None:
    """As the kubelet mounts a ConfigMap."""
    asks = ASK % (tmp_path / "a.py")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{READ_ONLY} && exec "$@"', str(tmp_path), sys.executable, "-c", asks],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.stdout == "''\n", done.stderr
