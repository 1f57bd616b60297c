import pytest
from tests.support.socket_rows import (
    CLOSE_WAIT,
    DATAGRAM,
    ESTABLISHED,
    LISTENING,
    MPTCP,
    RAW,
    STREAM,
    TCP,
    UDP,
    UNCONNECTED,
    address,
    made,
)

from agent.collectors.sockets import Row
from agent.identity.model import Owner, Peer
from agent.socket_lists import Socket, command, gather
from bpfleet.metrics import Flow

WEB, DB = Owner("shop", workload="web"), Peer("service", "shop", "db")


def gathered(*rows: Row) -> list[Socket]:
    return gather(rows, lambda cgroup_id: WEB, lambda flow, owner: DB)


def test_a_socket_stands_once_with_all_who_hold_it() -> None:
    first, other, second = made(1, process=9, command=b"worker"), made(2), made(1, process=3, command=b"master")
    shared, lone = gathered(first, other, second, first)
    assert list(shared.holders.items()) == [(3, "master"), (9, "worker")]
    assert lone.holders == {7: "client"}
    assert shared.owner is WEB


def test_the_peer_is_asked_for_by_its_address_port_and_transport() -> None:
    asked: list[tuple[Flow, Owner]] = []

    def peer(flow: Flow, owner: Owner) -> Peer:
        asked.append((flow, owner))
        return DB

    udp = made(2, type=DATAGRAM, protocol=UDP, remote=address("2001:db8::2"), remote_port=53)
    mptcp = made(3, protocol=MPTCP)
    listener = made(4, state=LISTENING, remote=address("0.0.0.0"), remote_port=0)
    found = gather([made(1), udp, mptcp, listener], lambda cgroup_id: WEB, peer)
    assert asked == [
        (Flow(address("192.0.2.2"), 443, "tcp"), WEB),
        (Flow(address("2001:db8::2"), 53, "udp"), WEB),
        (Flow(address("192.0.2.2"), 443, "tcp"), WEB),
    ]
    assert [each.peer for each in found] == [DB, DB, DB, None]


@pytest.mark.parametrize(
    ("kind", "protocol", "word"),
    [(STREAM, TCP, "tcp"), (DATAGRAM, UDP, "udp"), (RAW, TCP, "raw"), (RAW, UDP, "raw"), (STREAM, MPTCP, "mptcp"),
     (DATAGRAM, 1, "icmp"), (DATAGRAM, 58, "icmp"), (STREAM, 132, "sctp"), (STREAM, 33, "unknown(33)")],
)  # fmt: skip
def test_protocols_have_the_words_of_ss_and_unknown_ones_stay_visible(kind: int, protocol: int, word: str) -> None:
    (each,) = gathered(made(type=kind, protocol=protocol))
    assert each.protocol == word


@pytest.mark.parametrize(
    ("kind", "protocol", "state", "is_connection", "waits"),
    [
        (STREAM, TCP, ESTABLISHED, True, False),
        (STREAM, TCP, CLOSE_WAIT, True, False),
        (STREAM, TCP, LISTENING, False, True),
        (STREAM, TCP, UNCONNECTED, False, False),  # bound at most: nobody can come
        (DATAGRAM, UDP, UNCONNECTED, False, True),
        (DATAGRAM, UDP, ESTABLISHED, False, False),
        (RAW, TCP, ESTABLISHED, False, False),
        (STREAM, MPTCP, LISTENING, False, True),
    ],
)
def test_what_has_windows_and_what_waits_for_whoever_comes(
    kind: int, protocol: int, state: int, is_connection: bool, waits: bool
) -> None:
    (each,) = gathered(made(type=kind, protocol=protocol, state=state))
    assert (each.is_connection, each.waits) == (is_connection, waits)


def test_a_datagram_socket_without_a_port_waits_for_nobody() -> None:
    (each,) = gathered(made(type=DATAGRAM, protocol=UDP, state=UNCONNECTED, local_port=0))
    assert not each.waits


def test_an_unknown_state_stays_visible() -> None:
    (each,) = gathered(made(state=13))
    assert each.state == "unknown(13)"


def test_the_family_is_that_of_the_addresses() -> None:
    carrying_ipv4, ipv6 = gathered(made(1, family=10), made(2, family=10, local=address("::")))
    assert (carrying_ipv4.family, ipv6.family) == ("ipv4", "ipv6")


def test_a_command_ends_at_its_zero_and_may_hold_any_bytes() -> None:
    assert command(b"nginx\0garbage\0\0\0") == "nginx"
    assert command(b"\xff\x1b[2J") == "\\xff\x1b[2J"
    assert command(b"exactly16bytes!!") == "exactly16bytes!!"
