"""The door on the real kernel when something is wrong: texts, hooks, headers, and a SIGKILL at any moment."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.cgroups import Cgroup
from tests.support.doors import Opened, calls, ends, grown, in_another_process, loading, records, sizes
from tests.support.kernel_headers import installed_headers
from tests.support.made_collectors import made_collector

from agent.kernel.isolation import Outcome
from agent.kernel.unit_cache import SUFFIX
from bpfleet.api import AnyOf, RawTracepoint, TracingTracepoint
from bpfleet.errors import HeadersError

GONE_SECONDS = 1.0
"""Within which nothing of a killed agent may be left."""


@pytest.fixture
def opened(place: Callable[..., Cgroup], stack: ExitStack) -> Iterator[Opened]:
    cgroup = place("door")
    with ExitStack() as inner:
        yield Opened(cgroup, inner)


def test_a_compile_error_has_file_and_line_and_the_rest_counts(opened: Opened, tmp_path: Path) -> None:
    text = "/* one\n * two\n */\nstatic inline void on_packet_wrong(struct __sk_buff *skb, struct packet *p)\n{\n"
    wrong = made_collector(tmp_path, "wrong", text=f"{text}\tp->lenght = 0;\n}}\n")
    loaded = opened.load(wrong, sizes())
    assert loaded.outcomes["wrong"] == Outcome(
        False, reason="wrong.bpf.c:6: no member named 'lenght' in 'struct packet'; did you mean 'length'?"
    )
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def test_a_fragment_that_the_verifier_refuses_is_left_out_and_the_rest_counts(opened: Opened, tmp_path: Path) -> None:
    text = """BPF_HASH(blind_rows, u64, u64, 8);
    static inline void on_packet_blind(struct __sk_buff *skb, struct packet *p)
    {
        u64 *row = blind_rows.lookup(&p->cgroup_id);
        __sync_fetch_and_add(row, 1);
    }
    """
    loaded = opened.load(records(), made_collector(tmp_path, "blind", text=text), sizes())
    assert not loaded.outcomes["blind"].up
    assert "invalid mem access 'map_value_or_null'" in loaded.outcomes["blind"].reason
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46
    assert loaded.books() == {"records": (46, 0)}


def test_a_fragment_that_ends_the_compiler_is_left_out_with_its_message_and_the_rest_counts(
    opened: Opened, tmp_path: Path
) -> None:
    """LLVM leaves the process where a function's stack is too large."""
    text = """static inline void on_packet_large(struct __sk_buff *skb, struct packet *p)
    {
        u64 all[100];

        bpf_skb_load_bytes(skb, 0, all, sizeof(all));
        p->length += all[p->ingress];
    }
    """
    loaded = opened.load(records(), made_collector(tmp_path, "large", text=text), sizes(), calls())
    assert [name for name, outcome in loaded.outcomes.items() if not outcome.up] == ["large"]
    assert "the BPF stack limit of 512 bytes is exceeded" in loaded.outcomes["large"].reason
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46
    assert loaded.books() == {"records": (46, 0)}


def test_a_map_that_two_fragments_define_costs_one_of_them(opened: Opened, tmp_path: Path) -> None:
    text = "BPF_HASH(sizes, u64, u64, 8);\n"
    text += "static inline void on_packet_again(struct __sk_buff *skb, struct packet *p) {}\n"
    loaded = opened.load(sizes(), made_collector(tmp_path, "again", text=text))
    assert [name for name, outcome in loaded.outcomes.items() if outcome.up] == ["sizes"]
    assert loaded.outcomes["again"].reason.startswith("again.bpf.c:1: ")


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (RawTracepoint("on_end", tracepoint="no_such"), "raw_tracepoint/no_such: cannot attach on_end: No such file"),
        (TracingTracepoint("on_end", tracepoint="no_such"), "tp_btf/no_such: on_end: this kernel has no tracepoint"),
        (RawTracepoint("on_nothing", tracepoint="sys_enter"), "there is no function on_nothing in the text"),
    ],
)
def test_a_hook_that_is_missing_costs_its_collector_only(
    opened: Opened, tmp_path: Path, probe: RawTracepoint | TracingTracepoint, reason: str
) -> None:
    (tmp_path / "missing.bpf.c").write_text("int on_end(u64 *ctx) { return 0; }\n")
    loaded = opened.load(made_collector(tmp_path, "missing", probe), sizes())
    assert reason in loaded.outcomes["missing"].reason
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def test_the_second_choice_is_used_where_the_first_is_missing(opened: Opened, tmp_path: Path) -> None:
    text = "int on_new(u64 *ctx) { return 0; }\nint on_old(u64 *ctx) { return 0; }\n"
    either = AnyOf((TracingTracepoint("on_new", tracepoint="no_such"), RawTracepoint("on_old", tracepoint="sys_exit")))
    outcome = opened.load(made_collector(tmp_path, "either", either, base=None, text=text)).outcomes["either"]
    assert outcome.hooks == ("raw_tracepoint/sys_exit",)
    assert "this kernel has no tracepoint no_such" in outcome.reason


