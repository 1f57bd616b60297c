import errno
import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sinks.appending import PIPE_BUF, Appending

LINES = [b"%06d\n" % number for number in range(100_000)]

TO_STANDARD_OUTPUT = """
import sys
from agent.sinks.appending import Appending
output, lines = Appending("-"), [b"line %d\\n" % number for number in range(5)]
sys.stderr.write("log\\n")
sys.stderr.flush()
try:
    print(output.append(lines), file=sys.stderr, flush=True)
    print(output.append(lines), file=sys.stderr, flush=True)
except OSError as error:
    print("errno", error.errno, file=sys.stderr)
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def reader(fifo: Path) -> Iterator[int]:
    """Of the named pipe, without waiting."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def read_all(descriptor: int) -> bytes:
    data = b""
    while True:
        try:
            part = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            return data
        if not part:
            return data
        data += part


def test_a_file_gets_all_at_once_behind_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"older\n")
    output = Appending(str(path))
    assert output.append(LINES) == len(LINES)
    output.close()
    assert path.read_bytes() == b"older\n" + b"".join(LINES)


def test_a_new_file_is_not_for_everybody(tmp_path: Path) -> None:
    output = Appending(str(tmp_path / "file"))
    output.append([b"x\n"])
    output.close()
    assert (tmp_path / "file").stat().st_mode & 0o007 == 0


def test_a_pipe_gets_whole_lines_until_it_is_full_and_goes_on_when_it_is_read(fifo: Path, reader: int) -> None:
    output = Appending(str(fifo))
    told = output.append(LINES)
    size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    assert size - len(LINES[0]) < told * len(LINES[0]) <= size
    while more := output.append(LINES[told:]):
        told += more
    received = read_all(reader)
    assert received == b"".join(LINES[:told])
    again = output.append(LINES[told:])
    assert again and read_all(reader) == b"".join(LINES[told : told + again])
    output.close()


def test_what_goes_into_a_pipe_that_holds_something_is_at_most_what_goes_in_at_once(fifo: Path, reader: int) -> None:
    output = Appending(str(fifo))
    assert output.append(LINES[:1]) == 1
    assert output.append(LINES) == PIPE_BUF // len(LINES[0])
    output.close()


def test_a_line_longer_than_a_pipe_arrives_in_parts(fifo: Path, reader: int) -> None:
    size = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    long, output, received = b"x" * (3 * size) + b"\n", Appending(str(fifo)), b""
    told = 0
    while told < 2:
        told += output.append([long, b"short\n"][told:])
        received += read_all(reader)
    assert received == long + b"short\n"
    output.close()


def test_a_pipe_that_nobody_reads_is_refused_until_somebody_does(fifo: Path) -> None:
    output = Appending(str(fifo))
    with pytest.raises(OSError) as caught:
        output.append([b"lost\n"])
    assert caught.value.errno == errno.ENXIO
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert output.append([b"told\n"]) == 1
    assert read_all(descriptor) == b"told\n"
    os.close(descriptor)
    with pytest.raises(BrokenPipeError):
        output.append([b"lost\n"])


LINE = b"%0999d\n" % 23


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """As on a full disk: the kernel takes a part, and refuses the rest."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_may_not_grow_is_cut_back_to_its_last_whole_line(tmp_path: Path) -> None:
    path, output = tmp_path / "file", Appending(str(tmp_path / "file"))
    with room_for(10_500):
        assert output.append([LINE] * 30) == 10
        with pytest.raises(OSError) as caught:
            output.append([LINE] * 20)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == LINE * 10
    assert output.append([b"room\n"]) == 1
    output.close()
    assert path.read_bytes() == LINE * 10 + b"room\n"


def test_a_file_that_is_closed_while_a_line_is_half_out_is_cut_back_too(tmp_path: Path) -> None:
    path, output = tmp_path / "file", Appending(str(tmp_path / "file"))
    with room_for(10_500):
        assert output.append([LINE] * 30) == 10
    assert path.stat().st_size == 10_500
    output.close()
    assert path.read_bytes() == LINE * 10


def to_standard_output(**options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", TO_STANDARD_OUTPUT], text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


TEXT = "".join(f"line {number}\n" for number in range(5))


def test_standard_output_as_a_pipe() -> None:
    done = to_standard_output(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert (done.stdout, done.stderr) == (2 * TEXT, "log\n5\n5\n")


def test_standard_output_as_a_file_that_the_log_goes_to_as_well(tmp_path: Path) -> None:
    """Opened once for both, not for appending: nobody may overwrite anybody."""
    with (tmp_path / "both").open("w+") as both:
        to_standard_output(stdout=both, stderr=both)
    assert (tmp_path / "both").read_text() == f"log\n{TEXT}5\n{TEXT}5\n"


def test_standard_output_as_a_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = to_standard_output(stdout=theirs, stderr=subprocess.PIPE)
        assert done.stderr == "log\n5\n5\n"
        assert ours.recv(1 << 16).decode() == 2 * TEXT


def test_standard_output_that_is_closed_is_refused_and_no_other_file_is_written_to(tmp_path: Path) -> None:
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, TO_STANDARD_OUTPUT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == f"log\nerrno {errno.EBADF}\n"


def test_the_readers_end_of_standard_output_keeps_its_mode() -> None:
    """That it does not wait is a matter between us and the pipe: others who write there do."""
    ours, theirs = os.pipe()
    to_standard_output(stdout=theirs, stderr=subprocess.DEVNULL)
    assert os.get_blocking(theirs)
    os.close(ours)
    os.close(theirs)
