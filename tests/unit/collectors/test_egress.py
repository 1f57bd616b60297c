import ipaddress
import random
import struct
from collections.abc import Mapping

import pytest
from tests.unit.protocols.test_dns import OF_A, OF_AAAA
from tests.unit.security.process_records import CGROUP_ID, PID, TIME_NS, UID, process

from agent.collectors.dns_names import DnsNames
from agent.collectors.egress import Egress, decode
from agent.security import processes
from agent.security.orders import OTHERS, Orders, Watch
from bpfleet import catalogue
from bpfleet.api import Collector, Flow, Sample
from bpfleet.events import SECURITY_EGRESS
from bpfleet.testing import FakeMaps, events, samples

TCP, UDP = 1, 2
CONNECT, SEND = 0, 1
ROOM = bytes(1664)
"""Records have one size; what is behind the process' parts is whatever was there before."""


def ipv6(text: str) -> bytes:
    of = ipaddress.ip_address(text)
    return of.packed if of.version == 6 else bytes(10) + b"\xff\xff" + of.packed


def record(
    address: str = "198.51.100.2", port: int = 443, transport: int = TCP, call: int = CONNECT, told: bytes = process()
) -> bytes:
    return struct.pack("=16sHBB4x", ipv6(address), port, transport, call) + told + ROOM


def answer(message: bytes, time_ns: int, cgroup_id: int = CGROUP_ID, resolver: str = "192.0.2.53") -> bytes:
    """`struct dns_names_record` of dns_names.bpf.c"""
    return struct.pack("=QQ16sII", time_ns, cgroup_id, ipv6(resolver), len(message), len(message)) + message


def test_a_destination_is_told_with_the_process_that_named_it() -> None:
    event = decode(record())
    assert event[:3] == (SECURITY_EGRESS, TIME_NS, CGROUP_ID)
    assert event.flow == Flow(ipv6("198.51.100.2"), 443, "tcp")
    assert event.attributes == {
        **processes.decode(process()).attributes,
        "network.peer.address": "198.51.100.2",
        "network.peer.port": 443,
        "network.transport": "tcp",
        "network.type": "ipv4",
        "bpfleet.network.call": "connect",
    }


def test_a_datagram_to_ipv6_is_told_as_such() -> None:
    event = decode(record("2001:db8::2", 53, UDP, SEND))
    assert event.flow == Flow(ipv6("2001:db8::2"), 53, "udp")
    assert [event.attributes[name] for name in ("network.peer.address", "network.type", "bpfleet.network.call")] == [
        *("2001:db8::2", "ipv6", "send")
    ]


def test_where_the_kernel_could_not_be_read_the_rest_is_told() -> None:
    bare = struct.pack("=QQIIIIII", TIME_NS, CGROUP_ID, PID, 0, 0, UID, 0, 0)
    attributes = decode(record(told=bare)).attributes
    assert {name: value for name, value in attributes.items() if name.startswith("process.")} == {
        "process.pid": PID,
        "process.user.id": UID,
    }


def test_numbers_that_have_no_name_are_shown() -> None:
    event = decode(record(transport=9, call=7))
    assert (
        event.attributes["network.transport"] == "unknown(9)"
        and event.attributes["bpfleet.network.call"] == "unknown(7)"
    )


def test_less_than_a_record_is_refused_and_any_bytes_raise_nothing_else() -> None:
    whole = record()
    for length in range(len(whole) - len(ROOM)):
        with pytest.raises(ValueError):
            decode(whole[:length])
    chosen = random.Random(23)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(chosen.randint(1, 40)):
            damaged[chosen.randrange(len(damaged))] = chosen.randrange(256)
        try:
            decode(bytes(damaged))
        except ValueError:
            continue


def named(collectors: Mapping[str, Collector], maps: Mapping[str, FakeMaps]) -> list[object]:
    return [event.attributes.get("dns.question.name") for event in events(collectors["egress"], maps["egress"])]


