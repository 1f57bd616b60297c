"""Which destinations need not be told of? Of a set of rules about egress those for which none of them can fire,
whatever else is true of the event: a rule that looks at more than the address leaves the decision to user space.
"""

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from bpfleet.policies.kinds import Inside, Pattern
from bpfleet.policies.model import EVERYTHING, Alternative, Rule

MAX_ALLOWED: Final = 1024
"""Prefixes of one group in the kernel's table. A shorter list means more events, and no other decision."""

WHOLE: Final = (IPv6Network("::/0"),)
HOST_BITS: Final = 128

Networks = tuple[IPv6Network, ...]
Entry = tuple[bytes, int]


class Names:
    """How addresses are found for what is allowed by name: in the DNS, and among the cluster's Services."""

    def __init__(
        self,
        dns: Callable[[Callable[[str], bool]], Iterable[bytes]] | None = None,
        services: Callable[[Callable[[str], bool]], Iterable[bytes]] | None = None,
    ) -> None:
        self._ways = {"name": dns, "service": services}

    def addresses(self, field: str, is_wanted: Callable[[str], bool]) -> Iterable[bytes]:
        way = self._ways[field]
        return way(is_wanted) if way else ()


NO_NAMES: Final = Names()


def entries(rules: Iterable[Rule], names: Names = NO_NAMES) -> frozenset[Entry]:
    """For rules about egress that hold for the same workloads: addresses of 16 bytes, with the length of a prefix."""
    found: Networks = WHOLE
    for rule in rules:
        found = _both(found, _silent(rule, names))
        if not found:
            break
    return frozenset((each.network_address.packed, each.prefixlen) for each in found[:MAX_ALLOWED])


def _silent(rule: Rule, names: Names) -> Networks:
    """Where this rule never fires."""
    allowed = [each for one in (*rule.allowed, *rule.exceptions) for each in _whole(one, names)]
    if rule.match is EVERYTHING:
        return _distinct(allowed)
    told: Networks = ()
    for one in rule.match:
        asked = one.patterns("address")
        if not asked:
            return _distinct(allowed)  # it may fire for any address
        told += _networks(asked)
    return _distinct((*_without(WHOLE, told), *allowed))


def _whole(one: Alternative, names: Names) -> Iterable[IPv6Network]:
    """What is allowed by its address alone."""
    if one.fields == {"address"}:
        return _networks(one.patterns("address"))
    if one.fields in ({"name"}, {"service"}):
        (field,) = one.fields
        patterns = one.patterns(field)
        found = names.addresses(field, lambda text: any(pattern.matches(text) for pattern in patterns))
        return [IPv6Network((IPv6Address(address), HOST_BITS)) for address in found]
    return ()


def _networks(patterns: Iterable[Pattern]) -> Networks:
    return tuple(network for each in patterns if isinstance(each, Inside) for network in each.mapped)


def _distinct(networks: Iterable[IPv6Network]) -> Networks:
    """The largest first; none within another one."""
    found: dict[IPv6Network, None] = {}
    lengths: set[int] = set()
    for each in sorted(set(networks), key=lambda network: network.prefixlen):
        if not any(each.supernet(new_prefix=bits) in found for bits in lengths):
            found[each] = None
            lengths.add(each.prefixlen)
    return tuple(found)


def _both(ours: Networks, theirs: Networks) -> Networks:
    """Networks are within one another, or apart. The smaller of two that overlap is in both."""
    return _distinct((*_inside(ours, theirs), *_inside(theirs, ours)))


def _inside(these: Networks, those: Networks) -> Sequence[IPv6Network]:
    known, lengths = set(those), {each.prefixlen for each in those}
    return [
        each
        for each in these
        if any(bits <= each.prefixlen and each.supernet(new_prefix=bits) in known for bits in lengths)
    ]


def _without(networks: Networks, taken: Iterable[IPv6Network]) -> Networks:
    for each in taken:
        left: list[IPv6Network] = []
        for network in networks:
            if each.subnet_of(network):
                left += network.address_exclude(each)
            elif not network.subnet_of(each):
                left.append(network)
        networks = tuple(left)
    return networks
