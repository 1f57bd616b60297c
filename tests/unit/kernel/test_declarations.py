"""The C that is written is given to the C compiler where there is one: it has the last word on a layout."""

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.synthetic_btf import SyntheticBtf

from agent.kernel import btf
from agent.kernel.btf import Btf
from agent.kernel.declarations import Declarations

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (apt install gcc)")


def prove(declarations: Declarations, text: str = "") -> None:
    """Every assertion holds, and the text compiles after the declarations."""
    source = "\n".join([declarations.text(), *declarations.assertions, text])
    command = ["cc", "-std=gnu11", "-fsyntax-only", "-Wno-address-of-packed-member", "-x", "c", "-"]
    compiled = subprocess.run(command, input=source, text=True, capture_output=True)
    assert compiled.returncode == 0, compiled.stderr[:2000]


@needs_compiler
def test_padding_packing_and_alignment_are_the_kernels() -> None:
    kernel = SyntheticBtf()
    byte, short, number, long = (
        kernel.integer(name, size)
        for name, size in (("unsigned char", 1), ("unsigned short", 2), ("unsigned int", 4), ("unsigned long", 8))
    )
    records = [
        kernel.struct("holes", 64, [("a", byte, 0), ("b", long, 64), ("c", byte, 128)]),
        kernel.struct("packed", 11, [("a", byte, 0), ("b", long, 8), ("c", short, 72)]),
        kernel.struct("bits", 8, [("a", byte, 0, 3), ("b", byte, 5, 2), ("c", number, 8, 23), ("d", short, 48)]),
        kernel.union("either", 8, [("a", byte, 0), ("b", kernel.array(number, 2), 0)]),
        kernel.union("larger", 16, [("a", long, 0)]),
        kernel.struct("empty", 0, []),
    ]
    declarations = Declarations(kernel.btf())
    for record in records:
        declarations.require(record)
    assert len(declarations.assertions) == 16
    prove(declarations)


@needs_compiler
def test_members_of_nameless_records_belong_to_the_record_around_them() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("unsigned int", 4)
    named = kernel.struct("common", 8, [("family", number, 0), ("state", number, 32)])
    nameless = kernel.union("", 4, [("hash", number, 0), ("mark", number, 0)])
    record = kernel.struct("sock", 16, [("", named, 0), ("", nameless, 64), ("flags", number, 96)])
    declarations = Declarations(kernel.btf())
    declarations.require(record)
    prove(declarations, "int f(struct sock *sk) { return sk->family + sk->mark + sk->flags; }")
    assert any("struct sock, state) == 4" in line for line in declarations.assertions)


@needs_compiler
def test_what_is_only_pointed_at_is_not_defined() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    far = kernel.struct("far", 4, [("x", number, 0)])
    callback = kernel.pointer(kernel.prototype(number, number))
    nameless = kernel.pointer(kernel.struct("", 4, [("x", number, 0)]))
    record = kernel.struct("near", 24, [("far", kernel.pointer(far), 0), ("run", callback, 64), ("it", nameless, 128)])
    declarations = Declarations(kernel.btf())
    declarations.require(record)
    assert "struct far;" in declarations.text()
    assert "struct far {" not in declarations.text()
    prove(declarations, "struct near n; struct far *f(void) { return n.far; }")


@needs_compiler
def test_a_pointer_that_the_text_follows_has_its_target_defined() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    node = kernel.struct("node", 4, [("id", number, 0)])
    group = kernel.struct("group", 8, [("kn", kernel.pointer(node), 0)])
    record = kernel.struct("sock", 8, [("group", kernel.pointer(group), 0)])
    declarations = Declarations(kernel.btf(), followed={"group", "kn", "id"})
    declarations.require(record)
    prove(declarations, "int f(struct sock *sk) { return sk->group->kn->id; }")


@needs_compiler
def test_a_name_of_the_texts_own_is_left_to_it() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    theirs = kernel.struct("key", 4, [("x", number, 0)])
    record = kernel.struct("sock", 12, [("key", theirs, 0), ("next", kernel.pointer(theirs), 32)])
    clash = kernel.enumeration("kind", {"MINE": 7, "THEIRS": 8})
    declarations = Declarations(kernel.btf(), taken={"key", "MINE"})
    declarations.require(record)
    declarations.enumerators(clash)
    prove(declarations, "struct key { long mine; }; enum { MINE = 1 }; int f(void) { return MINE + THEIRS; }")


@needs_compiler
def test_two_types_of_one_name_are_told_apart() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    first = kernel.struct("pair", 4, [("x", number, 0)])
    second = kernel.struct("pair", 8, [("x", number, 0), ("y", number, 32)])
    record = kernel.struct("both", 12, [("a", first, 0), ("b", second, 32)])
    name, other = kernel.typedef("size_t", number), kernel.typedef("size_t", first)
    declarations = Declarations(kernel.btf())
    for each in (record, name, other):
        declarations.require(each)
    prove(declarations, f"struct both b; struct pair p; struct pair___{second} q; size_t s; size_t___{other} t;")


@needs_compiler
def test_enumerations_have_the_size_and_values_of_the_kernel() -> None:
    kernel = SyntheticBtf()
    small = kernel.enumeration("small", {"A": 1}, size=1)
    signed = kernel.enumeration("signed_one", {"B": -5}, signed=True)
    large = kernel.large_enumeration("large", {"C": 1 << 63})
    record = kernel.struct("all", 24, [("a", small, 0), ("b", signed, 32), ("c", large, 64), ("d", small, 128)])
    declarations = Declarations(kernel.btf())
    declarations.require(record)
    prove(declarations, '_Static_assert(A == 1 && B == -5 && C == 1ULL << 63, "values");')


@needs_compiler
def test_the_running_kernels_sockets_tasks_and_devices_have_its_layout() -> None:
    try:
        types = Btf(Path(btf.VMLINUX).read_bytes())
    except OSError as error:
        pytest.skip(f"{btf.VMLINUX}: {error.strerror}")
    declarations = Declarations(types)
    wanted = {"tcp_sock", "task_struct", "sk_buff", "net_device", "cgroup", "inode", "super_block", "bpf_sock"}
    for number in types.find(wanted, btf.RECORDS).values():
        declarations.require(number)
    assert len(declarations.assertions) > 1000
    prove(declarations)
