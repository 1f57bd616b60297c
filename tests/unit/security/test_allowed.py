import random
from ipaddress import IPv6Address, IPv6Network, ip_address

import pytest
from tests.unit.security.bench import policies

from agent.security import allowed
from bpfleet.policies.facts import Facts


def entries(*rules: str) -> frozenset[allowed.Entry]:
    text = "rules:\n" + "".join(
        f"  - {{name: r{n}, event: egress, severity: info, {rule}}}\n" for n, rule in enumerate(rules)
    )
    return allowed.entries(policies(text).by_event["egress"])


def networks(found: frozenset[allowed.Entry]) -> list[IPv6Network]:
    return [IPv6Network((IPv6Address(address), bits)) for address, bits in found]


RULES = (
    "match: {address: 169.254.169.254}",
    'match: {address: [169.254.169.254, "fd00:ec2::254"]}',
    "match: {address: 10.0.0.0/8, port: 22}",
    "match: {port: 22}",
    "match: everything",
    "allow: []",
    "allow: [{address: [10.0.0.0/8, 192.0.2.0/24]}]",
    'allow: [{address: "::/0"}]',
    'allow: [{address: 0.0.0.0/0}, {address: "2001:db8::/32"}]',
    "allow: [{address: 10.0.0.0/8, port: 443}, {address: 10.1.0.0/16}]",
    "match: everything, except: [{address: 10.0.0.0/9}]",
    "match: {address: 10.0.0.0/8}, except: [{address: 10.0.0.0/9}]",
    "match: {binary: curl}, except: [{address: 10.0.0.0/9}]",
)
ADDRESSES = ("10.0.0.1", "10.1.2.3", "10.200.0.1", "192.0.2.7", "169.254.169.254", "169.254.169.253", "8.8.8.8")
SIXES = ("fd00:ec2::254", "fd00:ec2::253", "2001:db8::1", "2001:db9::1", "::1")


def test_where_the_kernel_is_silent_no_rule_fires() -> None:
    """For all pairs of rules: whatever program, port and address."""
    facts = {
        address: [
            Facts(
                "egress", {"network.peer.address": address, "network.peer.port": port, "process.executable.path": path}
            )
            for port in (22, 443)
            for path in ("/usr/bin/curl", "/bin/x")
        ]
        for address in (*ADDRESSES, *SIXES)
    }
    silent = 0
    for first in RULES:
        for second in RULES:
            text = f"rules:\n  - {{name: a, event: egress, severity: info, {first}}}\n"
            rules = policies(text + f"  - {{name: b, event: egress, severity: info, {second}}}\n").by_event["egress"]
            found = networks(allowed.entries(rules))
            for address, several in facts.items():
                if any(_mapped(address) in network for network in found):
                    silent += 1
                    assert not any(rule.fires(each) for rule in rules for each in several), (first, second, address)
    assert silent > 200


def _mapped(text: str) -> IPv6Address:
    address = ip_address(text)
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")


@pytest.mark.parametrize(
    ("rules", "address", "is_silent"),
    [
        (RULES[:1], "8.8.8.8", True),
        (RULES[:1], "169.254.169.253", True),
        (RULES[:1], "fd00:ec2::254", True),
        (RULES[1:2], "fd00:ec2::253", True),
        (RULES[6:7], "10.200.0.1", True),
        (RULES[7:8], "2001:db9::1", True),
        (RULES[7:8], "8.8.8.8", False),
        (RULES[8:9], "8.8.8.8", True),
        (RULES[9:10], "10.1.2.3", True),
        (RULES[9:10], "10.200.0.1", False),
        (RULES[11:12], "8.8.8.8", True),
        (RULES[12:13], "10.1.2.3", True),
        ((RULES[0], RULES[6]), "10.200.0.1", True),
        ((RULES[0], RULES[5]), "10.200.0.1", False),
        (RULES[3:4], "8.8.8.8", False),
        (RULES[4:5], "8.8.8.8", False),
    ],
)
def test_what_can_be_left_to_the_kernel_is(rules: tuple[str, ...], address: str, is_silent: bool) -> None:
    assert any(_mapped(address) in network for network in networks(entries(*rules))) == is_silent


def test_two_addresses_out_of_all_take_some_hundred_entries() -> None:
    assert len(entries(RULES[1])) < 300


def test_a_list_that_is_too_long_is_cut_to_what_it_holds() -> None:
    dice = random.Random(23)
    many = ", ".join(f"198.{dice.randrange(256)}.{n % 256}.{dice.randrange(256)}" for n in range(1020))
    found = entries(f"allow: [{{address: [{many}]}}, {{address: [192.0.2.0/24, {many}]}}]")
    assert len(found) <= allowed.MAX_ALLOWED
