from tests.unit.security.process_records import PARTS, process

from agent.collectors import syscalls
from agent.security import processes
from bpfleet.api import TracingFunction


def path(parts: dict[int, tuple[bytes, ...]]) -> dict[str, object]:
    return dict(syscalls.path(processes.decode(process(PARTS | parts)).parts))


def test_a_resolved_path_is_told_with_what_was_given_where_that_is_another() -> None:
    resolved = {processes.FILE: (b"shadow", b"etc")}
    assert path(resolved | {processes.GIVEN: (b"/etc/shadow",)}) == {"file.path": "/etc/shadow"}
    assert path(resolved | {processes.GIVEN: (b"../shadow",)}) == {
        "file.path": "/etc/shadow",
        "bpfleet.file.given": "../shadow",
    }
    assert path(resolved) == {"file.path": "/etc/shadow"}


def test_a_name_is_told_behind_the_directory_that_it_begins_at() -> None:
    directory = {processes.DIRECTORY: (b"etc",)}
    assert path(directory | {processes.GIVEN: (b"/srv/x",)}) == {"file.path": "/srv/x"}
    assert path(directory | {processes.GIVEN: (b"x",)}) == {"file.path": "/etc/x", "bpfleet.file.given": "x"}
    assert path(directory | {processes.GIVEN: ()}) == {"file.path": "/etc"}
    assert path({processes.GIVEN: (b"x",)}) == {"file.path": "x"}
    assert path({}) == {}


def test_bytes_are_told_as_they_are() -> None:
    assert path({processes.GIVEN: (b"/\xff\x1b",)}) == {"file.path": "/\\xff\x1b"}


def test_a_long_name_is_looked_for_by_its_beginning_as_the_kernel_has_it() -> None:
    assert syscalls.names([b"", b"shadow", b"x" * 40]) == {
        bytes(32): (1,),
        b"shadow" + bytes(26): (1,),
        b"x" * 31 + b"\0": (1,),
    }


def test_errors_have_their_names() -> None:
    assert dict(syscalls.failure(0)) == dict(syscalls.failure(7)) == {}
    assert dict(syscalls.failure(-13)) == {"error.type": "EACCES"}
    assert dict(syscalls.failure(-4000)) == {"error.type": "unknown(4000)"}


def test_calls_have_their_names() -> None:
    assert dict(syscalls.call(("", "open"), 1)) == {"bpfleet.syscall.name": "open"}
    assert dict(syscalls.call(("", "open"), 0)) == {}
    assert dict(syscalls.call(("", "open"), 9)) == {"bpfleet.syscall.name": "unknown(9)"}


def test_every_machine_has_a_number_for_each_call() -> None:
    found = syscalls.defines({"cgroups": 8})
    assert found["MAX_CGROUPS"] == "8"
    assert {name for numbers in syscalls.NUMBERS.values() for name in numbers} <= found.keys()
    assert {"NR_OPENAT2", "NR32_OPENAT2", "NR_FCHMODAT2", "NR32_FCHMODAT2"} <= found.keys()


def test_a_system_calls_function_has_a_name_for_each_machine() -> None:
    assert syscalls.functions("on_x", "x", compat=True, beside="on_y") == (
        TracingFunction("on_x", kernel_function="__ia32_compat_sys_x", beside="on_y"),
        TracingFunction("on_x", kernel_function="__arm64_compat_sys_x", beside="on_y"),
    )
    assert [each.hook for each in syscalls.functions("on_x", "x")] == ["fexit/__x64_sys_x", "fexit/__arm64_sys_x"]
