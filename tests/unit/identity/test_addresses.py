import pytest

from agent.identity import addresses


def test_addresses_have_sixteen_bytes() -> None:
    assert addresses.parse("10.0.0.1") == bytes(10) + b"\xff\xff\x0a\x00\x00\x01"
    assert addresses.parse("fd00::1") == b"\xfd" + bytes(14) + b"\x01"


@pytest.mark.parametrize("word", ["None", "", "10.0.0", "10.0.0.256", "fd00::g", "node0", None, 7, "1\x002"])
def test_other_words_are_no_address(word: object) -> None:
    assert addresses.parse(word) is None


def test_a_network_is_its_bits_and_their_value() -> None:
    assert addresses.network("10.244.1.0/24") == (120, addresses.number(addresses.MAPPED + b"\x0a\xf4\x01\x00") >> 8)
    assert addresses.network("fd00::/8") == (8, 0xFD)


@pytest.mark.parametrize("word", ["10.244.1.0", "10.244.1.0/x", "10.244.1.0/33", "fd00::/129", "/8", None])
def test_other_words_are_no_network(word: object) -> None:
    assert addresses.network(word) is None


KINDS = {
    "127.0.0.1": "loopback",
    "127.9.9.9": "loopback",
    "::1": "loopback",
    "10.1.2.3": "private",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "private",
    "fd00::1": "private",
    "0.0.0.0": "nobody",
    "::": "nobody",
    "169.254.169.254": "nobody",
    "224.0.0.251": "nobody",
    "255.255.255.255": "nobody",
    "fe80::1": "nobody",
    "ff02::1": "nobody",
    "172.32.0.1": "public",
    "100.128.0.1": "public",
    "192.0.2.1": "public",
    "2001:db8::1": "public",
}


@pytest.mark.parametrize(("text", "kind"), KINDS.items())
def test_each_address_is_of_one_kind(text: str, kind: str) -> None:
    address = addresses.parse(text)
    assert address
    tests = {
        "loopback": addresses.is_loopback(address),
        "private": addresses.is_private(address),
        "nobody": addresses.is_nobody(address),
    }
    assert [name for name, holds in tests.items() if holds] == ([] if kind == "public" else [kind])
