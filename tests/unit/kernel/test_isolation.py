"""Which collector is left out, and why, when the child follows a script: a text fails if it holds a certain word."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.made_collectors import BASE, made_collector

from agent.kernel.facts import Facts
from agent.kernel.isolation import Attached, Isolation, Outcome
from agent.kernel.programs import Unit
from bpfleet.api import (
    AnyOf,
    Collector,
    Packet,
    Probe,
    RawTracepoint,
    SocketIterator,
    SystemCall,
    TailCall,
    TracingFunction,
    TracingTracepoint,
)
from bpfleet.errors import HeadersError, HostError

PACKETS = ("cgroup_skb/ingress", "cgroup_skb/egress")
MAPS = [{"name": "rows", "type": 1, "key_size": 8, "value_size": 8, "max_entries": 4, "fd": 3}]


class Script:
    """compile_errors: word in the text -> the compiler's messages. refusals: function -> the answer to load it.
    attach_errors: function -> why it cannot be attached. verifier: word in the text -> refusal of every program.
    compile_answer: to every text. stale: functions whose kept code is refused once; stale_later: only after a text that
    is refused."""

    def __init__(self) -> None:
        self.compile_errors: dict[str, str] = {}
        self.refusals: dict[str, dict[str, str]] = {}
        self.attach_errors: dict[str, str] = {}
        self.verifier: dict[str, str] = {}
        self.log: list[str] = []
        self.texts: list[str] = []
        self.compile_answer: dict[str, Any] = {}
        self.stale: set[str] = set()
        self.stale_later: set[str] = set()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        return dict(getattr(self, f"_{command}")(**arguments))

    def hand_over(self) -> dict[str, int]:
        self.log.append("hand over")
        return {"map:rows": 7, "link:on_ingress": 8}

    def _compile(self, text: str) -> dict[str, Any]:
        self.texts.append(text)
        self.log.append("compile")
        if self.compile_answer:
            return self.compile_answer
        for word, messages in self.compile_errors.items():
            if word in text:
                return {"error": messages}
        return {"maps": MAPS}

    def _load(self, function: str, hook: str) -> Mapping[str, Any]:
        for word, log in self.verifier.items():
            if word in self.texts[-1]:
                self.stale |= self.stale_later
                self.stale_later = set()
                return {"error": "Permission denied", "log": log}
        if function in self.stale:
            self.stale.remove(function)
            return {"error": "Invalid argument", "log": "bad", "stale": True}
        return self.refusals.get(function, {})

    def _attach(self, function: str, hook: str, cgroup: str) -> dict[str, Any]:
        self.log.append(f"attach {function}")
        error = self.attach_errors.get(function)
        return {"error": error} if error else {}

    def _walk(self, function: str) -> dict[str, Any]:
        self.log.append(f"walk {function}")
        return {"bytes": 0}


def machine(*capabilities: str, lockdown: str = "none", release: str = "6.18.0", memlock: int = -1) -> Facts:
    return Facts(release, "x86_64", True, "", capabilities, "2", lockdown, "/sys/fs/cgroup", memlock)


EVERYTHING = machine("BPF", "PERFMON", "NET_ADMIN")


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "base.bpf.c").write_text("//! fragments\n//! on_packet\n")
    return tmp_path


def attach(script: Script, *collectors: Collector, facts: Facts = EVERYTHING, headers: str = "") -> Attached:
    unit = Unit(collectors[0].base, collectors)
    return Isolation(script, "/sys/fs/cgroup", {}, {}, facts, headers).attach(unit)


def fragment(place: Path, name: str, *probes: Probe | AnyOf) -> Collector:
    return made_collector(place, name, *(probes or (Packet(f"on_packet_{name}"),)), text=f"int {name}_text;")


def test_what_works_is_up_with_its_hooks(script: Script, place: Path) -> None:
    tcp = fragment(place, "tcp", Packet("on_packet_tcp"), RawTracepoint("on_synack", tracepoint="tcp_synack"))
    attached = attach(script, fragment(place, "traffic"), tcp)
    assert attached.outcomes == {
        "traffic": Outcome(True, PACKETS),
        "tcp": Outcome(True, (*PACKETS, "raw_tracepoint/tcp_synack")),
    }
    assert attached.maps == MAPS
    assert attached.descriptors == {"map:rows": 7, "link:on_ingress": 8}


@pytest.mark.parametrize("headers", ["6.18.0", ""])
def test_headers_of_this_kernel_or_of_none_that_they_name_serve_all(script: Script, place: Path, headers: str) -> None:
    synack = fragment(place, "tcp", RawTracepoint("on_synack", tracepoint="tcp_synack"))
    assert attach(script, synack, headers=headers).outcomes["tcp"].up


def test_headers_of_another_kernel_serve_packets_only(script: Script, place: Path) -> None:
    synack = fragment(place, "tcp", Packet("on_packet_tcp"), RawTracepoint("on_synack", tracepoint="tcp_synack"))
    outcomes = attach(script, fragment(place, "traffic"), synack, headers="6.1.0-50-amd64").outcomes
    assert outcomes["traffic"] == Outcome(True, PACKETS)
    assert not outcomes["tcp"].up
    assert "the headers are of 6.1.0-50-amd64, this kernel is 6.18.0" in outcomes["tcp"].reason


def test_existing_sockets_are_walked_after_new_ones_are_followed_and_before_the_first_packet(
    script: Script, place: Path
) -> None:
    walk, state = SocketIterator("on_old"), TracingTracepoint("on_state", tracepoint="inet_sock_set_state")
    attach(script, fragment(place, "connections", AnyOf((walk,), optional=True), state))
    assert script.log == [
        *("compile", "attach on_state", "attach on_old", "walk on_old"),
        *("attach on_ingress", "attach on_egress", "hand over"),
    ]


def test_a_compile_error_takes_out_the_collector_in_whose_file_it_is(script: Script, place: Path) -> None:
    script.compile_errors["tcp_text"] = "x.c:1:1: warning: w\ntcp.bpf.c:4:2: error: no member named 'x'\n"
    attached = attach(script, fragment(place, "tcp"), fragment(place, "traffic"))
    assert attached.outcomes["tcp"] == Outcome(False, reason="tcp.bpf.c:4: no member named 'x'")
    assert attached.outcomes["traffic"].up
    assert script.log.count("compile") == 2


def test_a_verifier_error_takes_out_the_fragment_with_which_it_comes(script: Script, place: Path) -> None:
    script.verifier["two_text"] = "R0 invalid mem access\nprocessed 9 insns\n"
    attached = attach(script, *(fragment(place, name) for name in ("one", "two", "three")))
    assert attached.outcomes["two"].reason == (
        "cgroup_skb/ingress: on_ingress: Permission denied: R0 invalid mem access"
    )
    assert [name for name, outcome in attached.outcomes.items() if outcome.up] == ["one", "three"]


def test_an_error_that_names_no_fragment_is_found_by_adding_one_at_a_time(script: Script, place: Path) -> None:
    script.compile_errors["two_text"] = "could not open bpf map: big, error: Cannot allocate memory\n"
    attached = attach(script, fragment(place, "one"), fragment(place, "two"))
    assert attached.outcomes["two"].reason == "could not open bpf map: big, error: Cannot allocate memory"
    assert attached.outcomes["one"].up


@pytest.mark.parametrize(
    ("facts", "is_told"),
    [
        (machine("BPF", release="5.10.0-46", memlock=65536), True),
        (machine("BPF", release="5.10.0-46", memlock=-1), False),
        (machine("BPF", "SYS_RESOURCE", release="5.10.0-46", memlock=65536), False),
        (machine("BPF", release="5.11.0", memlock=65536), False),
    ],
)
def test_where_maps_count_as_locked_memory_that_is_told(
    script: Script, place: Path, facts: Facts, is_told: bool
) -> None:
    script.compile_errors["one_text"] = "could not open bpf map: rows, error: Operation not permitted\n"
    reason = attach(script, fragment(place, "one"), facts=facts).outcomes["one"].reason
    assert ("limit of locked memory" in reason) == is_told


def test_a_broken_base_takes_out_all_and_says_so(script: Script, place: Path) -> None:
    script.compile_errors["base.bpf.c"] = "base.bpf.c:1:1: error: broken\n"
    attached = attach(script, fragment(place, "one"), fragment(place, "two"))
    assert attached.outcomes == {name: Outcome(False, reason="base.bpf.c:1: broken") for name in ("one", "two")}
    assert not attached.descriptors


def test_an_error_that_comes_only_once_does_not_go_round_in_circles(script: Script, place: Path) -> None:
    script.attach_errors["on_ingress"] = "cgroup_skb/ingress: cannot attach on_ingress: Cannot allocate memory"
    attached = attach(script, fragment(place, "one"), fragment(place, "two"))
    assert {outcome.reason for outcome in attached.outcomes.values()} == {script.attach_errors["on_ingress"]}


def test_a_hook_that_fails_takes_out_its_collector_only(script: Script, place: Path) -> None:
    script.attach_errors["on_gone"] = "raw_tracepoint/gone: cannot attach on_gone: No such file or directory"
    gone = fragment(place, "gone", Packet("on_packet_gone"), RawTracepoint("on_gone", tracepoint="gone"))
    attached = attach(script, gone, fragment(place, "traffic"))
    assert attached.outcomes["gone"] == Outcome(False, reason=script.attach_errors["on_gone"])
    assert attached.outcomes["traffic"].up


def test_the_first_alternative_that_works_is_used_and_the_reason_kept(script: Script, place: Path) -> None:
    script.refusals["on_new"] = {"error": "this kernel has no tracepoint new"}
    either = AnyOf((TracingTracepoint("on_new", tracepoint="new"), RawTracepoint("on_old", tracepoint="old")))
    outcome = attach(script, fragment(place, "either", either)).outcomes["either"]
    assert outcome.hooks == ("raw_tracepoint/old",)
    assert outcome.reason == "tp_btf/new: on_new: this kernel has no tracepoint new (in kernels since 5.11)"


@pytest.mark.parametrize(("refused", "walked"), [("", "on_new_too"), ("on_new", "on_old_too")])
def test_what_completes_a_function_is_used_only_beside_it(
    script: Script, place: Path, refused: str, walked: str
) -> None:
    script.refusals = {refused: {"error": "Invalid argument", "log": "unknown func bpf_new#200"}}
    either = AnyOf((TracingTracepoint("on_new", tracepoint="new"), RawTracepoint("on_old", tracepoint="old")))
    walks = (SocketIterator("on_new_too", beside="on_new"), SocketIterator("on_old_too", beside="on_old"))
    outcome = attach(script, fragment(place, "either", either, AnyOf(walks, optional=True))).outcomes["either"]
    assert [line for line in script.log if line.startswith("walk")] == [f"walk {walked}"]
    reason = "tp_btf/new: on_new: Invalid argument: unknown func bpf_new#200 (in kernels since 5.11)"
    assert outcome.reason == (reason if refused else "")


def of_system_calls(place: Path, name: str) -> Collector:
    function = TracingFunction(f"on_{name}", kernel_function=f"do_{name}")
    beside = AnyOf((RawTracepoint(f"on_{name}_begin", tracepoint="begin", beside=f"{name}_ended"),), optional=True)
    return fragment(place, name, AnyOf((function, SystemCall(f"{name}_ended"))), beside)


def test_what_everybody_would_pay_for_is_not_attached_where_all_have_a_better_hook(script: Script, place: Path) -> None:
    attached = attach(script, of_system_calls(place, "open"), of_system_calls(place, "chmod"))
    assert attached.outcomes == {
        "open": Outcome(True, ("fexit/do_open",)),
        "chmod": Outcome(True, ("fexit/do_chmod",)),
    }
    assert script.log == ["compile", "attach on_open", "attach on_chmod", "hand over"]


def test_without_a_better_hook_the_base_is_attached_and_what_completes_it(script: Script, place: Path) -> None:
    script.refusals["on_open"] = {"error": "no"}
    outcome = attach(script, of_system_calls(place, "open")).outcomes["open"]
    assert outcome == Outcome(True, (*PACKETS, "raw_tracepoint/begin"), "fexit/do_open: on_open: no")
    assert script.log == [*("compile", "attach on_open_begin", "attach on_ingress", "attach on_egress", "hand over")]


def test_where_some_have_a_better_hook_the_base_calls_the_others_alone(script: Script, place: Path) -> None:
    (place / "base.bpf.c").write_text("//! fragments\n//! on_system_call\n")
    script.refusals["on_open"] = {"error": "no"}
    attached = attach(script, of_system_calls(place, "open"), of_system_calls(place, "chmod"))
    assert [text.splitlines()[-1] for text in script.texts] == [
        "open_ended(call); chmod_ended(call);",
        "open_ended(call);",
    ]
    assert attached.outcomes["chmod"] == Outcome(True, ("fexit/do_chmod",))
    assert attached.outcomes["open"].hooks == (*PACKETS, "raw_tracepoint/begin")


def test_without_any_alternative_the_collector_is_off_unless_it_can_do_without(script: Script, place: Path) -> None:
    script.refusals = {"on_a": {"error": "no"}, "on_b": {"error": "neither"}}
    alternatives = (RawTracepoint("on_a", tracepoint="a"), RawTracepoint("on_b", tracepoint="b"))
    attached = attach(
        script, fragment(place, "needs", AnyOf(alternatives)), fragment(place, "likes", AnyOf(alternatives, True))
    )
    reason = "raw_tracepoint/a: on_a: no; raw_tracepoint/b: on_b: neither"
    assert attached.outcomes == {"needs": Outcome(False, reason=reason), "likes": Outcome(True, reason=reason)}


@pytest.mark.parametrize(
    ("facts", "answer", "cause"),
    [
        (machine("BPF"), {"error": "Operation not permitted"}, "without the capability PERFMON"),
        (
            machine("BPF", "PERFMON", lockdown="confidentiality"),
            {"error": "Invalid argument", "log": "unknown func bpf_probe_read_kernel#113"},
            "lockdown is confidentiality",
        ),
        (
            machine("SYS_ADMIN"),
            {"error": "raw_tracepoint/x: cannot attach on_x: Invalid argument"},
            "this kernel passes fewer arguments there",
        ),
        (machine("SYS_ADMIN"), {"error": "this kernel has no tracepoint x"}, "in kernels since 5.10"),
    ],
)
def test_the_cause_is_told_where_the_machine_shows_it(
    script: Script, place: Path, facts: Facts, answer: dict[str, str], cause: str
) -> None:
    script.refusals["on_x"] = answer
    lone = made_collector(place, "lone", RawTracepoint("on_x", tracepoint="x"), base=None, text="")
    assert cause in attach(script, lone, facts=facts).outcomes["lone"].reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Operation not permitted", "Operation not permitted (this kernel lets nobody trace its functions)"),
        ("this kernel has no function do_x", "this kernel has no function do_x"),
    ],
)
def test_a_kernel_whose_functions_cannot_be_traced_says_so(
    script: Script, place: Path, answer: str, reason: str
) -> None:
    script.refusals["on_x"] = {"error": answer}
    lone = made_collector(place, "lone", TracingFunction("on_x", kernel_function="do_x"), base=None, text="")
    assert attach(script, lone).outcomes["lone"].reason == f"fexit/do_x: on_x: {reason}"


def test_what_completes_nothing_is_not_missed(script: Script, place: Path) -> None:
    leaving = TailCall("on_open_call", direction="sys_exit", table="open_calls", beside="open_ended")
    opens = AnyOf((TracingFunction("on_open", kernel_function="do_open"), SystemCall("open_ended")))
    assert attach(script, fragment(place, "opens", opens, leaving)).outcomes["opens"].hooks == ("fexit/do_open",)
    script.refusals = {"on_open": {"error": "no"}, "on_open_call": {"error": "too large"}}
    assert attach(script, fragment(place, "opens", opens, leaving)).outcomes["opens"] == Outcome(
        False, reason="tail_call/sys_exit/open_calls: on_open_call: too large"
    )


def test_a_wrong_layout_stops_everything(script: Script, place: Path) -> None:
    message = 'include/layout_proof.h:7:1: error: static_assert failed "struct sock, sk_protocol"\n'
    script.compile_errors["one_text"] = message
    with pytest.raises(HeadersError, match="struct sock, sk_protocol"):
        attach(script, fragment(place, "one"))


def test_a_file_that_is_missing_takes_out_its_collector_only(script: Script, place: Path) -> None:
    attached = attach(script, made_collector(place, "absent", base=BASE), fragment(place, "traffic"))
    assert "absent.bpf.c is neither in" in attached.outcomes["absent"].reason
    assert attached.outcomes["traffic"].up


def test_a_fragment_that_leaves_by_a_tail_call_is_not_tried_without_what_its_probes_need(
    script: Script, place: Path
) -> None:
    """The verifier would walk all its paths to refuse it. The others of the unit run."""
    leaving = fragment(place, "leaving", Packet("on_packet_leaving"), TailCall("go_on", table="leaving"),
                       RawTracepoint("on_end", tracepoint="end"))  # fmt: skip
    attached = attach(script, leaving, fragment(place, "staying"), facts=machine("BPF", "NET_ADMIN"))
    reason = "raw_tracepoint/end: on_end: not tried (without the capability PERFMON)"
    assert attached.outcomes["leaving"] == Outcome(False, reason=reason)
    assert attached.outcomes["staying"].up
    assert script.log.count("compile") == 1


def test_a_fragment_that_is_too_new_for_the_kernel_is_not_tried_and_takes_nobody_with_it(
    script: Script, place: Path
) -> None:
    new, old = fragment(place, "new"), fragment(place, "old")
    new.since, old.since = "99.1", "5.10"  # type: ignore[misc]

    attached = attach(script, new, old)

    assert attached.outcomes["new"] == Outcome(False, reason="not tried: it runs on Linux 99.1 and newer")
    assert attached.outcomes["old"].up
    assert script.log.count("compile") == 1


@pytest.mark.parametrize(("of", "error"), [("headers", HeadersError), ("host", HostError)])
def test_what_is_no_fault_of_the_text_costs_no_collector_but_the_start(
    script: Script, place: Path, of: str, error: type[Exception]
) -> None:
    script.compile_answer = {"error": "there is no compiler", "of": of}
    with pytest.raises(error, match="there is no compiler"):
        attach(script, fragment(place, "traffic"))


def test_a_unit_of_an_earlier_start_that_the_verifier_refuses_is_compiled_once_more(
    script: Script, place: Path
) -> None:
    script.stale = {"on_egress"}
    assert attach(script, fragment(place, "traffic")).outcomes == {"traffic": Outcome(True, PACKETS)}
    assert script.log.count("compile") == 2


def test_one_that_is_found_out_while_its_hooks_are_tried_is_no_alternative_that_failed(
    script: Script, place: Path
) -> None:
    script.stale = {"on_new"}
    either = AnyOf((RawTracepoint("on_new", tracepoint="new"), RawTracepoint("on_old", tracepoint="old")))
    outcome = attach(script, fragment(place, "tcp", either)).outcomes["tcp"]
    assert outcome == Outcome(True, ("raw_tracepoint/new",))
    assert script.log.count("compile") == 2


def test_one_that_is_found_out_while_a_culprit_is_sought_is_none(script: Script, place: Path) -> None:
    script.verifier = {"tcp_text": "it is too large"}
    script.stale_later = {"on_ingress"}
    outcomes = attach(script, fragment(place, "traffic"), fragment(place, "tcp")).outcomes
    assert outcomes["traffic"].up and not outcomes["tcp"].up
