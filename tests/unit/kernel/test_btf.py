import struct
from pathlib import Path

import pytest
from tests.support.synthetic_btf import SyntheticBtf

from agent.kernel import btf
from agent.kernel.btf import Btf, Member


def test_types_keep_their_ids_whatever_lies_between() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    kernel.array(number, 3)
    kernel.enumeration("color", {"RED": 0, "GREEN": 1})
    kernel.function("walk", kernel.prototype(0, number, number))
    last = kernel.struct("point", 8, [("x", number, 0), ("y", number, 32)])
    types = kernel.btf()
    assert len(types) == last + 1
    assert types.type(last) == (btf.STRUCT, "point", 2, False, 8)
    assert types.members(last) == [Member("x", number, 0, 0), Member("y", number, 32, 0)]
    assert types.array(2) == (number, 3)
    assert types.type(0).name == "void"


def test_bit_fields_have_their_width_and_place() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("unsigned int", 4)
    flags = kernel.struct("flags", 4, [("low", number, 0, 3), ("high", number, 3, 29)])
    assert kernel.btf().members(flags) == [Member("low", number, 0, 3), Member("high", number, 3, 29)]


def test_enumerators_are_signed_where_the_enumeration_is() -> None:
    kernel = SyntheticBtf()
    signed = kernel.enumeration("verdict", {"NO": -1, "YES": 1}, signed=True)
    large = kernel.large_enumeration("feature", {"LAST": 1 << 63})
    types = kernel.btf()
    assert types.values(signed) == [("NO", -1), ("YES", 1)]
    assert types.values(large) == [("LAST", 1 << 63)]


def test_a_name_is_found_among_the_kinds_asked_for() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("int", 4)
    record = kernel.struct("file", 4, [("fd", number, 0)])
    again = kernel.struct("file", 8, [("fd", number, 32)])
    name = kernel.typedef("file", record)
    types = kernel.btf()
    assert again != record
    assert types.find({"file", "absent", ""}, btf.RECORDS) == {"file": record}
    assert types.find({"file"}, (btf.TYPEDEF,)) == {"file": name}


def test_an_enumeration_is_found_by_its_enumerators() -> None:
    kernel = SyntheticBtf()
    nameless = kernel.enumeration("", {"BPF_ANY": 0, "BPF_NOEXIST": 1})
    kernel.enumeration("color", {"RED": 0})
    large = kernel.large_enumeration("feature", {"FIRST": 1})
    assert kernel.btf().enumerations({"BPF_NOEXIST", "FIRST", "color"}) == [nameless, large]


def test_qualifiers_and_typedefs_are_looked_through() -> None:
    kernel = SyntheticBtf()
    number = kernel.integer("unsigned int", 4)
    name = kernel.typedef("u32", number)
    constant = kernel.const(name)
    types = kernel.btf()
    assert types.plain(constant) == name
    assert types.resolved(constant) == number


@pytest.mark.parametrize("data", [b"", b"\x9f\xeb\1", struct.pack("=HBBIIIII", 0x9FEB, 1, 0, 24, 0, 0, 0, 0)])
def test_what_is_not_btf_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="BTF"):
        Btf(data)


def test_btf_that_ends_early_is_refused() -> None:
    kernel = SyntheticBtf()
    kernel.integer("int", 4)
    with pytest.raises(ValueError, match="cut short"):
        Btf(kernel.data()[:-1])


def test_the_running_kernel_has_the_layouts_that_its_abi_promises() -> None:
    try:
        types = Btf(Path(btf.VMLINUX).read_bytes())
    except OSError as error:
        pytest.skip(f"{btf.VMLINUX}: {error.strerror}")
    found = types.find({"iphdr", "tcphdr", "udphdr"}, btf.RECORDS)
    assert {name: types.type(number).size_or_type for name, number in found.items()} == {
        "iphdr": 20,
        "tcphdr": 20,
        "udphdr": 8,
    }
    ports = [(member.name, member.offset) for member in types.members(found["udphdr"])]
    assert ports == [("source", 0), ("dest", 16), ("len", 32), ("check", 48)]
