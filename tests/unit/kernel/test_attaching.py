import struct
from typing import Any

import pytest
from tests.support.synthetic_btf import SyntheticBtf

from agent.kernel.attaching import Attaching, maps_of
from agent.kernel.btf import Btf
from agent.kernel.failure import Failure


class Code:
    """Of a text without functions, on a kernel with one tracepoint's type and no iterator."""

    def __init__(self, types: Btf | None) -> None:
        self.types = types

    def code(self, function: str) -> bytes:
        raise Failure(f"there is no function {function} in the text")

    def maps(self) -> list[dict[str, Any]]:
        return []


@pytest.fixture
def kernel() -> Btf:
    made = SyntheticBtf()
    made.typedef("btf_trace_known", made.pointer(0))
    made.typedef("bpf_iter_task_file", made.pointer(0))  # an iterator is a function, not a type
    return made.btf()


@pytest.mark.parametrize("hook", ["tp_btf/known", "iter/task_file", "fexit/do_known"])
def test_what_needs_type_information_says_so_where_there_is_none(hook: str) -> None:
    with pytest.raises(Failure, match="needs BTF"):
        Attaching(Code(None)).load("f", hook)


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("tp_btf/unknown", "this kernel has no tracepoint unknown"),
        ("iter/task_file", "this kernel has no iterator task_file"),
        ("tp_btf/known", "there is no function f in the text"),
        ("fexit/do_unknown", "this kernel has no function do_unknown"),
        ("raw_tracepoint/any", "there is no function f in the text"),
        ("tail_call/egress/table", "there is no function f in the text"),
    ],
)
def test_a_hook_that_the_kernel_does_not_know_is_named(kernel: Btf, hook: str, message: str) -> None:
    with pytest.raises(Failure, match=message):
        Attaching(Code(kernel)).load("f", hook)


def test_the_maps_that_code_names_are_found() -> None:
    """A 64-bit load takes two instructions, the second without an operation; only source register 1 means a map."""
    load_map, load_number, more, leave = (0x18, 0x11, 0, 7), (0x18, 0x01, 0, 9), (0, 0, 0, 0), (0x95, 0, 0, 0)
    other_map = (0x18, 0x12, 0, 12)
    code = b"".join(
        struct.pack("=BBhi", *one)
        for one in (load_map, more, load_number, more, other_map, more, load_map, more, leave)
    )
    assert maps_of(code) == {7, 12}
