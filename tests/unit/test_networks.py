from ipaddress import ip_network

import pytest

from agent import networks
from agent.networks import Network


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("payments-api=203.0.113.0/24", Network("payments-api", ip_network("203.0.113.0/24"), "")),
        ("a=2001:db8::/32@eu-1", Network("a", ip_network("2001:db8::/32"), "eu-1")),
        ("A.b_c=203.0.113.7", Network("A.b_c", ip_network("203.0.113.7/32"), "")),
        ("all=::/0", Network("all", ip_network("::/0"), "")),
        ("all=0.0.0.0/0", Network("all", ip_network("0.0.0.0/0"), "")),
    ],
)
def test_a_network_has_a_name_and_perhaps_a_zone(text: str, found: Network) -> None:
    assert networks.parse(text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(
            (text, "does not look like that")
            for text in ("", "a", "a=", "=10.0.0.0/8", "a=z", "a=10.0.0.0/8@", "-a=::/0")
        ),
        *((text, "does not look like that") for text in ("a\nb=::/0", "a=10.0.0.0/8\n", "é=::/0", "a=fe80::1%eth0/64")),
        (f"{'a' * 64}=::/0", "does not look like that"),
        ("a=203.0.113.5/24", "has host bits set"),
        ("a=10.0.0.0/33", "is no network"),
        ("a=10.0.0/8", "is no network"),
        ("a=010.0.0.0/8", "is no network"),
        ("a=2001:db8::/129", "is no network"),
        ("a=::ffff:10.0.0.0/104", "write it as IPv4"),
    ],
)
def test_what_is_none_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        networks.parse(text)


def test_a_network_has_one_name() -> None:
    with pytest.raises(ValueError, match="10.0.0.0/8 is there twice: a and b"):
        networks.check(["a=10.0.0.0/8", "b=10.0.0.0/9", "b=10.0.0.0/8"])


def test_an_entry_of_the_file_is_one_text_a_network() -> None:
    assert networks.texts({"name": ["a"], "cidrs": ["10.0.0.0/8", "::/0"]}) == ["a=10.0.0.0/8", "a=::/0"]
    assert networks.texts({"name": ["a"], "cidrs": ["::/0"], "zone": ["z"]}) == ["a=::/0@z"]
