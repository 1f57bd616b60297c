import struct

import pytest
from tests.unit.collectors.rows import Fed, feed

from agent.collectors.drops import NO_REASON, Drops, Process
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.loaded import Enumerations
from bpfleet.catalogue import PACKET_DROPS
from bpfleet.metrics import NetworkNamespace, Sample

KERNEL: Enumerations = {
    "skb_drop_reason": {
        0: "SKB_NOT_DROPPED_YET",
        1: "SKB_CONSUMED",
        2: "SKB_DROP_REASON_NOT_SPECIFIED",
        3: "SKB_DROP_REASON_NO_SOCKET",
        12: "SKB_DROP_REASON_NETFILTER_DROP",
        45: "SKB_DROP_REASON_TCP_RESET",
        104: "SKB_DROP_REASON_QUEUE_PURGE",
    },
    "skb_drop_reason_subsys": {0: "SKB_DROP_REASON_SUBSYS_CORE", 2: "SKB_DROP_REASON_SUBSYS_OPENVSWITCH"},
}
FIRST_5_17: Enumerations = {"skb_drop_reason": {0: "SKB_DROP_REASON_NOT_SPECIFIED", 1: "SKB_DROP_REASON_NO_SOCKET"}}
"""There 0 is a reason."""


def key(namespace: int, reason: int, spent: bool = False) -> bytes:
    """`struct drop_key` of drops.bpf.c."""
    return struct.pack("=QII", namespace, reason, spent)


def fed(enumerations: Enumerations = KERNEL, **hashes: dict[bytes, tuple[int, ...]]) -> Fed:
    return feed(Drops(), hashes, "drops", "drop_others", enumerations=enumerations)


def labels(enumerations: Enumerations, number: int, spent: bool = False) -> list[str]:
    made = fed(enumerations, drops={key(7, number, spent): (23,)})
    found = [sample.labels[0] for sample in made.samples()]
    assert made.delivered() == {"drops": 23}
    return found


def test_a_row_is_told_for_its_namespace() -> None:
    made = fed(drops={key(7, 12): (23,), key(8, 3): (19,)})
    assert made.samples() == [
        Sample(PACKET_DROPS, 23, NetworkNamespace(7), ("netfilter_drop",)),
        Sample(PACKET_DROPS, 19, NetworkNamespace(8), ("no_socket",)),
    ]
    assert made.delivered() == {"drops": 42}


@pytest.mark.parametrize(
    ("enumerations", "number", "label"),
    [
        (KERNEL, 12, "netfilter_drop"),
        (KERNEL, 99, "unknown(99)"),
        (KERNEL, NO_REASON, "unknown"),
        (KERNEL, 2 << 16 | 5, "openvswitch(5)"),
        (KERNEL, 9 << 16 | 5, "subsystem_9(5)"),
        (FIRST_5_17, 0, "not_specified"),
        ({}, 12, "unknown(12)"),
        ({}, 2 << 16 | 5, "subsystem_2(5)"),
        ({}, NO_REASON, "unknown"),
    ],
)
def test_a_reason_has_the_kernels_own_name_or_its_number(enumerations: Enumerations, number: int, label: str) -> None:
    assert labels(enumerations, number) == [label]


@pytest.mark.parametrize("number", [0, 1])
def test_what_is_no_drop_leaves_the_channel_and_counts_nowhere(number: int) -> None:
    assert labels(KERNEL, number) == []


@pytest.mark.parametrize(
    ("number", "expected"), [(2, []), (104, []), (NO_REASON, []), (45, ["tcp_reset"]), (3, ["no_socket"])]
)
def test_an_empty_segment_is_dropped_only_where_there_is_a_reason(number: int, expected: list[str]) -> None:
    assert labels(KERNEL, number, spent=True) == expected


def test_sums_stay_exact_when_the_map_is_full() -> None:
    made = fed(
        drops={key(7, 12): (23,)},
        drop_others={key(7, NO_REASON): (19,), key(8, NO_REASON): (17,), key(8, NO_REASON, spent=True): (13,)},
    )
    assert made.samples() == [
        Sample(PACKET_DROPS, 23, NetworkNamespace(7), ("netfilter_drop",)),
        Sample(PACKET_DROPS, 19, NetworkNamespace(7), ("_other",)),
        Sample(PACKET_DROPS, 17, NetworkNamespace(8), ("_other",)),
    ]
    assert made.delivered() == {"drops": 23 + 19 + 17 + 13}


def test_the_maps_follow_the_limit_of_cgroups() -> None:
    assert Drops().defines({"cgroups": 100}) == {"MAX_DROPS": "400", "MAX_NAMESPACES": "100"}


def test_a_walk_tells_every_process_and_where_it_lives() -> None:
    tables = FakeTables(walks={"on_process": struct.pack("=6Q", 3, 1, 2, 7, 23, 4711)})
    maps = FakeDoor({"drops": tables}).load([Drops()], KernelSettings()).maps("drops")
    walk = Drops().processes(maps, ["raw_tracepoint/kfree_skb", "iter/task"])
    assert walk and list(walk()) == [Process(3, 1, 2), Process(7, 23, 4711)]
    assert Drops().processes(maps, ["raw_tracepoint/kfree_skb"]) is None
