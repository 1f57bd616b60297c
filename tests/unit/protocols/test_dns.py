"""Answers as real servers send them (captures of dnsmasq's), and as nobody should."""

import random
import struct

import pytest

from agent.protocols.dns import LONGEST_SECONDS, MAPPED, MAX_ALIASES, MAX_POINTERS, MAX_RECORDS, parse_answer

FUZZ = 20_000
"""Damaged messages of a test run; the parser had a million of them once."""

A, CNAME, AAAA, TXT = 1, 5, 28, 16

# What dnsmasq 2.90 said when it was asked for shop.example.test (A, AAAA) and www.example.test (A).
OF_A = bytes.fromhex(
    "2a3b858000010001000000010473686f70076578616d706c6504746573740000010001"
    "c00c00010001000000780004c633640200002904d0000000000000"
)
OF_AAAA = bytes.fromhex(
    "2a3b858000010001000000010473686f70076578616d706c65047465737400001c0001"
    "c00c001c000100000078001020010db800000000000000000000000200002904d0000000000000"
)
OF_ALIAS = bytes.fromhex(
    "2a3b8580000100020000000103777777076578616d706c6504746573740000010001"
    "c00c000500010000003c00130473686f70076578616d706c65047465737400"
    "c02e00010001000000780004c633640200002904d0000000000000"
)


def ipv4(text: str) -> bytes:
    return MAPPED + bytes(map(int, text.split(".")))


def name(text: str) -> bytes:
    labels = text.encode("latin-1").split(b".") if text else []
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(owner: bytes, kind: int, data: bytes, seconds: int = 60, of: int = 1) -> bytes:
    return owner + struct.pack("!HHIH", kind, of, seconds, len(data)) + data


def message(*records: bytes, asked: str = "a.test", flags: int = 0x8180, questions: int = 1, count: int = -1) -> bytes:
    head = struct.pack("!HHHHHH", 1, flags, questions, len(records) if count < 0 else count, 0, 0)
    return head + name(asked) + struct.pack("!HH", A, 1) + b"".join(records)


QUESTION = b"\xc0\x0c"


@pytest.mark.parametrize(
    ("capture", "asked", "address", "seconds"),
    [
        (OF_A, "shop.example.test", ipv4("198.51.100.2"), 120),
        (OF_AAAA, "shop.example.test", bytes.fromhex("20010db8000000000000000000000002"), 120),
        (OF_ALIAS, "www.example.test", ipv4("198.51.100.2"), 60),
    ],
)
def test_a_capture_gives_the_addresses_of_the_name_that_was_asked_for(
    capture: bytes, asked: str, address: bytes, seconds: int
) -> None:
    assert parse_answer(capture) == (asked, ((address, seconds),), True)


@pytest.mark.parametrize("capture", [OF_A, OF_AAAA, OF_ALIAS])
def test_one_that_is_cut_anywhere_says_nothing_wrong(capture: bytes) -> None:
    whole = parse_answer(capture)
    assert whole
    for length in range(len(capture)):
        cut = parse_answer(capture[:length])
        assert cut is None or (cut.name == whole.name and set(cut.addresses) <= set(whole.addresses))
        assert cut is None or cut.is_whole == (cut.addresses == whole.addresses)


def test_an_address_of_another_name_is_not_taken() -> None:
    told = parse_answer(
        message(
            record(name("bank.test"), A, b"\6\6\6\6"),
            record(QUESTION, A, b"\1\2\3\4"),
            record(name("bank.test"), CNAME, name("a.test")),
        )
    )
    assert told == ("a.test", ((ipv4("1.2.3.4"), 60),), True)


def test_a_chain_may_stand_in_any_order_and_its_shortest_time_counts() -> None:
    told = parse_answer(
        message(
            record(name("c.test"), A, b"\1\2\3\4", seconds=300),
            record(name("b.test"), CNAME, name("C.TEST"), seconds=20),
            record(QUESTION, CNAME, name("b.test"), seconds=100),
            asked="A.Test",
        )
    )
    assert told == ("a.test", ((ipv4("1.2.3.4"), 20),), True)


