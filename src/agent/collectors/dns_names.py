"""Names that watched workloads asked for, and the addresses that they were told. Kernel half: dns_names.bpf.c, a part
of the packet program.

For the collector `egress`, which tells destinations by name, and for policies that allow them by name."""

import struct
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from agent.collectors import packet
from agent.protocols import dns
from agent.security.dns_table import DnsTable
from agent.security.orders import Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Maps, OptionValue, Packet, Sample

WATCHES: Final = "egress"
"""Whose orders say which cgroups are watched."""

SHARE: Final = Watch(per_second=100, burst=500)
"""Of a cgroup, in answers. Reading one takes 15 us: a workload that asks all the time costs 0.2 % of a core, and what
is left out are names that it had asked for before, mostly."""

READ, CUT, UNREADABLE = catalogue.DNS_RESULTS

_RECORD: Final = struct.Struct("=QQ16sII")


class DnsNames(Collector):
    """A part of `egress`, which switches it on. table: what is known."""

    name = "dns_names"
    program = "dns_names.bpf.c"
    base = packet.PACKET
    probes = (Packet("on_dns_answer"),)
    metrics = (catalogue.DNS_NAMES_ANSWERS, catalogue.DNS_NAMES_FORGOTTEN)
    channels = (Channel("dns_names", lost=("rate_limit", "ring_full")),)
    default = False

    def __init__(
        self, given: Mapping[str, OptionValue] | None = None, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """clock: as the kernel's bpf_ktime_get_ns()."""
        super().__init__(given)
        self._clock = clock
        self.table = DnsTable()
        self._maps: Maps | None = None
        self._answers: Tally[tuple[int, str]] = Tally()

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return packet.limits(limits)

    def steer(self, maps: Maps, orders: Orders) -> int:
        """Returns how many found no room: their destinations have no names."""
        self._maps = maps
        rows = {key: SHARE.row if any(row) else row for key, row in orders.rows(WATCHES).items()}
        return maps.replace("dns_names_watches", rows)

    def collect(self, maps: Maps) -> Iterator[Sample]:
        self._maps = maps
        self.catch_up()
        self.table.sweep(self._clock())
        answers, self._answers = self._answers, Tally()
        for (cgroup_id, result), count in answers.items():
            yield Sample(catalogue.DNS_NAMES_ANSWERS, count, cgroup_id, (result,))
        for cgroup_id, count in self.table.take_forgotten().items():
            yield Sample(catalogue.DNS_NAMES_FORGOTTEN, count, cgroup_id)

    def catch_up(self) -> None:
        """What has been answered by now is in the table."""
        if self._maps is None:
            return
        for record in self._maps.records("dns_names"):
            self._maps.deliver("dns_names", 1)
            self._read(record)

    def _read(self, record: bytes) -> None:
        """`struct dns_names_record` of dns_names.bpf.c."""
        time_ns, cgroup_id, resolver, size, length = _RECORD.unpack_from(record)
        answer = dns.parse_answer(record[_RECORD.size : _RECORD.size + length])
        if answer is None:
            self._answers[cgroup_id, UNREADABLE] += 1
            return
        self._answers[cgroup_id, READ if answer.is_whole and length == size else CUT] += 1
        self.table.add(cgroup_id, resolver, answer, time_ns)
