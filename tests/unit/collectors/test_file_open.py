import os
import random
import struct

import pytest
from tests.unit.security.process_records import CGROUP_ID, PARTS, TIME_NS, process

from agent.collectors.file_open import UNKNOWN, FileOpen, decode, is_write, named_flags
from agent.security import processes
from agent.security.orders import Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.events import SECURITY_FILE_OPEN
from bpfleet.testing import FakeMaps, events, samples

OPENED = process(PARTS | {processes.FILE: (b"shadow", b"etc"), processes.GIVEN: (b"/etc/shadow",)})
FAILED = process(PARTS | {processes.DIRECTORY: (b"etc",), processes.GIVEN: (b"shadow",)})


def record(result: int = 3, flags: int = 0, call: int = 3, process: bytes = OPENED) -> bytes:
    return struct.pack("=qQQ", result, flags, call) + process


def test_an_open_is_told() -> None:
    event = decode(record(flags=os.O_WRONLY | os.O_CREAT))
    assert event[:3] == (SECURITY_FILE_OPEN, TIME_NS, CGROUP_ID)
    assert event.attributes == {
        **processes.decode(OPENED).attributes,
        "file.path": "/etc/shadow",
        "bpfleet.file.flags": "O_WRONLY|O_CREAT",
        "bpfleet.file.is_write": True,
        "bpfleet.syscall.name": "openat",
    }


def test_an_open_that_failed_is_told_with_its_error() -> None:
    attributes = decode(record(-13, process=FAILED)).attributes
    assert attributes["error.type"] == "EACCES"
    assert attributes["file.path"] == "/etc/shadow"
    assert attributes["bpfleet.file.given"] == "shadow"


def test_a_connection_is_told_as_an_open_for_both() -> None:
    socket = process(PARTS | {processes.FILE: (b"docker.sock", b"run"), processes.GIVEN: ()})
    attributes = decode(record(0, os.O_RDWR, 6, socket)).attributes
    assert attributes["file.path"] == "/run/docker.sock"
    assert (attributes["bpfleet.syscall.name"], attributes["bpfleet.file.is_write"]) == ("connect", True)
    assert not {"bpfleet.file.given", "error.type"} & set(attributes)


def test_a_result_that_is_not_known_is_left_out() -> None:
    attributes = decode(record(UNKNOWN, call=5)).attributes
    assert attributes["bpfleet.syscall.name"] == "io_uring"
    assert "error.type" not in attributes
    assert "bpfleet.syscall.name" not in decode(record(call=0)).attributes


@pytest.mark.parametrize(
    ("flags", "names", "writes"),
    [
        (os.O_RDONLY, "O_RDONLY", False),
        (os.O_RDONLY | os.O_TRUNC, "O_RDONLY|O_TRUNC", True),
        (os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, "O_RDWR|O_APPEND|O_CLOEXEC", True),
        (os.O_WRONLY | os.O_PATH, "O_WRONLY|O_PATH", False),
        (os.O_WRONLY | os.O_SYNC, "O_WRONLY|O_SYNC", True),
        (os.O_WRONLY | os.O_DSYNC, "O_WRONLY|O_DSYNC", True),
        (os.O_RDWR | os.O_TMPFILE, "O_RDWR|O_TMPFILE", True),
        (os.O_DIRECTORY, "O_RDONLY|O_DIRECTORY", False),
        (3, "O_ACCMODE", True),
        (1 << 40 | 1 << 31, f"O_RDONLY|{1 << 40 | 1 << 31:#o}", False),
    ],
)
def test_flags_have_their_names(flags: int, names: str, writes: bool) -> None:
    assert (named_flags(flags), is_write(flags)) == (names, writes)


def test_a_record_that_is_cut_anywhere_is_refused() -> None:
    whole = record()
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    decode(whole)


def test_any_bytes_are_decoded_or_refused() -> None:
    chance = random.Random(31)
    whole, refused = record(), 0
    for turn in range(20_000):
        data = bytearray(whole if turn % 4 else chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert decode(bytes(data)).name == SECURITY_FILE_OPEN
        except ValueError:
            refused += 1
    assert 0 < refused < 20_000


def test_who_is_watched_for_which_names_is_what_the_orders_say() -> None:
    maps = FakeMaps()
    orders = Orders({"file_open": {23: Watch(10, 50)}, "chmod": {29: Watch(1, 1)}}, {"file_open": frozenset([b"a"])})
    assert FileOpen().steer(maps, orders) == 0
    assert maps.replaced == {
        "file_open_names": {b"a".ljust(32, b"\0"): (1,)},
        "file_open_watches": {struct.pack("=Q", 23): (100_000_000, 5_000_000_000, 0)},
    }
    assert FileOpen().steer(maps, Orders()) == 0
    assert maps.replaced == {"file_open_names": {}, "file_open_watches": {}}


def test_what_is_told_is_delivered_and_what_is_not_is_counted() -> None:
    rows = {"file_open_suppressed": [(struct.pack("=Q", 23), (7,))]}
    maps = FakeMaps(records={"file_opens": [record(), record()]}, rows=rows)
    assert [event.name for event in events(FileOpen(), maps)] == [SECURITY_FILE_OPEN] * 2
    assert maps.delivered == {"file_open": 2}
    assert samples(FileOpen(), maps) == [Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("file_open",))]
