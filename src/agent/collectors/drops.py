"""Packets that the kernel drops, by its own reason and by network namespace. Kernel half: drops.bpf.c."""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping

from bpfleet import catalogue, names
from bpfleet.api import AnyOf, Channel, Collector, Maps, NetworkNamespace, Process, RawTracepoint, Sample, Walk

REASONS_A_NAMESPACE = 4
"""Rows of the map for each namespace: most see two or three reasons. A row is 16 bytes and its count."""

NO_REASON = 0xFFFFFFFF
"""As in drops.bpf.c."""

NO_DROPS = ("not_dropped_yet", "consumed")
"""Reasons that say that nothing was lost."""

UNREASONED = ("unknown", "not_specified", "queue_purge")
"""What TCP gives for segments that it has dealt with: see is_spent() in drops.bpf.c."""

_FORMS = ("on_drop_with_reason_and_socket", "on_drop_with_reason", "on_drop")
_PROCESSES = Walk("on_process", target="task")
_PREFIXES = ("SKB_DROP_REASON_SUBSYS_", "SKB_DROP_REASON_", "SKB_")
_KEY = struct.Struct("=QII")
_PROCESS = struct.Struct("=QQQ")


class Drops(Collector):
    name = "drops"
    program = "drops.bpf.c"
    default = False
    probes = (
        AnyOf(tuple(RawTracepoint(form, tracepoint="kfree_skb") for form in _FORMS)),
        AnyOf((_PROCESSES,), optional=True),
    )
    metrics = (catalogue.PACKET_DROPS,)
    channels = (Channel("drops", lost=("map_full",), runs=_FORMS),)
    enumerations = ("skb_drop_reason", "skb_drop_reason_subsys")

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        cgroups = limits["cgroups"]
        return {"MAX_DROPS": str(REASONS_A_NAMESPACE * cgroups), "MAX_NAMESPACES": str(cgroups)}

    def collect(self, maps: Maps) -> Iterator[Sample]:
        reasons, subsystems = (_names(maps.enumeration(name)) for name in self.enumerations)
        for key, (count,) in maps.growth("drops"):
            namespace, number, spent = _KEY.unpack(key)
            reason = _reason(number, reasons, subsystems)
            maps.deliver("drops", count)
            if reason not in (*NO_DROPS, *(UNREASONED if spent else ())):
                yield Sample(catalogue.PACKET_DROPS, count, NetworkNamespace(namespace), (reason,))
        for key, (count,) in maps.growth("drop_others"):
            namespace, _, spent = _KEY.unpack(key)
            maps.deliver("drops", count)
            if not spent:
                yield Sample(catalogue.PACKET_DROPS, count, NetworkNamespace(namespace), (names.OTHER,))

    def processes(self, maps: Maps, hooks: Collection[str]) -> Callable[[], Iterator[Process]] | None:
        if _PROCESSES.hook not in hooks:
            return None
        return lambda: map(Process._make, _PROCESS.iter_unpack(maps.walk(_PROCESSES.function)))


def _names(enumeration: Mapping[int, str]) -> dict[int, str]:
    """SKB_DROP_REASON_NETFILTER_DROP -> netfilter_drop."""
    found = {}
    for number, name in enumeration.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        found[number] = name.removeprefix(prefix).lower()
    return found


def _reason(number: int, reasons: Mapping[int, str], subsystems: Mapping[int, str]) -> str:
    """The upper half is a subsystem that has reasons of its own, whose names only its module knows
    (include/net/dropreason.h)."""
    if number == NO_REASON:
        return "unknown"
    if subsystem := number >> 16:
        name = subsystems.get(subsystem, f"subsystem_{subsystem}")
        return f"{name}({number & 0xFFFF})"
    return reasons.get(number, f"unknown({number})")
