"""Networks with a name: `payments-api=203.0.113.0/24`, or `eu-partner=2001:db8::/32@eu-1` where their zone is known."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple

from agent.options import Entries, shown

MAX_NETWORKS = 1024
"""A look-up costs as much as there are lengths of prefixes, not networks; a list of more was made by a
program, which could have joined them."""

WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
"""As the value of a Kubernetes label."""

TEXT = rf"{WORD}=[0-9A-Fa-f:.]+(?:/[0-9]{{1,3}})?(?:@{WORD})?"
ALLOWED = "NAME=CIDR or NAME=CIDR@ZONE; in the file also {name: NAME, cidrs: [CIDR, ...], zone: ZONE}"
_TEXT = re.compile(TEXT, re.ASCII)
_MAPPED = IPv6Network("::ffff:0:0/96")


class Network(NamedTuple):
    name: str
    range: IPv4Network | IPv6Network
    zone: str


def parse(text: str) -> Network:
    """Raises ValueError, saying what is wrong."""
    if not _TEXT.fullmatch(text):
        raise ValueError(f"{shown(text)} does not look like that")
    name, _, rest = text.partition("=")
    cidr, _, zone = rest.partition("@")
    try:
        found = ip_network(cidr)
    except ValueError as error:
        raise ValueError(f"{shown(cidr)} is no network: {error}") from None
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        raise ValueError(f"{shown(cidr)} is IPv4 written as IPv6; write it as IPv4")
    return Network(name, found, zone)


def check(texts: Sequence[str]) -> None:
    """Raises ValueError for the first that is none, or is there twice."""
    seen: dict[IPv4Network | IPv6Network, str] = {}
    for text in texts:
        network = parse(text)
        if network.range in seen:
            raise ValueError(f"{network.range} is there twice: {seen[network.range]} and {network.name}")
        seen[network.range] = network.name


def texts(mapping: Mapping[str, Sequence[str]]) -> list[str]:
    """Of an entry as the file has it, one text a network."""
    (name,), zone = mapping["name"], "".join(f"@{each}" for each in mapping.get("zone", ()))
    return [f"{name}={cidr}{zone}" for cidr in mapping["cidrs"]]


ENTRIES = Entries({"name": False, "cidrs": True, "zone": False}, ("name", "cidrs"), texts, check, MAX_NETWORKS)
