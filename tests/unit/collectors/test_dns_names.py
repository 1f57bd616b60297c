import struct

from tests.unit.collectors.test_egress import answer, ipv6
from tests.unit.protocols.test_dns import OF_A, OF_ALIAS
from tests.unit.security.process_records import CGROUP_ID

from agent.collectors.dns_names import SHARE, DnsNames
from agent.security.dns_table import MOST_OF_A_CGROUP
from agent.security.orders import OFF, OTHERS, Orders, Watch
from agent.settings import Settings
from bpfleet import catalogue
from bpfleet.api import Sample
from bpfleet.testing import FakeMaps, samples


def test_answers_are_counted_by_what_became_of_them() -> None:
    cut = struct.pack("=QQ16sII", 1, CGROUP_ID, bytes(16), 4_000, len(OF_A)) + OF_A
    waiting = [answer(OF_A, 1), answer(OF_ALIAS, 2), cut, answer(OF_A[:50], 3), answer(b"\0" * 40, 4), answer(b"", 5)]
    collector, maps = DnsNames(clock=int), FakeMaps(records={"dns_names": waiting})
    assert set(samples(collector, maps)) == {
        Sample(catalogue.DNS_NAMES_ANSWERS, 2, CGROUP_ID, ("read",)),
        Sample(catalogue.DNS_NAMES_ANSWERS, 2, CGROUP_ID, ("cut",)),
        Sample(catalogue.DNS_NAMES_ANSWERS, 2, CGROUP_ID, ("unreadable",)),
    }
    assert maps.delivered == {"dns_names": 6}
    assert samples(collector, maps) == []


def test_what_was_answered_is_known_with_who_said_it() -> None:
    collector = DnsNames(clock=int)
    samples(collector, FakeMaps(records={"dns_names": [answer(OF_ALIAS, 1_000)]}))
    known = collector.table.known(CGROUP_ID, ipv6("198.51.100.2"), 2_000)
    assert known and known[:4] == (ipv6("198.51.100.2"), "www.example.test", ipv6("192.0.2.53"), 1_000)
    assert collector.table.known(CGROUP_ID + 1, ipv6("198.51.100.2"), 2_000) is None


def test_addresses_that_had_to_go_are_counted() -> None:
    many = [
        answer(OF_A.replace(b"\xc6\x33\x64\x02", struct.pack("!I", each)), 1) for each in range(MOST_OF_A_CGROUP + 3)
    ]
    told = samples(DnsNames(clock=int), FakeMaps(records={"dns_names": many}))
    assert Sample(catalogue.DNS_NAMES_FORGOTTEN, 3, CGROUP_ID) in told


def test_it_watches_whom_egress_watches_with_a_share_of_its_own() -> None:
    maps = FakeMaps()
    watches = {23: Watch(10, 20, 7), 29: OFF, OTHERS: Watch(1, 1)}
    assert DnsNames(clock=int).steer(maps, Orders({"egress": watches, "exec": {31: Watch(1, 1)}})) == 0
    assert maps.replaced["dns_names_watches"] == {
        struct.pack("=Q", 0): SHARE.row,
        struct.pack("=Q", 23): SHARE.row,
        struct.pack("=Q", 29): (0, 0, 0),
    }


def test_it_runs_where_egress_does() -> None:
    assert not DnsNames.default
    assert not Settings().runs("dns_names")
    assert Settings(collectors=("traffic", "egress")).runs("dns_names")
