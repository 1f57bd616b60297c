"""What is outside, by name: networks that the settings name, the longest prefix first."""

from collections.abc import Sequence

from agent import networks
from agent.identity import addresses
from agent.identity.model import Peer


class Externals:
    """texts: as `networks` has them. IPv4 and IPv6 apart, or ::/0 would be all of IPv4, too."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts = tuple(texts)
        self._named: dict[tuple[bool, int, int], Peer] = {}
        for network in map(networks.parse, texts):
            bits = network.range.prefixlen
            number = int(network.range.network_address) >> (network.range.max_prefixlen - bits)
            self._named[network.range.version == 4, bits, number] = Peer("external", "", network.name, network.zone)
        self._lengths = {
            is_ipv4: sorted({bits for version, bits, _ in self._named if version is is_ipv4}, reverse=True)
            for is_ipv4 in (True, False)
        }

    def find(self, address: bytes) -> Peer | None:
        is_ipv4 = address.startswith(addresses.MAPPED)
        own = address[len(addresses.MAPPED) :] if is_ipv4 else address
        number, whole = addresses.number(own), 8 * len(own)
        for bits in self._lengths[is_ipv4]:
            if peer := self._named.get((is_ipv4, bits, number >> (whole - bits))):
                return peer
        return None