@pytest.fixture
def collectors() -> Mapping[str, Collector]:
    both: dict[str, Collector] = {"dns_names": DnsNames(clock=int), "egress": Egress()}
    for each in both.values():
        each.meet(tuple(both.values()))
    return both


def test_a_destination_has_the_name_even_if_its_answer_came_in_the_same_drain(
    collectors: Mapping[str, Collector],
) -> None:
    maps = {"dns_names": FakeMaps(records={"dns_names": []}), "egress": FakeMaps()}
    assert samples(collectors["dns_names"], maps["dns_names"]) == []  # the answer comes right after this
    maps["dns_names"].rings["dns_names"] = [answer(OF_A, TIME_NS - 1), answer(OF_AAAA, TIME_NS - 1)]
    maps["egress"].rings["egress"] = [record(), record("2001:db8::2"), record("198.51.100.3")]
    told = events(collectors["egress"], maps["egress"])
    assert [event.attributes.get("dns.question.name") for event in told] == ["shop.example.test"] * 2 + [None]
    assert [event.attributes.get("bpfleet.dns.resolver.address") for event in told] == ["192.0.2.53"] * 2 + [None]
    assert maps["dns_names"].delivered == {"dns_names": 2} and maps["egress"].delivered == {"egress": 3}


@pytest.mark.parametrize(
    "other", [answer(OF_A, TIME_NS + 1), answer(OF_A, TIME_NS - 1, cgroup_id=CGROUP_ID + 1), answer(OF_A[:20], 1)]
)
def test_an_answer_that_came_later_or_to_somebody_else_or_cut_is_no_name(
    collectors: Mapping[str, Collector], other: bytes
) -> None:
    maps = {"dns_names": FakeMaps(records={"dns_names": [other]}), "egress": FakeMaps(records={"egress": [record()]})}
    samples(collectors["dns_names"], maps["dns_names"])
    assert named(collectors, maps) == [None]


def test_without_names_destinations_are_told_without_them() -> None:
    alone = Egress()
    alone.meet((alone,))
    assert not len(alone.names)
    (event,) = events(alone, FakeMaps(records={"egress": [record()]}))
    assert "dns.question.name" not in event.attributes


def test_what_the_bucket_refused_is_a_number_of_the_workload() -> None:
    maps = FakeMaps(rows={"egress_suppressed": [(struct.pack("=Q", 23), (1_009,))]})
    assert samples(Egress(), maps) == [Sample(catalogue.SECURITY_SUPPRESSED, 1_009, 23, ("egress",))]


def test_orders_are_rows_of_cgroups_and_of_prefixes() -> None:
    maps = FakeMaps()
    watches = {23: Watch(10, 20, 7), OTHERS: Watch(1, 1)}
    asked = {
        7: frozenset([(ipv6("198.51.100.77"), 96 + 24), (ipv6("198.51.100.0"), 120), (ipv6("2001:db8::1"), 128)]),
        8: frozenset([(ipv6("::"), 0)]),
    }
    assert Egress().steer(maps, Orders({"egress": watches}, {}, asked)) == 0
    assert maps.replaced["egress_watches"] == {
        struct.pack("=Q", 0): (1_000_000_000, 1_000_000_000, 0),
        struct.pack("=Q", 23): (100_000_000, 2_000_000_000, 7),
    }
    assert maps.replaced["egress_allowed"] == {
        struct.pack("=II16s", 32 + 120, 7, ipv6("198.51.100.0")): (1,),
        struct.pack("=II16s", 32 + 128, 7, ipv6("2001:db8::1")): (1,),
        struct.pack("=II16s", 32, 8, bytes(16)): (1,),
    }


def test_it_is_off_unless_asked_for_and_declares_what_it_tells() -> None:
    assert not Egress.default
    assert Egress.event_names == (SECURITY_EGRESS,)
    assert Egress().defines({"cgroups": 17}) == {"MAX_CGROUPS": "17"}
