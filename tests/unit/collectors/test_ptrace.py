import struct

import pytest
from tests.unit.security.process_records import CGROUP_ID, PARTS, TIME_NS, process

from agent.collectors.ptrace import Ptrace, decode
from agent.security import processes
from agent.security.orders import Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.events import SECURITY_PTRACE
from bpfleet.testing import FakeMaps, events, samples

TRACER = process(PARTS | {processes.TARGET: (b"nginx",)})
ATTACH, SEIZE, TRACEME = 16, 0x4206, 0


def record(result: int = 0, request: int = ATTACH, pid: int = 4711, vpid: int = 7, process: bytes = TRACER) -> bytes:
    return struct.pack("=qQIIII", result, 91 if pid else 0, request, pid, vpid, 0) + process


def test_who_traces_whom_is_told() -> None:
    event = decode(record())
    assert event[:3] == (SECURITY_PTRACE, TIME_NS, CGROUP_ID)
    assert event.attributes == {
        **processes.decode(TRACER).attributes,
        "bpfleet.ptrace.request": "attach",
        "bpfleet.ptrace.target.pid": 4711,
        "bpfleet.ptrace.target.vpid": 7,
        "bpfleet.ptrace.target.cgroup_id": 91,
        "bpfleet.ptrace.target.name": "nginx",
    }


@pytest.mark.parametrize(("request_", "name"), [(SEIZE, "seize"), (TRACEME, "traceme"), (4, "unknown(4)")])
def test_requests_have_their_names(request_: int, name: str) -> None:
    assert decode(record(request=request_)).attributes["bpfleet.ptrace.request"] == name


def test_of_a_process_that_is_not_there_the_number_that_was_given_is_told() -> None:
    attributes = decode(record(-3, pid=0, process=process())).attributes
    assert {name: value for name, value in attributes.items() if "target" in name} == {"bpfleet.ptrace.target.vpid": 7}
    assert attributes["error.type"] == "ESRCH"


def test_a_record_that_is_cut_anywhere_is_refused() -> None:
    whole = record()
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    decode(whole)


def test_who_is_watched_is_what_the_orders_say() -> None:
    maps = FakeMaps()
    assert Ptrace().steer(maps, Orders({"ptrace": {23: Watch(10, 50)}})) == 0
    assert maps.replaced == {"ptrace_watches": {struct.pack("=Q", 23): (100_000_000, 5_000_000_000, 0)}}


def test_what_is_told_is_delivered_and_what_is_not_is_counted() -> None:
    maps = FakeMaps(records={"ptraces": [record()]}, rows={"ptrace_suppressed": [(struct.pack("=Q", 23), (7,))]})
    assert [event.name for event in events(Ptrace(), maps)] == [SECURITY_PTRACE]
    assert maps.delivered == {"ptrace": 1}
    assert samples(Ptrace(), maps) == [Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("ptrace",))]
