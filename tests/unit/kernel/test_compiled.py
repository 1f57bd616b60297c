"""A unit as bytes and back, and bytes that are none: cut at every length, with any bit turned, of something else."""

import struct

import pytest

from agent.kernel import compiled
from agent.kernel.compiled import FORMAT, Compiled, MapDefinition

EXIT = struct.pack("=BBhi", 0x95, 0, 0, 0)
UNIT = Compiled(
    {"on_it": EXIT, "on_that": EXIT * 2},
    [{"name": "rows", "type": 1, "key_size": 8, "value_size": 16, "max_entries": 4}],
    [MapDefinition("rows", 1, 8, 16, 4, 0)],
    [["/usr/lib/libbcc.so", 23, 42]],
    1009,
    frozenset({"on_that"}),
)


def wide_load(value: int, source: int) -> bytes:
    return struct.pack("=BBhi", 0x18, source << 4 | 1, 0, value) + bytes(8)


def call(value: int, source: int) -> bytes:
    return struct.pack("=BBhi", 0x85, source << 4, 0, value)


def test_a_unit_comes_back_as_it_was() -> None:
    assert compiled.decode(UNIT.encode("key"), "key") == UNIT


def test_one_that_is_cut_at_any_length_is_none() -> None:
    data = UNIT.encode("key")
    for length in range(len(data)):
        with pytest.raises(ValueError):
            compiled.decode(data[:length], "key")


def test_one_with_any_bit_turned_or_something_behind_it_is_none() -> None:
    data = UNIT.encode("key")
    for bit in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            compiled.decode(bytes(damaged), "key")
    with pytest.raises(ValueError):
        compiled.decode(data + b"\0", "key")


def test_one_under_the_name_of_another_is_none() -> None:
    with pytest.raises(ValueError, match="of something else"):
        compiled.decode(UNIT.encode("key"), "another")


def test_one_of_another_release_is_none() -> None:
    data = UNIT.encode("key")
    with pytest.raises(ValueError, match="another release"):
        compiled.decode(FORMAT.replace(b"1", b"0") + data[len(FORMAT) :], "key")


def test_one_that_unpacks_to_more_than_any_is_none() -> None:
    large = Compiled({"on_it": bytes(compiled.MAX_BYTES)}, [], [], [])
    with pytest.raises(ValueError, match="more than"):
        compiled.decode(large.encode("key"), "key")


def test_code_names_its_maps_by_number_until_it_has_descriptors_again() -> None:
    code = wide_load(9, 1) + call(1, 0) + wide_load(5, 1) + wide_load(9, 0) + EXIT
    kept = compiled.numbered({"on_it": code}, [5, 9])["on_it"]
    assert kept == wide_load(1, 1) + call(1, 0) + wide_load(0, 1) + wide_load(9, 0) + EXIT
    assert compiled.maps_of(kept) == {0, 1}
    assert compiled.renamed(kept, {0: 5, 1: 9}) == code
    assert compiled.maps_of(compiled.renamed(kept, {0: 70, 1: 80})) == {70, 80}


@pytest.mark.parametrize(
    ("instruction", "said"),
    [
        (wide_load(7, 1), "there is no map 7"),
        (wide_load(5, 2), "source 2"),  # a value in a map
        (wide_load(5, 3), "source 3"),  # a type of the kernel
        (wide_load(5, 4), "source 4"),  # a function
        (call(3, 1), "source 1"),  # another function of the text
        (call(3, 2), "source 2"),  # a function of the kernel
    ],
)
def test_code_that_names_what_is_no_map_of_the_unit_is_not_kept(instruction: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compiled.numbered({"on_it": instruction + EXIT}, [5])
