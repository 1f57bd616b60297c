import pytest

from agent.protocols.dns import Answer
from agent.security.dns_table import (
    LEAST_SECONDS,
    MOST_NAMES,
    MOST_OF_A_CGROUP,
    MOST_SECONDS,
    SECOND_NS,
    SWEEP_SECONDS,
    DnsTable,
    Known,
)

POD, OTHER = 23, 29
RESOLVER, FOREIGN = bytes(15) + b"\1", bytes(15) + b"\2"


def address(number: int) -> bytes:
    return bytes(12) + number.to_bytes(4, "big")


def name(table: DnsTable, cgroup_id: int, address: bytes, time_ns: int) -> str:
    known = table.known(cgroup_id, address, time_ns)
    return known.name if known else ""


def told(asked: str, *numbers: int, seconds: int = 60) -> Answer:
    return Answer(asked, tuple((address(number), seconds) for number in numbers), True)


@pytest.fixture
def table() -> DnsTable:
    return DnsTable()


def test_an_address_has_the_name_that_was_asked_for_last_before(table: DnsTable) -> None:
    table.add(POD, RESOLVER, told("a.test", 1, 2), 100)
    table.add(POD, RESOLVER, told("b.test", 2), 200)
    assert [name(table, POD, address(2), time_ns) for time_ns in (99, 100, 199, 200, 300)] == [
        *("", "a.test", "a.test", "b.test", "b.test")
    ]
    table.add(POD, RESOLVER, told("a.test", 2), 400)
    assert name(table, POD, address(2), 500) == "a.test"
    assert (name(table, POD, address(3), 500), name(table, OTHER, address(2), 500)) == ("", "")


@pytest.mark.parametrize(
    ("seconds", "kept"), [(0, LEAST_SECONDS), (3600, 3600), (MOST_SECONDS + 1, MOST_SECONDS), (1 << 31, MOST_SECONDS)]
)
def test_it_is_kept_for_its_time_within_bounds(table: DnsTable, seconds: int, kept: int) -> None:
    table.add(POD, RESOLVER, told("a.test", 1, seconds=seconds), 0)
    assert name(table, POD, address(1), kept * SECOND_NS) == "a.test"
    assert name(table, POD, address(1), kept * SECOND_NS + 1) == ""
    for now, left in ((kept * SECOND_NS, 1), ((kept + SWEEP_SECONDS) * SECOND_NS, 0)):
        before = table.version
        table.sweep(now)
        assert (len(table), len(table.addresses(bool))) == (left, left)
        assert (table.version > before) == (not left)
    assert table.take_forgotten() == {}


def test_all_that_is_known_says_who_said_it_and_since_when(table: DnsTable) -> None:
    table.add(POD, RESOLVER, told("a.test", 1), 100)
    table.add(POD, FOREIGN, told("a.test", 1, seconds=0), 200)
    until = 200 + LEAST_SECONDS * SECOND_NS
    assert table.known(POD, address(1), 300) == Known(address(1), "a.test", FOREIGN, 100, until)


def test_addresses_are_those_of_names_that_are_wanted_by_the_word_of_who_is_trusted(table: DnsTable) -> None:
    table.add(POD, RESOLVER, told("a.good.test", 1, 2), 100)
    table.add(OTHER, RESOLVER, told("b.good.test", 2, 3), 100)
    table.add(OTHER, RESOLVER, told("bad.test", 4), 100)
    table.add(POD, FOREIGN, told("c.good.test", 5), 100)
    table.trusts = {RESOLVER}.__contains__
    assert table.addresses(lambda name: name.endswith(".good.test")) == {address(1), address(2), address(3)}
    table.add(POD, FOREIGN, told("a.good.test", 1), 200)
    assert table.addresses(lambda name: name == "a.good.test") == {address(2)}


def test_the_version_is_another_one_when_there_is_something_new(table: DnsTable) -> None:
    for resolver, asked, version in (
        *((RESOLVER, "a.test", 1), (RESOLVER, "a.test", 1), (RESOLVER, "b.test", 2), (FOREIGN, "b.test", 3)),
    ):
        table.add(POD, resolver, told(asked, 1), 100)
        assert table.version == version


def test_an_address_has_so_many_names_and_no_more(table: DnsTable) -> None:
    for number in range(MOST_NAMES + 1):
        table.add(POD, RESOLVER, told(f"{number}.test", 1), number)
    wanted = [f"{number}.test" for number in range(1, MOST_NAMES + 1)]
    assert [each for each in ("0.test", *wanted) if table.addresses(each.__eq__)] == wanted


def test_who_asks_for_too_much_loses_its_own_oldest(table: DnsTable) -> None:
    table.add(OTHER, RESOLVER, told("o.test", 1), 0)
    for number in range(MOST_OF_A_CGROUP + 7):
        table.add(POD, RESOLVER, told("p.test", number), number)
        table.add(POD, RESOLVER, told("p.test", 0), number)  # this one is asked for again and again
    assert len(table) == MOST_OF_A_CGROUP + 1
    assert name(table, OTHER, address(1), 1) == "o.test"
    assert name(table, POD, address(0), 1 << 20) == "p.test"
    assert [name(table, POD, address(number), 1 << 20) for number in (1, 7, 8)] == ["", "", "p.test"]
    assert table.take_forgotten() == {POD: 7}
    assert table.take_forgotten() == {}


def test_where_all_is_full_whoever_has_most_loses() -> None:
    table = DnsTable(most=64)
    for number in range(60):
        table.add(POD, RESOLVER, told("p.test", number), number)
    for number in range(10):
        table.add(OTHER, RESOLVER, told("o.test", number), number)
    assert len(table) == 64
    assert len(table.addresses("o.test".__eq__)) == 10
    assert table.take_forgotten() == {POD: 6}


def test_an_answer_without_addresses_leaves_nothing(table: DnsTable) -> None:
    table.add(POD, RESOLVER, told("a.test"), 0)
    assert (len(table), table.version) == (0, 0)
