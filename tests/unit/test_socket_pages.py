import json
from typing import Any

import pytest
from tests.support.socket_rows import DATAGRAM, LISTENING, MPTCP, UDP, UNCONNECTED, address, made

from agent.escapes import MAX_NAME
from agent.identity.model import Owner, Peer
from agent.socket_lists import Socket
from agent.socket_pages import SORTS, document, ordered, table

WEB, HOST = Owner("shop", pod="web-1", workload="web", workload_kind="Deployment"), Owner("_host", workload="a.service")
DB = Peer("service", "shop", "db")


def sock(
    identity: int = 1,
    owner: Owner = HOST,
    peer: Peer | None = DB,
    holders: dict[int, str] | None = None,
    **members: Any,
) -> Socket:
    return Socket(made(identity, **members), holders or {7: "client"}, owner, peer)


def listener(**members: Any) -> Socket:
    ends = {"local": address("::"), "local_port": 80, "remote": address("::"), "remote_port": 0}
    return sock(2, peer=None, **({"state": LISTENING, "receive_queue": 3, "send_queue": 128} | ends | members))


def text(*sockets: Socket) -> list[str]:
    return "".join(table(sockets)).splitlines()


def test_the_table_is_aligned_and_numbers_stand_right() -> None:
    one = sock(1, rtt_us=1500, retransmitted=12)
    two = sock(2, owner=Owner("_host", workload="longer.service"), holders={7: "x", 8: "y", 9: "z"}, rtt_us=12)
    assert text(one, two) == [
        "NAMESPACE  WORKLOAD        PROCESS   PROTOCOL  STATE        LOCAL            PEER           PEER NAME        "
        "RTT ms  CWND   RWND   SWND  RECV-Q  SEND-Q  RETRANS",
        "_host      a.service       7/client  tcp       established  192.0.2.1:40000  192.0.2.2:443  service shop/db  "
        " 1.500    10  65535  64256       0       0       12",
        "_host      longer.service  7/x +2    tcp       established  192.0.2.1:40000  192.0.2.2:443  service shop/db  "
        " 0.012    10  65535  64256       0       0        0",
    ]


def test_a_column_that_nobody_needs_is_left_out_and_without_sockets_the_head_stays() -> None:
    assert text()[0].split()[:4] == ["NAMESPACE", "WORKLOAD", "PROCESS", "PROTOCOL"]
    assert "POD" not in text(sock())[0]
    assert "POD" in text(sock(), sock(owner=WEB))[0]
    assert "PEER NAME" not in text(sock(peer=None), sock(peer=Peer("unknown")))[0]


def test_a_listener_has_a_queue_of_connections_and_no_windows() -> None:
    assert text(listener())[1].split()[5:] == ["[::]:80", "[::]:*", "-", "-", "-", "-", "3", "128", "-"]
    assert text(listener(protocol=MPTCP))[1].split()[5:] == ["[::]:80", "[::]:*", *"-------"]


@pytest.mark.parametrize(
    ("peer", "shown"),
    [(DB, "service shop/db"), (Peer("node", "", "n1"), "node n1"), (Peer("external"), "external")],
)
def test_a_peer_is_named_as_far_as_it_is_known(peer: Peer, shown: str) -> None:
    assert f"  {shown}  " in text(sock(peer=peer))[1]


def test_hostile_names_stay_in_their_line_and_do_nothing() -> None:
    name = "\x1b[2J\n\u202e" + "x" * 100
    owner = Owner(name, pod=name, workload=name)
    hostile = sock(owner=owner, peer=Peer("pod", name, name), holders={7: name})
    lines = text(hostile)
    assert len(lines) == 2
    assert all(each.isprintable() for line in lines for each in line)
    assert max(map(len, lines[1].split("  "))) <= MAX_NAME + len("7/")
    (told,) = json.loads("".join(document([hostile], "n", 1, 0)))["sockets"]
    assert (told["workload"], told["processes"]) == (name, [{"pid": 7, "command": name}])
    assert "".join(document([hostile], "n", 1, 0)).isascii()


def test_the_document_has_every_key_with_its_unit_and_null_for_what_is_not_there() -> None:
    connection = sock(
        owner=WEB, rtt_us=1500, rtt_variation_us=250, segment_bytes=1448, retransmitted=2, sent_bytes=1 << 40,
        acknowledged_bytes=5, received_bytes=6, receive_queue=7, send_queue=8,
    )  # fmt: skip
    datagram = sock(3, peer=None, type=DATAGRAM, protocol=UDP, state=UNCONNECTED, receive_queue=832)
    told = json.loads("".join(document([connection, listener(), datagram], "node-1", 5, 2)))
    first, second, third = told.pop("sockets")
    assert told == {"node": "node-1", "matched": 5, "unread_rows": 2}
    assert first == {
        "namespace": "shop",
        "pod": "web-1",
        "container": "",
        "workload": "web",
        "workload_kind": "Deployment",
        "cgroup_id": 23,
        "processes": [{"pid": 7, "command": "client"}],
        "network_namespace": 4026531840,
        "inode": 1001,
        "protocol": "tcp",
        "family": "ipv4",
        "state": "established",
        "local_address": "192.0.2.1",
        "local_port": 40000,
        "peer_address": "192.0.2.2",
        "peer_port": 443,
        "peer_kind": "service",
        "peer_namespace": "shop",
        "peer_name": "db",
        "rtt_seconds": 0.0015,
        "rtt_variation_seconds": 0.00025,
        "congestion_window_segments": 10,
        "receive_window_bytes": 65535,
        "send_window_bytes": 64256,
        "segment_bytes": 1448,
        "retransmitted_segments": 2,
        "sent_bytes": 1 << 40,
        "acknowledged_bytes": 5,
        "received_bytes": 6,
        "receive_queue_bytes": 7,
        "send_queue_bytes": 8,
        "waiting_connections": None,
        "waiting_connections_limit": None,
    }
    assert list(second) == list(third) == list(first)
    assert (second["waiting_connections"], second["waiting_connections_limit"]) == (3, 128)
    assert second["receive_queue_bytes"] is second["rtt_seconds"] is second["peer_address"] is None
    assert (third["receive_queue_bytes"], third["congestion_window_segments"]) == (832, None)


def test_a_document_without_sockets_is_one_too() -> None:
    assert json.loads("".join(document([], "n", 0, 0)))["sockets"] == []


@pytest.mark.parametrize(
    ("sort", "member"),
    [("rtt", "rtt_us"), ("congestion-window", "congestion_window"), ("receive-window", "receive_window"),
     ("send-window", "send_window"), ("receive-queue", "receive_queue"), ("send-queue", "send_queue"),
     ("retransmits", "retransmitted"), ("sent", "sent_bytes"), ("received", "received_bytes")],
)  # fmt: skip
def test_the_largest_comes_first(sort: str, member: str) -> None:
    sockets = [sock(number, **{member: value}) for number, value in enumerate((3, 70, 5))]
    assert [getattr(each.row, member) for each in ordered(sockets, sort)] == [70, 5, 3]


def test_equal_ones_are_sorted_by_owner_and_ends() -> None:
    sockets = [sock(1, owner=WEB), sock(2, remote_port=80), sock(3, remote_port=22), sock(4, local_port=9)]
    for sort in SORTS:
        assert [each.row.identity for each in ordered(sockets, sort)] == [4, 3, 2, 1]
