import struct

import pytest
from tests.unit.security.process_records import CGROUP_ID, PARTS, TIME_NS, process

from agent.collectors.chmod import UNKNOWN, Chmod, decode
from agent.security import processes
from agent.security.orders import Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.events import SECURITY_CHMOD
from bpfleet.testing import FakeMaps, events, samples

CHANGED = process(PARTS | {processes.FILE: (b"su", b"bin")})


def record(result: int = 0, call: int = 2, mode: int = 0o4755, old: int = 0o755, process: bytes = CHANGED) -> bytes:
    return struct.pack("=qIHH", result, call, mode, old) + process


def test_a_change_is_told_with_both_modes() -> None:
    event = decode(record())
    assert event[:3] == (SECURITY_CHMOD, TIME_NS, CGROUP_ID)
    assert event.attributes == {
        **processes.decode(CHANGED).attributes,
        "file.path": "/bin/su",
        "file.mode": "4755",
        "bpfleet.file.mode.old": "0755",
        "bpfleet.file.is_setuid": True,
        "bpfleet.file.is_setgid": False,
        "bpfleet.syscall.name": "fchmod",
    }


@pytest.mark.parametrize(
    ("mode", "old", "setuid", "setgid"),
    [
        (0o4755, UNKNOWN, True, False),
        (0o2755, UNKNOWN, False, True),
        (0o6755, 0o4755, False, True),
        (0o6755, 0o6711, False, False),
        (0o755, 0o6755, False, False),
        (0o7, UNKNOWN, False, False),
    ],
)
def test_what_was_there_before_is_not_set_anew(mode: int, old: int, setuid: bool, setgid: bool) -> None:
    attributes = decode(record(mode=mode, old=old)).attributes
    assert (attributes["bpfleet.file.is_setuid"], attributes["bpfleet.file.is_setgid"]) == (setuid, setgid)
    assert ("bpfleet.file.mode.old" in attributes) == (old != UNKNOWN)
    assert attributes["file.mode"] == f"{mode:04o}"


def test_a_change_that_failed_is_told_with_its_error() -> None:
    attributes = decode(record(result=-1, call=0)).attributes
    assert attributes["error.type"] == "EPERM"
    assert "bpfleet.syscall.name" not in attributes


def test_a_record_that_is_cut_anywhere_is_refused() -> None:
    whole = record()
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    decode(whole)


def test_who_is_watched_for_which_names_is_what_the_orders_say() -> None:
    maps = FakeMaps()
    assert Chmod().steer(maps, Orders({"chmod": {23: Watch(10, 50)}}, {"chmod": frozenset([b""])})) == 0
    assert maps.replaced == {
        "chmod_names": {bytes(32): (1,)},
        "chmod_watches": {struct.pack("=Q", 23): (100_000_000, 5_000_000_000, 0)},
    }


def test_what_is_told_is_delivered_and_what_is_not_is_counted() -> None:
    maps = FakeMaps(records={"chmods": [record()]}, rows={"chmod_suppressed": [(struct.pack("=Q", 23), (7,))]})
    assert [event.name for event in events(Chmod(), maps)] == [SECURITY_CHMOD]
    assert maps.delivered == {"chmod": 1}
    assert samples(Chmod(), maps) == [Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("chmod",))]
