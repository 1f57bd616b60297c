import pytest

from agent.identity import addresses
from agent.identity.externals import Externals
from agent.identity.model import Peer

NAMED = Externals(
    ["partner=203.0.113.0/24", "api=203.0.113.128/25@eu-1", "one=203.0.113.200", "six=2001:db8::/32", "rest=::/0"]
)
WHOLE_IPV4 = Externals(["internet=0.0.0.0/0"])


@pytest.mark.parametrize(
    ("address", "name", "zone"),
    [
        ("203.0.113.1", "partner", ""),
        ("203.0.113.127", "partner", ""),
        ("203.0.113.128", "api", "eu-1"),
        ("203.0.113.200", "one", ""),
        ("2001:db8::7", "six", ""),
        ("2001:db9::7", "rest", ""),
    ],
)
def test_the_longest_prefix_names_an_address(address: str, name: str, zone: str) -> None:
    packed = addresses.parse(address)
    assert packed and NAMED.find(packed) == Peer("external", "", name, zone)


@pytest.mark.parametrize("address", ["203.0.112.255", "203.0.114.0", "1.2.3.4"])
def test_other_addresses_have_no_name(address: str) -> None:
    """Not even that of all IPv6, of which the kernel's form of IPv4 is a part."""
    packed = addresses.parse(address)
    assert packed and NAMED.find(packed) is None


def test_the_whole_of_ipv4_is_not_ipv6() -> None:
    found = [WHOLE_IPV4.find(addresses.parse(address) or b"") for address in ("1.2.3.4", "2001:db8::1")]
    assert found == [Peer("external", "", "internet"), None]


def test_without_names_nobody_has_one() -> None:
    assert Externals().find(addresses.parse("1.2.3.4") or b"") is None
