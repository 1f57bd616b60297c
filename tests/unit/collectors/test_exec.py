import random
import shlex
import struct

import pytest
from tests.unit.security.process_records import CGROUP_ID, PARTS, TIME_NS, process

from agent.collectors.exec import Exec, decode
from agent.security import processes
from agent.security.orders import Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.events import SECURITY_EXEC
from bpfleet.testing import FakeMaps, events, samples

ARGUMENTS = b"sh\0-c\0echo 'a b'\0"
NESTED = PARTS | {processes.SCRIPT: (b"/srv/run.sh",), processes.INTERPRETER: (b"/bin/sh",)}
BESIDE = PARTS | {
    processes.SCRIPT: (b"./run.sh",),
    processes.INTERPRETER: (b"/bin/sh",),
    processes.DIRECTORY: (b"app", b"srv"),
}


def record(arguments: bytes = ARGUMENTS, total: int | None = None, process: bytes = process()) -> bytes:
    return struct.pack("=QQ", len(arguments) if total is None else total, len(arguments)) + process + arguments


def test_an_exec_is_told_with_its_arguments() -> None:
    event = decode(record())
    assert event[:3] == (SECURITY_EXEC, TIME_NS, CGROUP_ID)
    assert event.flow is None
    assert event.attributes == {
        **processes.decode(process()).attributes,
        "process.command_line": "sh -c 'echo '\"'\"'a b'\"'\"''",
    }
    assert shlex.split(str(event.attributes["process.command_line"])) == ["sh", "-c", "echo 'a b'"]


def test_of_many_arguments_the_beginning_and_the_size_are_told() -> None:
    attributes = decode(record(b"many\0" + b"a" * 1019, total=2_200_025)).attributes
    assert attributes["process.command_line"] == "many " + "a" * 1019
    assert attributes["bpfleet.process.arguments.size"] == 2_200_025


def test_the_size_is_told_where_quotes_make_the_line_too_long_for_a_record() -> None:
    assert "bpfleet.process.arguments.size" not in decode(record(b"a\0" + b"x" * 1_000)).attributes
    assert decode(record(b"a\0" + b"'" * 1_000)).attributes["bpfleet.process.arguments.size"] == 1_002


def test_arguments_that_could_not_be_read_are_told_by_their_size() -> None:
    attributes = decode(record(b"", total=17)).attributes
    assert "process.command_line" not in attributes
    assert attributes["bpfleet.process.arguments.size"] == 17
    assert not {"process.command_line", "bpfleet.process.arguments.size"} & set(decode(record(b"")).attributes)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (b"\0", [""]),
        (b"a\0\0b\0", ["a", "", "b"]),
        (b"a\0\0", ["a", ""]),
        (b"a\0b", ["a", "b"]),
        (b"\xff\x1b[31m\0$(reboot)\0", ["\\xff\x1b[31m", "$(reboot)"]),
    ],
)
def test_arguments_are_told_as_they_are(arguments: bytes, words: list[str]) -> None:
    assert shlex.split(str(decode(record(arguments)).attributes["process.command_line"])) == words


def test_a_script_is_told_with_its_interpreter_and_its_directory() -> None:
    told = decode(record(process=process(NESTED))).attributes
    assert (told["bpfleet.process.script"], told["bpfleet.process.interpreter"]) == ("/srv/run.sh", "/bin/sh")
    assert told["process.executable.path"] == "/usr/bin/dash"
    assert decode(record(process=process(BESIDE))).attributes["bpfleet.process.script"] == "/srv/app/run.sh"
    unread = PARTS | {processes.SCRIPT: (), processes.INTERPRETER: ()}
    assert decode(record(process=process(unread))).attributes == decode(record()).attributes


def test_a_record_that_is_cut_anywhere_is_refused() -> None:
    whole = record(process=process(BESIDE))
    for length in range(len(whole)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    decode(whole)


def test_any_bytes_are_decoded_or_refused() -> None:
    chance = random.Random(29)
    whole = record(process=process(BESIDE))
    refused = 0
    for turn in range(100_000):
        data = bytearray(whole if turn % 4 else chance.randbytes(chance.randrange(200)))
        for _ in range(chance.randrange(4)):
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert decode(bytes(data)).name == SECURITY_EXEC
        except ValueError:
            refused += 1
    assert 0 < refused < 100_000


def test_who_is_watched_is_what_the_orders_say() -> None:
    maps = FakeMaps()
    orders = Orders({"exec": {23: Watch(10, 50)}, "chmod": {29: Watch(1, 1)}})
    assert Exec().steer(maps, orders) == 0
    assert maps.replaced == {"exec_watches": {struct.pack("=Q", 23): (100_000_000, 5_000_000_000, 0)}}
    assert Exec().steer(maps, Orders()) == 0
    assert maps.replaced == {"exec_watches": {}}


def test_what_is_told_is_delivered_and_what_is_not_is_counted() -> None:
    maps = FakeMaps(
        records={"execs": [record(), record(b"")]}, rows={"exec_suppressed": [(struct.pack("=Q", 23), (7,))]}
    )
    assert [event.name for event in events(Exec(), maps)] == [SECURITY_EXEC] * 2
    assert maps.delivered == {"exec": 2}
    assert samples(Exec(), maps) == [Sample(catalogue.SECURITY_SUPPRESSED, 7, 23, ("exec",))]
