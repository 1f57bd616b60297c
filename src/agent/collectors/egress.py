"""Destinations that are not on a watched workload's list, one by one: by whom, and by which name it was looked up.

Kernel half: egress.bpf.c."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from agent.collectors.dns_names import DnsNames
from agent.collectors.http_log import named
from agent.collectors.packet import MAPPED, TRANSPORTS
from agent.collectors.tcp_states import written
from agent.security import buckets, processes
from agent.security.dns_table import DnsTable
from agent.security.orders import Orders
from bpfleet import catalogue
from bpfleet.api import AnyOf, CgroupAddress, Channel, Collector, Event, Flow, Maps, Sample
from bpfleet.events import SECURITY_EGRESS, Attribute

CALLS: Final = ("connect", "send")
"""`enum egress_call`"""

GROUP_BITS = 32
ADDRESS_BITS = 128

_RECORD: Final = struct.Struct("=16sHBB4x")
_PREFIX: Final = struct.Struct("=II16s")


class ReadingProcess(CgroupAddress):
    """Reads what the kernel keeps of the process."""

    capabilities = (*CgroupAddress.capabilities, "PERFMON")


def _either(call: str, function: str) -> AnyOf:
    """The second one says less of the process."""
    return AnyOf((ReadingProcess(function, call=call), CgroupAddress(f"{function}_bare", call=call)))


class Egress(Collector):
    name = "egress"
    program = "egress.bpf.c"
    default = False
    probes = (
        _either("connect4", "on_connect4"),
        _either("connect6", "on_connect6"),
        _either("sendmsg4", "on_send4"),
        _either("sendmsg6", "on_send6"),
    )
    metrics = (catalogue.SECURITY_SUPPRESSED,)
    channels = (Channel("egress", lost=("rate_limit", "ring_full")),)
    event_names = (SECURITY_EGRESS,)

    def __init__(self, given: Mapping[str, str | int | float | bool] | None = None) -> None:
        super().__init__(given)
        self._resolving: DnsNames | None = None
        self._nothing = DnsTable()

    @property
    def names(self) -> DnsTable:
        """What the DNS has told watched workloads."""
        return self._resolving.table if self._resolving else self._nothing

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {"MAX_CGROUPS": str(limits["cgroups"])}

    def meet(self, others: Sequence[Collector]) -> None:
        self._resolving = next((each for each in others if isinstance(each, DnsNames)), None)

    def steer(self, maps: Maps, orders: Orders) -> int:
        """The lists first: who is watched from now on has one. Returns how many rows found no room: what they allow is
        told."""
        left_out = maps.replace("egress_allowed", dict.fromkeys(_prefixes(orders.allowed), (1,)))
        return left_out + maps.replace("egress_watches", orders.rows(self.name))

    def collect(self, maps: Maps) -> Iterator[Sample]:
        return buckets.suppressed(maps, self.name)

    def events(self, maps: Maps) -> Iterator[Event]:
        """The answers are read after the records: what was known when the first of these was made is among them."""
        records = list(maps.records("egress"))
        if records and self._resolving:
            self._resolving.catch_up()
        for record in records:
            maps.deliver("egress", 1)
            yield decode(record, self.names)


def _prefixes(allowed: Mapping[int, frozenset[tuple[bytes, int]]]) -> Iterator[bytes]:
    """`struct egress_prefix`; two that differ in bits that do not count are one."""
    for group, prefixes in allowed.items():
        for address, length in prefixes:
            yield _PREFIX.pack(GROUP_BITS + length, group, masked(address, length))


def masked(address: bytes, length: int) -> bytes:
    mask = (1 << ADDRESS_BITS) - (1 << ADDRESS_BITS - length)
    return (int.from_bytes(address, "big") & mask).to_bytes(ADDRESS_BITS // 8, "big")


def decode(record: bytes, names: DnsTable | None = None) -> Event:
    """`struct egress_record` of egress.bpf.c. What is not known is left out. Raises ValueError where there is less than
    it says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    address, port, transport, call = _RECORD.unpack_from(record)
    told = processes.decode(record[_RECORD.size :])
    of_process = told.attributes
    if not told.vpid:  # the kernel's memory could not be read
        del of_process["process.vpid"], of_process["process.parent_pid"]
    attributes: dict[str, Attribute] = {
        **of_process,
        "network.peer.address": written(address),
        "network.peer.port": port,
        "network.transport": named(TRANSPORTS, transport),
        "network.type": "ipv4" if address.startswith(MAPPED) else "ipv6",
        "bpfleet.network.call": named(CALLS, call),
    }
    known = names.known(told.cgroup_id, address, told.time_ns) if names else None
    if known:
        attributes["dns.question.name"] = known.name
        attributes["bpfleet.dns.resolver.address"] = written(known.resolver)
    return Event(
        SECURITY_EGRESS, told.time_ns, told.cgroup_id, attributes, Flow(address, port, named(TRANSPORTS, transport))
    )
