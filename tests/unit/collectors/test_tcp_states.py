import struct

import pytest
from tests.unit.collectors.rows import V4, V6

from agent.collectors.packet import MAPPED
from agent.collectors.tcp_states import STATE_CHANGE, STATES, TcpStates
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from bpfleet.api import Event, Flow

LOCAL_V4 = MAPPED + bytes((198, 51, 100, 1))
ANY_V4, ANY_V6 = MAPPED + bytes(4), bytes(16)
CLOSED, ESTABLISHED, SYN_SENT, SYN_RECEIVED, LISTEN = 7, 1, 2, 3, 10


def change(
    old: int, new: int, local: bytes = LOCAL_V4, local_port: int = 40000, remote: bytes = V4, remote_port: int = 80
) -> bytes:
    """`struct tcp_state_event` of bpf/tcp_states.bpf.c."""
    return struct.pack("=QQ16s16sIHHBB6x", 7, 23, local, remote, 4026531840, local_port, remote_port, old, new)


def events(*records: bytes) -> list[Event]:
    tables = FakeTables(rings={"tcp_state_events": list(records)})
    loaded = FakeDoor({"tcp_states": tables}).load([TcpStates()], KernelSettings())
    found = list(TcpStates().events(loaded.maps("tcp_states")))
    assert loaded.delivered() == {"tcp_state_events": len(records)}
    return found


def test_a_change_has_both_states_and_both_ends() -> None:
    (told,) = events(change(SYN_SENT, ESTABLISHED))
    assert told == Event(
        STATE_CHANGE,
        7,
        23,
        {
            "network.transport": "tcp",
            "network.type": "ipv4",
            "network.connection.state": "established",
            "bpfleet.network.connection.previous_state": "syn_sent",
            "network.local.address": "198.51.100.1",
            "network.local.port": 40000,
            "network.peer.address": "198.51.100.2",
            "network.peer.port": 80,
            "bpfleet.network.namespace": 4026531840,
        },
        Flow(V4, 80, "tcp"),
    )


def test_ipv6_is_written_as_such() -> None:
    (told,) = events(change(SYN_SENT, ESTABLISHED, local=V6, remote=V6))
    assert told.attributes["network.type"] == "ipv6"
    assert told.attributes["network.peer.address"] == "2001:db8::2"


def test_ipv4_on_a_socket_of_ipv6_is_ipv4() -> None:
    (told,) = events(change(SYN_RECEIVED, ESTABLISHED, local=ANY_V6, local_port=80, remote_port=40000))
    assert told.attributes["network.type"] == "ipv4"
    assert told.attributes["network.peer.address"] == "198.51.100.2"


def test_what_the_kernel_does_not_know_yet_is_left_out() -> None:
    sent, listening = events(
        change(CLOSED, SYN_SENT, local_port=0), change(CLOSED, LISTEN, ANY_V4, 80, ANY_V4, remote_port=0)
    )
    assert "network.local.port" not in sent.attributes
    assert sent.flow == Flow(V4, 80, "tcp")
    assert "network.peer.address" not in listening.attributes and "network.peer.port" not in listening.attributes
    assert listening.flow is None
    assert (listening.attributes["network.local.address"], listening.attributes["network.type"]) == ("0.0.0.0", "ipv4")


@pytest.mark.parametrize(
    ("old", "local_port", "remote_port", "service"),
    [
        (SYN_SENT, 80, 40000, 40000),  # who sent the SYN is the client, whatever its port
        (SYN_RECEIVED, 80, 40000, 80),
        (ESTABLISHED, 40000, 80, 80),
        (ESTABLISHED, 40001, 40000, 40000),
        (ESTABLISHED, 80, 443, 80),
    ],
)
def test_the_peer_is_looked_up_by_the_services_port(old: int, local_port: int, remote_port: int, service: int) -> None:
    (told,) = events(change(old, ESTABLISHED, local_port=local_port, remote_port=remote_port))
    assert told.flow and told.flow.port == service


def test_every_state_of_the_kernel_has_a_name() -> None:
    told = events(*(change(CLOSED, number) for number in range(1, len(STATES))))
    assert [each.attributes["network.connection.state"] for each in told] == list(STATES[1:])


def test_a_state_that_nobody_knows_is_shown_as_such() -> None:
    (told,) = events(change(0, 99))
    assert told.attributes["network.connection.state"] == "unknown(99)"
    assert told.attributes["bpfleet.network.connection.previous_state"] == "unknown(0)"


def test_it_is_off_unless_asked_for_and_declares_what_it_tells() -> None:
    assert not TcpStates.default
    assert TcpStates.event_names == (STATE_CHANGE,)