def test_a_chain_in_circles_or_without_end_ends() -> None:
    assert parse_answer(message(record(QUESTION, CNAME, QUESTION))) == ("a.test", (), True)
    links = [record(name(f"{step}.t"), CNAME, name(f"{step + 1}.t")) for step in range(MAX_ALIASES + 1)]
    near = record(name(f"{MAX_ALIASES}.t"), A, b"\1\2\3\4")
    far = record(name(f"{MAX_ALIASES + 1}.t"), A, b"\4\3\2\1")
    assert parse_answer(message(*links, near, far, asked="0.t")) == ("0.t", ((ipv4("1.2.3.4"), 60),), True)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        message(flags=0x0100),  # a question
        message(record(QUESTION, A, bytes(4)), flags=0x8183),  # no such name
        message(flags=0xA180),  # an update
        message(questions=0),
        message(questions=2),
        message(asked="a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 63),  # 257 bytes
        message()[:12] + b"\xc0\x0c" + message()[14:],  # a pointer to itself
        message()[:12] + b"\xc0\xff" + message()[14:],  # and one forward
        message()[:12] + b"\x41" + b"x" * 80,  # a label of another kind
    ],
)
def test_what_answers_no_question_gives_nothing(wrong: bytes) -> None:
    assert parse_answer(wrong) is None


def test_more_pointers_than_a_name_has_end_the_reading() -> None:
    place = len(message())
    chain = b"".join(
        struct.pack("!H", 0xC000 | (12 if not step else place + 11 + 2 * (step - 1))) for step in range(600)
    )
    for hops, found in ((MAX_POINTERS - 1, 1), (MAX_POINTERS, 0)):
        holder = record(b"\0", TXT, chain)
        owner = struct.pack("!H", 0xC000 | (place + 11 + 2 * (hops - 1)))
        told = parse_answer(message(holder, record(owner, A, b"\1\2\3\4")))
        assert told and len(told.addresses) == found and told.is_whole == bool(found)


def test_records_of_other_kinds_classes_and_sizes_are_passed_over() -> None:
    told = parse_answer(
        message(
            record(QUESTION, TXT, b"\3abc"),
            record(QUESTION, A, b"\1\2\3\4", of=3),
            record(QUESTION, A, b"\1\2\3"),
            record(QUESTION, AAAA, bytes(4)),
            record(QUESTION, AAAA, bytes(15) + b"\1", seconds=0xFFFFFFFF),
        )
    )
    assert told == ("a.test", ((bytes(15) + b"\1", 0),), True)


def test_more_records_than_are_looked_at_are_not_whole() -> None:
    records = [record(QUESTION, A, bytes([1, 2, 3, number])) for number in range(MAX_RECORDS + 1)]
    told = parse_answer(message(*records))
    assert told and len(told.addresses) == MAX_RECORDS and not told.is_whole
    announced = parse_answer(message(records[0], count=65535))
    assert announced and len(announced.addresses) == 1 and not announced.is_whole


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        ("", "."),
        ("_sip._tcp.A-1.test", "_sip._tcp.a-1.test"),
        ("x y.test", "x\\032y.test"),
        ("\x1b[31m\xe9\0.test", "\\027\\[31m\\233\\000.test"),
    ],
)
def test_a_name_is_text_that_does_no_harm(asked: str, written: str) -> None:
    told = parse_answer(message(asked=asked))
    assert told and told.name == written


def test_a_dot_inside_a_label_is_no_border() -> None:
    told = parse_answer(message()[:12] + b"\x0aevil.allow\x04test\0" + struct.pack("!HH", A, 1))
    assert told and told.name == "evil\\.allow.test"


def test_the_longest_time_is_the_protocols() -> None:
    told = parse_answer(message(record(QUESTION, A, b"\1\2\3\4", seconds=LONGEST_SECONDS)))
    assert told and told.addresses == ((ipv4("1.2.3.4"), LONGEST_SECONDS),)


def test_damaged_messages_raise_nothing() -> None:
    chosen = random.Random(23)
    captures = (
        OF_A,
        OF_AAAA,
        OF_ALIAS,
        message(record(name("b.test"), CNAME, QUESTION), record(QUESTION, A, bytes(4))),
    )
    for _ in range(FUZZ):
        damaged = bytearray(chosen.choice(captures))
        for _ in range(chosen.randint(1, 6)):
            damaged[chosen.randrange(len(damaged))] = chosen.choice(
                (0, 0xC0, 0xC1, 0xFF, 63, 64, chosen.randrange(256))
            )
        told = parse_answer(bytes(damaged[: chosen.randint(0, len(damaged) + 9)]))
        assert told is None or all(len(address) == 16 and seconds >= 0 for address, seconds in told.addresses)
