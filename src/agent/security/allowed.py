"""Which destinations need not be told of? Of a set of rules about egress those for which none of them can fire,
whatever else is true of the event: a rule that looks at more than the address leaves the decision to user space.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from bpfleet.policies.kinds import Inside, Pattern
from bpfleet.policies.model import EVERYTHING, Alternative, Rule

MAX_ALLOWED: Final = 1024
"""Prefixes of one group in the kernel's table. A shorter list means more events, and no other decision."""

HOST_BITS: Final = 128

Network = tuple[int, int]
"""How many bits of an address count, and their value: as the list is made anew whenever the DNS tells of an address,
and ipaddress takes 100 times as long."""

Networks = tuple[Network, ...]
"""None within another one."""

WHOLE: Final = ((0, 0),)

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
    return frozenset(
        ((value << (HOST_BITS - bits)).to_bytes(HOST_BITS // 8, "big"), bits) for bits, value in found[:MAX_ALLOWED]
    )


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


def _whole(one: Alternative, names: Names) -> Iterable[Network]:
    """What is allowed by its address alone."""
    if one.fields == {"address"}:
        return _networks(one.patterns("address"))
    if one.fields in ({"name"}, {"service"}):
        (field,) = one.fields
        patterns = one.patterns(field)
        found = names.addresses(field, lambda text: any(pattern.matches(text) for pattern in patterns))
        return [(HOST_BITS, int.from_bytes(address, "big")) for address in found]
    return ()


def _networks(patterns: Iterable[Pattern]) -> Networks:
    return tuple(
        (network.prefixlen, int(network.network_address) >> (HOST_BITS - network.prefixlen))
        for each in patterns
        if isinstance(each, Inside)
        for network in each.mapped
    )


def _distinct(networks: Iterable[Network]) -> Networks:
    """The largest first; none within another one."""
    found: dict[Network, None] = {}
    lengths: set[int] = set()
    for bits, value in sorted(set(networks)):
        if not any((length, value >> (bits - length)) in found for length in lengths):
            found[bits, value] = None
            lengths.add(bits)
    return tuple(found)


def _both(ours: Networks, theirs: Networks) -> Networks:
    """Networks are within one another, or apart. The smaller of two that overlap is in both."""
    return _distinct((*_inside(ours, theirs), *_inside(theirs, ours)))


def _inside(these: Networks, those: Networks) -> Iterator[Network]:
    known, lengths = set(those), {bits for bits, _ in those}
    for bits, value in these:
        if any(length <= bits and (length, value >> (bits - length)) in known for length in lengths):
            yield bits, value


def _without(networks: Networks, taken: Iterable[Network]) -> Networks:
    for bits, value in taken:
        left: list[Network] = []
        for each in networks:
            if each[0] <= bits and value >> (bits - each[0]) == each[1]:  # it holds what is taken: its other parts stay
                left += ((length, (value >> (bits - length)) ^ 1) for length in range(each[0] + 1, bits + 1))
            elif each[0] <= bits or each[1] >> (each[0] - bits) != value:
                left.append(each)
        networks = tuple(left)
    return networks
