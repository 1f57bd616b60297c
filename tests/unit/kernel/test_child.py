"""The parent's end, with interpreters that are not what was hoped for."""

import os
import stat
from pathlib import Path

import pytest

from agent.kernel.child import Child, LoaderGone
from bpfleet.errors import HostError

HELLO = """#!/usr/bin/env python3
import json, os, socket, struct, sys
channel = socket.socket(fileno=int(sys.argv[3]))
def say(answer):
    data = json.dumps(answer).encode()
    channel.sendall(struct.pack("=I", len(data)) + data)
def hear():
    size, = struct.unpack("=I", channel.recv(4, socket.MSG_WAITALL))
    return json.loads(channel.recv(size, socket.MSG_WAITALL))
"""


def interpreter(path: Path, text: str) -> str:
    """A program in Python's place; it is started with -I, the loader's path, a socket and our pid."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_an_interpreter_that_is_not_there_is_named() -> None:
    with pytest.raises(HostError, match="cannot start /nowhere/python3: No such file"):
        Child("/nowhere/python3").__enter__()


def test_an_interpreter_without_bcc_says_what_to_install(tmp_path: Path) -> None:
    hides_bcc = "#!/bin/sh\nexec /usr/bin/env python3 -c \"import sys; sys.modules['bcc'] = None\n"
    hides_bcc += (
        'import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name=\'__main__\')" "$2" $3 $4\n'
    )
    with pytest.raises(HostError, match="has no BCC .*apt install python3-bpfcc"):
        Child(interpreter(tmp_path / "python3", hides_bcc)).__enter__()


def test_the_last_words_of_a_child_that_dies_are_kept(tmp_path: Path) -> None:
    with pytest.raises(LoaderGone, match="ended with status 3: out of luck"):
        Child(interpreter(tmp_path / "python3", "#!/bin/sh\necho first; echo out of luck >&2; exit 3\n")).__enter__()


def test_a_child_that_dies_at_work_is_told_from_one_that_refuses(tmp_path: Path) -> None:
    text = HELLO + "say({}); hear(); say({'error': 'no'}); hear(); os.abort()\n"
    with Child(interpreter(tmp_path / "python3", text)) as child:
        assert child.ask("compile", text="a") == {"error": "no"}
        with pytest.raises(LoaderGone, match="ended with status -6"):
            child.ask("compile", text="b")


def test_descriptors_come_over_by_name_in_as_many_messages_as_it_takes(tmp_path: Path) -> None:
    text = HELLO + (
        "say({}); hear(); say({'names': [f'map:{n}' for n in range(5)]})\n"
        "made = [os.memfd_create(str(n)) for n in range(5)]\n"
        "for n, fd in enumerate(made): os.write(fd, str(n).encode())\n"
        "for some in (made[:3], made[3:]): socket.send_fds(channel, [b'F'], some)\n"
        "channel.recv(1)\n"
    )
    with Child(interpreter(tmp_path / "python3", text)) as child:
        received = child.hand_over()
    assert list(received) == [f"map:{number}" for number in range(5)]
    for number, descriptor in enumerate(received.values()):
        assert os.pread(descriptor, 9, 0) == str(number).encode()
        assert not os.get_inheritable(descriptor)
        os.close(descriptor)