def test_the_headers_are_proven_by_the_compiler_field_by_field(opened: Opened) -> None:
    loaded = opened.load(calls(), ends())
    assert loaded.headers == "btf"
    assert loaded.assertions > 1000


def test_a_header_tree_is_kept_between_starts(opened: Opened, tmp_path: Path) -> None:
    """For programs that are not kept: those that are need no tree."""
    cache = tmp_path / "cache"
    first = opened.load(sizes(), cache=str(cache))
    kept = list(cache.rglob(f"*{SUFFIX}"))
    for file in kept:
        file.unlink()
    second = opened.load(sizes(), cache=str(cache))
    assert kept and (first.headers, second.headers) == ("btf", "btf, cached")
    assert first.assertions == second.assertions > 0
    assert second.outcomes["sizes"].up


def test_real_headers_serve_where_they_are_installed(opened: Opened, tmp_path: Path) -> None:
    loaded = opened.load(sizes(), headers=str(installed_headers(tmp_path / "headers")))
    assert loaded.headers == str(tmp_path / "headers")
    opened.send(23)
    assert grown(loaded, "sizes", "sizes")[opened.key][0] == 46


def test_without_type_information_and_headers_both_are_named(opened: Opened) -> None:
    hide = 'mount --bind /dev/null /sys/kernel/btf/vmlinux && exec "$@"'
    result = in_another_process(opened, "sizes()", prefix=["unshare", "--mount", "sh", "-c", hide, "sh"])
    if result.get("headers", "").startswith("/lib/modules"):
        pytest.skip("the running kernel's headers are installed")
    assert (
        "neither the kernel's type information (/sys/kernel/btf/vmlinux: BTF is cut short) nor its headers"
        in (result["HeadersError"])
    )


def test_a_headers_path_that_is_none_is_refused(opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(HeadersError, match="not a tree of kernel headers"):
        opened.load(sizes(), headers=str(tmp_path))


def attached(cgroup: Cgroup) -> int:
    """Programs on the cgroup, by the kernel's own list."""
    shown = subprocess.run(["bpftool", "-j", "cgroup", "show", str(cgroup.path)], capture_output=True, text=True)
    return len(json.loads(shown.stdout.strip() or "[]"))


def programs(*names: str) -> int:
    shown = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, text=True, check=True)
    return sum(program.get("name", "") in names for program in json.loads(shown.stdout))


def runs(pid: str) -> bool:
    """A zombie has ended; whoever inherited it has not noticed yet."""
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(opened: Opened, *names: str, children: Sequence[str] = ()) -> bool:
    end = time.monotonic() + GONE_SECONDS
    while attached(opened.cgroup) or programs(*names) or any(map(runs, children)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_a_killed_process_leaves_no_program_and_no_link(opened: Opened) -> None:
    with subprocess.Popen(
        loading(opened, "ends(), calls()"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and json.loads(process.stdout.readline())["up"] == 2
        assert attached(opened.cgroup) == 2
        assert programs("on_end", "on_exec") == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(opened, "on_end", "on_exec")


@pytest.mark.parametrize("after_seconds", [0.1, 0.4, 0.7, 1.0])
def test_a_process_killed_while_it_loads_takes_the_compiler_along(opened: Opened, after_seconds: float) -> None:
    with subprocess.Popen(
        loading(opened, "ends(), calls()"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        time.sleep(after_seconds)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert gone(opened, "on_end", "on_exec", children=children)
