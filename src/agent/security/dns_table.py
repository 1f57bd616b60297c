"""Which names stand for an address, as each cgroup was told? Bounded, and each entry for a time of its own.

Two ask: the collector `egress`, for the name of one destination (known()), and whoever allows destinations by their
names (addresses()): what is known there can be put on the kernel's list, from the next drain on. The first connection
comes before that, so it is told, with its name: a policy says then that it is allowed.

A workload can have itself told what it likes, by a resolver of its own. So addresses() has only what resolvers have
said that are trusted, and an event says who it was that said the name.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from agent.protocols.dns import Answer

MOST_ADDRESSES = 8192
"""Of all cgroups, 4 MiB."""

MOST_OF_A_CGROUP = 1024
"""What asks for more has its oldest forgotten, and nobody else's."""

MOST_NAMES = 4
"""Of an address: of virtual hosts, those that were asked for last."""

LEAST_SECONDS = 600
"""Programs go on using an address when its time is over: those with a pool of connections, or a cache of their own."""

MOST_SECONDS = 86_400
SECOND_NS: Final = 1_000_000_000
SWEEP_SECONDS = 60
"""Between two looks for what is over."""


class Known(NamedTuple):
    """since_ns: the first answer; until_ns: when it is forgotten. resolver: who said it last, 16 bytes."""

    address: bytes
    name: str
    resolver: bytes
    since_ns: int
    until_ns: int


class DnsTable:
    """By the kernel's monotonic clock, as events have it. most: addresses of all cgroups. trusts: whose word
    addresses() takes, by their address of 16 bytes; who has a list of resolvers puts it here. version: another one when
    addresses() may say something else."""

    def __init__(self, most: int = MOST_ADDRESSES) -> None:
        self.version = 0
        self.trusts: Callable[[bytes], bool] = lambda resolver: True
        self._most = most
        self._cgroups: dict[int, dict[bytes, dict[str, Known]]] = {}
        self._addresses = 0
        self._forgotten: dict[int, int] = {}
        self._swept_ns = 0

    def __len__(self) -> int:
        """Addresses, each once a cgroup."""
        return self._addresses

    def add(self, cgroup_id: int, resolver: bytes, answer: Answer, time_ns: int) -> None:
        """What a cgroup was told."""
        for address, seconds in answer.addresses:
            until_ns = time_ns + min(max(seconds, LEAST_SECONDS), MOST_SECONDS) * SECOND_NS
            self._add(cgroup_id, Known(address, answer.name, resolver, time_ns, until_ns))

    def _add(self, cgroup_id: int, known: Known) -> None:
        addresses = self._cgroups.setdefault(cgroup_id, {})
        names = addresses.pop(known.address, None)
        if names is None:
            self._make_room(cgroup_id)
            addresses = self._cgroups.setdefault(cgroup_id, {})
            names = {}
            self._addresses += 1
        before = names.pop(known.name, None)
        self.version += before is None or before.resolver != known.resolver
        if before:
            known = known._replace(since_ns=before.since_ns, until_ns=max(before.until_ns, known.until_ns))
        elif len(names) == MOST_NAMES:
            del names[next(iter(names))]
        names[known.name] = known
        addresses[known.address] = names  # those that were told last stand last

    def _make_room(self, cgroup_id: int) -> None:
        if len(self._cgroups[cgroup_id]) >= MOST_OF_A_CGROUP:
            self._forget_oldest(cgroup_id)
        elif self._addresses >= self._most:
            self._forget_oldest(max(self._cgroups, key=lambda each: len(self._cgroups[each])))

    def _forget_oldest(self, cgroup_id: int) -> None:
        self._remove(cgroup_id, next(iter(self._cgroups[cgroup_id])))
        self._forgotten[cgroup_id] = self._forgotten.get(cgroup_id, 0) + 1

    def _remove(self, cgroup_id: int, address: bytes) -> None:
        self.version += 1
        del self._cgroups[cgroup_id][address]
        self._addresses -= 1
        if not self._cgroups[cgroup_id]:
            del self._cgroups[cgroup_id]

    def sweep(self, now_ns: int) -> None:
        """Let go of what is over; looks now and then only."""
        if now_ns < self._swept_ns + SWEEP_SECONDS * SECOND_NS:
            return
        self._swept_ns = now_ns
        for cgroup_id, addresses in list(self._cgroups.items()):
            for address, names in list(addresses.items()):
                for known in list(names.values()):
                    if known.until_ns < now_ns:
                        del names[known.name]
                        self.version += 1
                if not names:
                    self._remove(cgroup_id, address)

    def known(self, cgroup_id: int, address: bytes, time_ns: int) -> Known | None:
        """What it was told of this address until then: of several names the one that it asked for last."""
        names = self._cgroups.get(cgroup_id, {}).get(address, {})
        for known in reversed(names.values()):
            if known.since_ns <= time_ns <= known.until_ns:
                return known
        return None

    def addresses(self, is_wanted: Callable[[str], bool]) -> set[bytes]:
        """Of 16 bytes: all that stand for such a name, by the word of a resolver that is trusted."""
        return {
            known.address
            for addresses in self._cgroups.values()
            for names in addresses.values()
            for known in names.values()
            if is_wanted(known.name) and self.trusts(known.resolver)
        }

    def take_forgotten(self) -> dict[int, int]:
        """By cgroup: addresses that had to go before their time, since the last call."""
        taken, self._forgotten = self._forgotten, {}
        return taken
