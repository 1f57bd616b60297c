from pathlib import Path

import pytest
from tests.support.made_collectors import BASE, made_collector

from agent.kernel import programs
from agent.kernel.programs import Culprit, Unit
from bpfleet.api import AnyOf, Histogram, Packet, RawTracepoint, SystemCall, TailCall, TracingFunction
from bpfleet.errors import KernelError

WAIT = Histogram("wait", "How long.", unit="s", bounds="wait_seconds")
BOUNDS = {"wait_seconds": (0.001, 2.5)}
BASE_TEXT = """struct packet { int x; };

//! fragments

int on_ingress(struct __sk_buff *skb)
{
	//! on_packet
	return 1;
}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "base.bpf.c").write_text(BASE_TEXT)
    return tmp_path


def test_collectors_of_one_base_are_compiled_together_and_others_alone(tmp_path: Path) -> None:
    first, second = made_collector(tmp_path, "first"), made_collector(tmp_path, "second")
    lone = made_collector(tmp_path, "lone", RawTracepoint("f", tracepoint="x"), base=None)
    assert programs.units([first, lone, second]) == [Unit(None, (lone,)), Unit(BASE, (first, second))]
    assert Unit(BASE, (first, second)).files == ("base.bpf.c", "first.bpf.c", "second.bpf.c")


def test_the_parts_of_a_long_program_follow_it_under_their_own_names(place: Path) -> None:
    long = made_collector(place, "long", text="int a;")
    type(long).parts = ("rest.bpf.c",)
    (place / "rest.bpf.c").write_text("int b;\n")
    unit = Unit(BASE, (long,))
    assert unit.files == ("base.bpf.c", "long.bpf.c", "rest.bpf.c")
    lines = programs.text(unit, [long], {}, {}).splitlines()
    at = lines.index('#line 1 "long.bpf.c"')
    assert lines[at : at + 4] == ['#line 1 "long.bpf.c"', "int a;", '#line 1 "rest.bpf.c"', "int b;"]


def test_fragments_stand_at_their_marker_and_every_line_keeps_its_number(place: Path) -> None:
    unit = Unit(
        BASE,
        (
            made_collector(place, "first", text="int a;\nint b;\n"),
            made_collector(place, "quiet", RawTracepoint("f", tracepoint="x"), text="int d;"),
            made_collector(place, "second", Packet("on_packet_second"), text="int c;"),
        ),
    )
    assert programs.text(unit, unit.collectors, {}, {}).splitlines() == [
        '#line 1 "settings"',
        "#define WITH_FIRST",
        "#define WITH_QUIET",
        "#define WITH_SECOND",
        '#line 1 "base.bpf.c"',
        "struct packet { int x; };",
        "",
        '#line 1 "first.bpf.c"',
        "int a;",
        "int b;",
        '#line 1 "quiet.bpf.c"',
        "int d;",
        '#line 1 "second.bpf.c"',
        "int c;",
        '#line 4 "base.bpf.c"',
        "",
        "int on_ingress(struct __sk_buff *skb)",
        "{",
        "on_packet_first(skb, p); on_packet_second(skb, p);",
        "\treturn 1;",
        "}",
    ]


def test_a_fragment_that_leaves_by_a_tail_call_is_called_last(place: Path) -> None:
    leaving = made_collector(
        place, "leaving", Packet("on_packet_leaving"), TailCall("go_on", table="leaving"), text="\n"
    )
    staying = made_collector(place, "staying", text="\n")
    assert programs.called_functions([leaving, staying], Packet) == ["on_packet_staying", "on_packet_leaving"]


def test_functions_of_a_system_calls_end_are_called_unless_they_are_idle(place: Path) -> None:
    (place / "base.bpf.c").write_text("//! fragments\n//! on_system_call\n//! on_packet\n")
    either = AnyOf((TracingFunction("on_open", kernel_function="do_open"), SystemCall("open_ended")))
    opens = made_collector(place, "opens", either, text="int o;")
    modes = made_collector(place, "modes", SystemCall("mode_ended"), text="int m;")
    unit = Unit(BASE, (opens, modes))
    assert programs.text(unit, unit.collectors, {}, {}).endswith("\nopen_ended(call); mode_ended(call);\n")
    assert programs.text(unit, unit.collectors, {}, {}, ["open_ended"]).endswith("\nmode_ended(call);\n")


def test_a_base_keeps_the_constants_of_the_collectors_that_were_left_out(place: Path) -> None:
    kept = made_collector(place, "kept", text="int k;", defines={"MAX_ROWS": "8"})
    left = made_collector(place, "left", text="int l;", defines={"MAX_ROWS": "8", "MAX_PEERS": "2"})
    text = programs.text(Unit(BASE, (kept, left)), (kept,), {}, {})
    assert "#define MAX_ROWS 8\n#define MAX_PEERS 2\n" in text
    assert "left.bpf.c" not in text
    assert "#define WITH_KEPT\n" in text and "WITH_LEFT" not in text


def test_two_meanings_of_a_constant_are_the_later_collectors_fault(place: Path) -> None:
    first = made_collector(place, "first", text="", defines={"MAX": "1"})
    second = made_collector(place, "second", text="", defines={"MAX": "2"})
    with pytest.raises(Culprit, match="defines MAX as 2, another collector as 1") as caught:
        programs.text(Unit(BASE, (first, second)), (first, second), {}, {})
    assert caught.value.collector is second


def test_a_histogram_gets_a_function_that_finds_its_bucket(place: Path) -> None:
    lone = made_collector(place, "lone", base=None, text="int l;", metrics=(WAIT,))
    assert programs.text(Unit(None, (lone,)), (lone,), {}, BOUNDS).splitlines() == [
        '#line 1 "settings"',
        "#define WITH_LONE",
        "#define WAIT_SECONDS_BUCKETS 3",
        "static inline u32 wait_seconds_bucket(u64 ns)",
        "{",
        "\tif (ns <= 1000000ULL)",
        "\t\treturn 0;",
        "\tif (ns <= 2500000000ULL)",
        "\t\treturn 1;",
        "\treturn 2;",
        "}",
        '#line 1 "lone.bpf.c"',
        "int l;",
    ]


def test_what_is_no_time_is_counted_in_its_own_unit(place: Path) -> None:
    size = Histogram("size", "How large.", unit="By", bounds="size_bytes")
    lone = made_collector(place, "lone", base=None, text="int l;", metrics=(size,))
    lines = programs.text(Unit(None, (lone,)), (lone,), {}, {"size_bytes": (0.0, 1.5, 1024.0)}).splitlines()
    at = lines.index("static inline u32 size_bytes_bucket(u64 value)")
    compares = [line.strip() for line in lines[at:] if "<=" in line]
    assert compares == ["if (value <= 0ULL)", "if (value <= 1ULL)", "if (value <= 1024ULL)"]


def test_a_histogram_that_user_space_counts_gets_none(place: Path) -> None:
    counted = Histogram("size", "How large.", unit="By", bounds="size_bytes", in_kernel=False)
    lone = made_collector(place, "lone", base=None, text="int l;", metrics=(counted,))
    assert programs.text(Unit(None, (lone,)), (lone,), {}, {}).splitlines() == [
        '#line 1 "settings"',
        "#define WITH_LONE",
        '#line 1 "lone.bpf.c"',
        "int l;",
    ]


def test_a_histogram_without_bounds_is_its_collectors_fault(place: Path) -> None:
    lone = made_collector(place, "lone", base=None, text="", metrics=(WAIT,))
    with pytest.raises(Culprit, match="no setting histograms.wait_seconds"):
        programs.text(Unit(None, (lone,)), (lone,), {}, {})


def test_a_missing_file_names_where_it_was_looked_for(place: Path) -> None:
    lone = made_collector(place, "lone", base=None)
    with pytest.raises(Culprit, match=rf"lone\.bpf\.c is neither in {place} nor in .*/bpf"):
        programs.text(Unit(None, (lone,)), (lone,), {}, {})
    (place / "base.bpf.c").unlink()
    with pytest.raises(KernelError, match=r"base\.bpf\.c is neither in"):
        programs.text(Unit(BASE, ()), (), {}, {})


def test_the_sources_of_a_header_tree_are_all_files_that_can_be_read(place: Path) -> None:
    collectors = [made_collector(place, "first", text="int first;"), made_collector(place, "absent")]
    texts = programs.sources(collectors)
    assert BASE_TEXT in texts
    assert "int first;" in texts
    assert len(texts) == 2 + len(list(programs.include().glob("*.h")))


@pytest.mark.parametrize(
    ("messages", "error"),
    [
        ("x.bpf.c:10:4: warning: unused\ntcp.bpf.c:12:5: error: no member\n", "tcp.bpf.c:12: no member"),
        ("In file included from <built-in>:4:\ninclude/net.h:3:1: fatal error: lost\n", "net.h:3: lost"),
        ("/virtual/main.c:7: error: BCC's own\n", "main.c:7: BCC's own"),
    ],
)
def test_the_first_error_of_a_compiler_has_file_and_line(messages: str, error: str) -> None:
    assert str(programs.first_error(messages)) == error


def test_messages_without_an_error_have_none() -> None:
    assert programs.first_error("could not open bpf map: flows, error: Operation not permitted") is None


def test_the_verifiers_reason_is_its_last_sentence_before_the_statistics() -> None:
    log = "0: (b7) r0 = 0\nR0 invalid mem access 'scalar'\nprocessed 3 insns (limit 1000000) max_states_per_insn 0\n"
    assert programs.verifier_reason(log) == "R0 invalid mem access 'scalar'"
    assert programs.verifier_reason("") == ""
